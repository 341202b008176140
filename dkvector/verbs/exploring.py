"""How `df.vec` says the verbs that show what a frame holds; the work is done in the module of each name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from dkvector.counts import as_count
from dkvector.frame_columns import FrameColumns
from dkvector.ingest import OnBad
from dkvector.metrics import DistanceMetric
from dkvector.verbs import clusters, lint, outliers, sampling
from dkvector.verbs._ground import distinctive, ground
from dkvector.verbs._subject import Subject
from dkvector.verbs.outliers import Method
from dkvector.verbs.report import Report

_COSINE = DistanceMetric.COSINE


class Exploring(FrameColumns):
    """Verbs that show what a frame holds."""

    def cluster(
        self,
        k: int,
        *,
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        seed: int = 0,
        restarts: int = 4,
        iterations: int = 25,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.Series:
        """Cut the rows into k clusters, by k-means of Faiss: spherical under cosine.

        The centroids are the means of the clusters, as any mean by group: ``df["embedding"].groupby(labels).mean()``.
        New rows find theirs by a join with them: ``new.vec.join(centroids.to_frame())``.

        Args:
            k: how many clusters.
            on: the vector column, where there are several.
            metric: "cosine" or "euclidean".
            seed: of the first centroids.
            restarts: how often it begins anew, each time from other centroids; the tightest clusters count.
            iterations: of each, at most; fewer where nothing is gained any more.
            on_bad: "drop" gives rows whose vectors can't be used no cluster, and the labels a dtype that has missing
                values.
            progress: show a bar; by default where there is much to do.

        Returns:
            The cluster of each row, a Series called `cluster`: 0 is the largest, k - 1 the smallest.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            SchemaError: more clusters than rows.
            MissingExtraError: Faiss is not installed.

        Example:
            >>> import dkvector as dkv
            >>> words = dkv.datasets.load_wordnet().query("lexname in ['noun.food', 'noun.body', 'noun.location']")
            >>> words["lexname"].groupby(words.vec.cluster(3)).agg(lambda names: names.mode()[0])
            cluster
            0    noun.location
            1        noun.food
            2        noun.body
            Name: lexname, dtype: ...
        """
        rows = ground(self._frame, self.column(on), distinctive(metric, "cluster"), on_bad=on_bad)
        labels = clusters.cluster(rows, k, clusters.Effort(seed, restarts, iterations), progress=progress)
        return clusters.as_series(self._frame, rows, labels, missing=on_bad == "drop")

    def outliers(
        self,
        k: int = 10,
        *,
        method: Method = "distance",
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        columns: Sequence[Any] | None = None,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Rank the rows by how far they are from their neighbours.

        "distance" is the mean distance to the k nearest rows (Angiulli and Pizzuti, PKDD 2002): it finds what is like
        nothing else. "lof" is the local outlier factor (Breunig, Kriegel, Ng and Sander, SIGMOD 2000): it finds what
        is farther off than its neighbours are from theirs, also beside a dense group; near 1 is ordinary.

        Args:
            k: neighbours to look at.
            method: "distance" or "lof".
            on: the vector column, where there are several.
            metric: "cosine" or "euclidean".
            columns: columns to give; all but the vectors by default.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            progress: show a bar; by default where there is much to do.

        Returns:
            All rows, the farthest first: `rank` from 1, `outlier_score`, then the columns.

        Raises:
            VectorError: vectors that can't be used; names the rows.

        Example:
            >>> import dkvector as dkv
            >>> animals = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")
            >>> animals.vec.outliers(columns=["gloss"]).head(2)[["outlier_score", "gloss"]].round(3)
                                     outlier_score                                  gloss
            name
            amethystine_python.n.01          0.711  a python having the color of amethyst
            allice_shad.n.01                 0.709                          European shad
        """
        rows = ground(self._frame, self.column(on), distinctive(metric, "outliers"), on_bad=on_bad)
        names = self._payload(columns, include_vectors=False)
        return outliers.outliers(rows, k, names, method=method, progress=progress)

    def sample(
        self,
        n: int,
        *,
        diverse: bool = True,
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        seed: int | None = 0,
        on_bad: OnBad = "raise",
        progress: bool | None = None,
    ) -> pd.DataFrame:
        """Take n rows that stand for all: each is the farthest from those taken before.

        The first is taken by chance. Any first rows of the sample are a diverse sample too (Gonzalez, *Clustering to
        minimize the maximum intercluster distance*, 1985). Rows that lie apart are taken early; see `outliers`.

        Args:
            n: how many.
            diverse: False takes rows by chance, all alike.
            on: the vector column, where there are several.
            metric: "cosine" or "euclidean".
            seed: makes the sample the same again; None makes it another.
            on_bad: "drop" leaves out the rows whose vectors can't be used.
            progress: show a bar; by default where there is much to do.

        Returns:
            The rows, with all columns, in the order in which they were taken.

        Raises:
            VectorError: vectors that can't be used; names the rows.
            SchemaError: more rows than there are.

        Example:
            >>> import dkvector as dkv
            >>> animals = dkv.datasets.load_wordnet().query("lexname == 'noun.animal'")
            >>> animals.vec.sample(3, seed=3).index.tolist()
            ['beef.n.01', 'forest_tent_caterpillar.n.01', 'human_t-cell_leukemia_virus-1.n.01']
        """
        rows = ground(self._frame, self.column(on), distinctive(metric, "sample"), on_bad=on_bad)
        return rows.frame.iloc[sampling.sample(rows, n, diverse=diverse, seed=seed, progress=progress)]

    def check(
        self,
        *,
        on: Any = None,
        metric: DistanceMetric | str = _COSINE,
        sample: int = 20_000,
        seed: int = 0,
        progress: bool | None = None,
    ) -> Report:
        """Look for what is odd about the vectors: each finding comes with its rows, and with code that mends it.

        It looks for vectors that can't be used, wasteful storage, constant dimensions, lengths that don't suit the
        metric, copies and near-duplicates, hubs (Radovanović et al., JMLR 2010), a direction that all share
        (Ethayarajh, EMNLP 2019), and signs of two models or two pipelines. Vectors of two topics are no sign.

        Args:
            on: the vector column, where there are several.
            metric: what the vectors will be measured by.
            sample: rows that are compared with each other; where there are more, so many are drawn by chance.
            seed: of the drawing.
            progress: show a bar; by default where there is much to do.

        Returns:
            The report: print it, show it in a notebook, loop over its findings, take one by name, or make it a frame.

        Example:
            >>> import dkvector as dkv
            >>> print(dkv.datasets.load_wordnet_queries().vec.check())
            embedding: 1,000 vectors of 384 dimensions, by cosine: 1 finding
            · constant (info)
                2 of 384 dimensions are the same in all rows; all of them 0 (127, 223): they cost memory and
                tell nothing. Without them the same must be left out of every query.
                    matrix = df['embedding'].vec.to_numpy()
                    useful = matrix.min(axis=0) < matrix.max(axis=0)
                    df['embedding'] = dkv.VectorArray(matrix[:, useful])
        """
        few = as_count(sample, "sample")
        subject = Subject(self._frame, self.column(on), DistanceMetric.of(metric), few, seed, progress)
        return lint.check(subject)
