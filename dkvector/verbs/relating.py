"""How `df.vec` says the verbs that put rows beside each other; the work is done in the module of each name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dkvector.errors import SchemaError
from dkvector.frame_columns import FrameColumns
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric
from dkvector.verbs import duplicates, join, neighbors
from dkvector.verbs._ground import Ground, distinctive, ground
from dkvector.verbs.duplicates import Keep
from dkvector.verbs.join import How, Joining, Side, Suffixes

_COSINE = DistanceMetric.COSINE


class Relating(FrameColumns):
    """Verbs that put rows beside each other."""

    def neighbors(
        self,
        k: int = 10,
        *,
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        where: Any = None,
        columns: Sequence[Any] | None = None,
        include_vectors: bool = False,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Find the k nearest other rows of every row, exactly.

        A row is never its own neighbour; a copy of it is one, under whatever label.

        Args:
            k: neighbours of each row, at most.
            on: the vector column, where there are several.
            metric: "cosine", "euclidean" or "dot_product".
            where: a filter of the rows that may be found, applied before the neighbours are taken; every row asks.
            columns: columns of the rows found; all but the vectors by default.
            include_vectors: give the vectors too.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            progress: show a bar; by default where there is much to do.

        Returns:
            A frame as of a search for many queries, indexed by the label of the row found: `query` (the label of the
            row that asks), `rank` from 1, `score`, `distance`, then the columns. Ties in the order of the frame.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            FilterError: a filter that can't be read.

        Example:
            >>> import dkvector as dkv
            >>> animals = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")
            >>> table = animals.vec.neighbors(k=2, columns=[])
            >>> table[table["query"] == "caterpillar.n.01"].round(3)
                                                        query  rank  score  distance
            name
            measuring_worm.n.01  caterpillar.n.01     1  0.702     0.298
            webworm_moth.n.01    caterpillar.n.01     2  0.664     0.336
        """
        rows = ground(self._frame, self.column(on), DistanceMetric.of(metric), where=where, on_bad=on_bad)
        return neighbors.neighbors(rows, k, self._payload(columns, include_vectors=include_vectors), progress=progress)

    def join(
        self,
        other: pd.DataFrame,
        k: int = 1,
        *,
        on: Any = None,
        other_on: Any = None,
        min_score: float | None = None,
        how: How = "inner",
        suffixes: Suffixes = ("_x", "_y"),
        metric: DistanceMetric | str = _COSINE,
        where: Any = None,
        validate: str | None = None,
        include_vectors: bool = False,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Put each row together with the k rows of another frame that are nearest to it: a `merge` by meaning.

        Args:
            other: the frame in which partners are found.
            k: partners of each row, at most.
            on: the vector column of this frame, where there are several.
            other_on: that of the other frame, where there are several.
            min_score: the least score of a pair.
            how: "inner" leaves rows without a partner out, "left" keeps them, with the columns of the other missing.
            suffixes: what is added to columns that both frames have.
            metric: "cosine", "euclidean" or "dot_product".
            where: a filter of the rows of `other`, applied before the partners are taken.
            validate: "one_to_one", "one_to_many" or "many_to_one" (or "1:1", "1:m", "m:1") refuses pairs in which a
                row of a frame that stands for "one" has several partners.
            include_vectors: give the vectors too; by default they stay in their frames.
            on_bad: "drop" leaves rows whose vectors can't be used without a partner.
            progress: show a bar; by default where there is much to do.

        Returns:
            A frame with the labels and the order of this one, a row for each pair, the nearest first: the columns of
            this frame, `match` (the label in the other frame), `rank` from 1, `score`, `distance`, and the columns of
            the other. A column of yours that is called like one of these four gets an underscore.

        Raises:
            VectorError: vectors that can't be used, or of other dimensions than this frame's.
            FilterError: a filter that can't be read.
            SchemaError: suffixes that leave two columns of one name, or pairs that are not what `validate` says.

        Example:
            >>> import dkvector as dkv
            >>> words = dkv.datasets.load_wordnet()[["lexname", "embedding"]]
            >>> foods, plants = words.query("lexname == 'noun.food'"), words.query("lexname == 'noun.plant'")
            >>> foods.vec.join(plants, min_score=0.8)[["match", "score"]].round(3)
                                     match  score
            name
            orange.n.01        orange.n.03  0.813
            groundnut.n.02  groundnut.n.01  0.841
            grain.n.02          grain.n.08  0.818
        """
        if not isinstance(other, pd.DataFrame):
            raise SchemaError(f"join takes another DataFrame, not {type(other).__name__}")
        by = DistanceMetric.of(metric)
        left = Side.of(self._frame, on, by, include_vectors=include_vectors, on_bad=on_bad)
        right = Side.of(
            other, other_on, by, where=where, include_vectors=include_vectors, on_bad=on_bad, option="other_on"
        )
        return join.join(left, right, Joining(k, min_score, how, suffixes, validate), progress=progress)


class Deduplicating(FrameColumns):
    """Verbs that find and drop rows that say the same."""

    def duplicates(
        self,
        threshold: float = 0.95,
        *,
        keep: Keep = "first",
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        columns: Sequence[Any] | None = None,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Give the groups of rows that say the same: each with the row that stands for it.

        In the order of the frame, a row is kept unless one kept before is as near as the threshold; a row that is
        not kept joins the kept row nearest to it. Groups are not transitive: every member is near the kept row.

        Args:
            threshold: the least score of a near-duplicate; 1 finds copies (under cosine also of another length).
            keep: "first" or "last": from which end the rows are gone through.
            on: the vector column, where there are several.
            metric: "cosine" or "euclidean".
            columns: columns to give; all but the vectors by default.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            progress: show a bar; by default where there is much to do.

        Returns:
            A frame with a row for each member of a group, indexed by its label: `group` (from 0), `kept`, `score` and
            `distance` from the kept row (missing for itself), then the columns. The kept row leads its group.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            SchemaError: a threshold that is no score.

        Example:
            >>> import dkvector as dkv
            >>> animals = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")
            >>> animals.vec.duplicates(0.9, columns=["depth"]).head(4).round(3)
                                group   kept  score  distance  depth
            name
            female.n.01             0   True    NaN       NaN      7
            male.n.01               0  False  0.976     0.024      7
            variola_major.n.02      1   True    NaN       NaN      9
            variola_minor.n.02      1  False  0.938     0.062      9
        """
        if keep not in {"first", "last"}:
            raise SchemaError(f"keep must be 'first' or 'last', not {keep!r}")
        rows = self._rows(on, metric, "duplicates", on_bad)
        names = self._payload(columns, include_vectors=False)
        return duplicates.duplicates(rows, threshold, names, last=keep == "last", progress=progress)

    def drop_duplicates(
        self,
        threshold: float = 0.95,
        *,
        keep: Keep = "first",
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Give the frame without rows that say the same as one that stays.

        No two rows that stay are as near as the threshold, and each row that goes is as near to one that stays. To
        keep the best of each group, sort the frame first.

        Args:
            threshold: the least score of a near-duplicate; 1 drops copies (under cosine also of another length).
            keep: "first" or "last" of a group; False drops every row that has a near-duplicate.
            on: the vector column, where there are several.
            metric: "cosine" or "euclidean".
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            progress: show a bar; by default where there is much to do.

        Returns:
            The rows that stay, in their order, with all columns.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            SchemaError: a threshold that is no score.

        Example:
            >>> import dkvector as dkv
            >>> animals = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")
            >>> often_used_first = animals.sort_values("tag_count", ascending=False)
            >>> len(animals), len(often_used_first.vec.drop_duplicates(0.8))
            (1392, 1364)
        """
        if keep not in {"first", "last", False}:
            raise SchemaError(f"keep must be 'first', 'last' or False, not {keep!r}")
        rows = self._rows(on, metric, "drop_duplicates", on_bad)
        return duplicates.drop_duplicates(rows, threshold, keep=keep, progress=progress)

    def _rows(self, on: Any, metric: DistanceMetric | str, verb: str, on_bad: OnBad) -> Ground:
        return ground(self._frame, self.column(on), distinctive(metric, verb), on_bad=on_bad)
