"""What goes in and out of a store's calls: a search as it was asked for and once checked, and what a write did."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dkvector.blends import Blended
from dkvector.counts import as_count
from dkvector.errors import PartialWriteError, SchemaError
from dkvector.filters import And, Filter, as_filter, check_columns
from dkvector.fusion import Fusion
from dkvector.indexes import Tuning
from dkvector.metrics import DistanceMetric, Floats
from dkvector.query import VectorQuery
from dkvector.refinements import Refinement, as_refinements
from dkvector.schema import Schema, Supports, VectorInfo
from dkvector.vectors import read_queries

Mode = Literal["upsert", "insert", "replace"]
MODES = ("upsert", "insert", "replace")
MUCH = 50_000  # rows from which a progress bar shows by itself


@dataclass(frozen=True)
class Search:
    """A search as it was asked for: see `AsyncVectorStore.search` for what each argument takes.

    Raises:
        SchemaError: not one of queries, text and like, or queries with text; fusion without text; a k that is no count.
    """

    queries: Any = None
    k: int = 10
    text: Any = None
    like: Any = None
    field: str | Sequence[str] | None = None
    where: Any = None
    metric: DistanceMetric | str | None = None
    tuning: Tuning | Mapping[str, Any] | None = None
    columns: Sequence[str] | None = None
    include_vectors: bool = False
    fusion: Fusion | None = None
    text_on: str | Sequence[str] | None = None
    refine: Refinement | Sequence[Refinement] | None = None

    def __post_init__(self) -> None:
        check_one(self.queries, self.text, self.like)
        as_count(self.k)
        several = self.several
        if self.text is None and not several and not (self.fusion is None and self.text_on is None):
            raise SchemaError("fusion= and text_on= are of a hybrid search, which takes text= too")
        if self.text is None and self.text_on is not None:
            raise SchemaError("text_on= are the columns to look for text= in, which is not given")
        if self.refinements and (several or self.hybrid):
            raise SchemaError("refine= works on one ranking by distance, not on several that are fused")

    @property
    def several(self) -> bool:
        """Whether several vector fields are searched, and the answers fused."""
        return isinstance(self.queries, Mapping) or not (self.field is None or isinstance(self.field, str))

    @property
    def hybrid(self) -> bool:
        """Whether words are searched for beside a vector."""
        # over several fields fusion= is of their answers
        fused = self.text_on is not None or (self.fusion is not None and not self.several)
        return self.text is not None and (self.queries is not None or fused)

    @cached_property
    def refinements(self) -> tuple[Refinement, ...]:
        """What is done with the neighbours, in order."""
        return as_refinements(self.refine)

    def by_field(self) -> list[Search]:
        """Take a search of several vector fields apart: one search for each.

        Raises:
            SchemaError: no field, one twice, or queries for other fields than those that are named.
        """
        if not self.several:
            return [self]
        queries = self.queries if isinstance(self.queries, Mapping) else None
        named = [self.field] if isinstance(self.field, str) else self.field
        names = list(queries or ()) if named is None else list(named)
        if not names or len(set(names)) < len(names) or (queries is not None and set(names) != set(queries)):
            raise SchemaError(f"field= names vector fields, each once, and queries= may be a dict of them: {names}")
        # a search of one field takes neither
        plain = replace(self, fusion=None, text_on=None)
        return [replace(plain, field=one, queries=queries[one] if queries else self.queries) for one in names]

    def unfolded(self) -> Search:
        """Take vector, k, field, filter and metric from a `VectorQuery`, or from the `Query` that holds one."""
        asked = vector_query(self.queries)
        if asked is None:
            return self
        return replace(
            self,
            queries=asked.vector,
            k=asked.k,
            field=asked.vector_field,
            where=asked.filter,
            metric=asked.metric,
        )

    def checked(self, backend: str, supports: Supports, schema: Schema) -> Request:
        """Check everything but what is searched for, which may have to be embedded or read first."""
        if self.several:
            raise SchemaError("one vector field is searched here: name it as `field`")
        info = schema.vector(self.field)  # type: ignore[arg-type]  # one, as `several` tells
        by = info.metric if self.metric is None else DistanceMetric.of(self.metric)
        supports.check_metric(backend, by, info.metric)
        return Request(
            np.empty((0, info.dimensions), np.float32),
            None,
            int(self.k),
            info,
            by,
            filter_of(self.where, schema),
            Tuning.of(self.tuning),
            tuple(schema.select(self.columns)),
            self.include_vectors,
        )


@dataclass(frozen=True)
class Request:
    """A search that has been checked.

    Attributes:
        queries: `(q, d)` float32, finite.
        labels: of the query rows; None for a single query.
        k: neighbours of each query.
        info: the vector field.
        metric: what to measure by.
        where: the filter, its columns known.
        tuning: search-time knobs.
        columns: payload columns to give.
        include_vectors: give the vectors too.
        own: for each query, ids that it must not find; None where there are none. No backend sees any.
        blend: how queries of several vectors are made up; None where each is one vector. No backend sees any.
    """

    queries: Floats
    labels: pd.Index | None
    k: int
    info: VectorInfo
    metric: DistanceMetric
    where: Filter | None
    tuning: Tuning
    columns: tuple[str, ...]
    include_vectors: bool
    own: tuple[pd.Index, ...] | None = None
    blend: Blended | None = None

    @property
    def count(self) -> int:
        """How many queries there are."""
        return len(self.queries) if self.blend is None else len(self.blend.sizes)

    def some(self, places: NDArray[np.intp]) -> Request:
        """Search for some of the queries."""
        blend, rows = (None, places) if self.blend is None else self.blend.some(places)
        labels = pd.RangeIndex(self.count) if self.labels is None else self.labels
        own = None if self.own is None else tuple(self.own[at] for at in places)
        return replace(self, queries=self.queries[rows], labels=labels[places], own=own, blend=blend)

    def narrowed(self, where: Filter) -> Request:
        """Search among rows that satisfy a further filter."""
        return replace(self, where=where if self.where is None else And((self.where, where)))

    def of(self, queries: Any) -> Request:
        """Search for these vectors.

        Raises:
            VectorError: another length, NaN or infinity, no direction under cosine.
        """
        matrix, single, labels = read_queries(queries, dimensions=self.info.dimensions, metric=self.metric)
        if not single and labels is None:
            labels = pd.RangeIndex(len(matrix))
        return replace(self, queries=matrix, labels=None if single else labels)


@dataclass(frozen=True)
class KeywordRequest:
    """A search by words that has been checked.

    Raises:
        SchemaError: no text, or a blank one.

    Attributes:
        text: the words, not blank.
        k: rows to find at most.
        on: text columns to look in, at least one.
        where: the filter, its columns known.
        columns: payload columns to give.
        highlight: tell where the words are.
    """

    text: str
    k: int
    on: tuple[str, ...]
    where: Filter | None
    columns: tuple[str, ...]
    highlight: bool

    def __post_init__(self) -> None:
        if not isinstance(self.text, str) or not self.text.strip():
            raise SchemaError(f"words to search for must be a text that is not blank, not {self.text!r}")

    @property
    def encodable(self) -> str:
        """The text as a server can be told it: NUL and halves of surrogate pairs, which are in no word, are spaces."""
        return re.sub("[\0\ud800-\udfff]", " ", self.text)


@dataclass(frozen=True)
class Written:
    """What a write did.

    Attributes:
        inserted: rows that were new.
        replaced: rows whose id was known.
        dropped: labels of rows left out for their vectors.
        ids: ids of the rows written, which are not compared; those of a load of many batches are not kept.
        skipped: rows left as they are, for their ids were there.
    """

    inserted: int
    replaced: int = 0
    dropped: tuple[Any, ...] = ()
    ids: pd.Index = field(default_factory=lambda: pd.Index([]), repr=False, compare=False)
    skipped: int = 0

    def and_then(self, other: Written) -> Written:
        """Add what another write did; ids are not kept."""
        return Written(
            self.inserted + other.inserted,
            self.replaced + other.replaced,
            self.dropped + other.dropped,
            skipped=self.skipped + other.skipped,
        )

    def partial(self, failed: Mapping[Any, str]) -> PartialWriteError:
        """Make the error that tells which rows were not written: id → reason."""
        return PartialWriteError(failed, self.inserted + self.replaced, self.dropped)


def check_one(queries: Any, text: Any, like: Any) -> None:
    """Refuse a search for nothing, or for a row like another and something else.

    Raises:
        SchemaError: none of the three is given, or like beside another.
    """
    if (queries is not None or text is not None) == (like is not None):
        raise SchemaError("search takes a query vector, text=, both of them, or like= with a row's label")


def vector_query(queries: Any) -> VectorQuery | None:
    """Find the vector query that brings more than vectors, where that is what was given."""
    vector = queries if isinstance(queries, VectorQuery) else getattr(queries, "vector_query", None)
    return vector if isinstance(vector, VectorQuery) else None


def filter_of(where: Any, schema: Schema) -> Filter | None:
    """Read a filter, and check that its columns are there."""
    read = as_filter(where)
    if read is not None:
        check_columns(read, schema.columns)
    return read


def labels_of(like: Any) -> tuple[pd.Index, bool]:
    """Read one label or a list of them, and tell whether it was one; a tuple is one label."""
    many = isinstance(like, list | np.ndarray | pd.Index | pd.Series)
    return pd.Index(like if many else [like], tupleize_cols=False), not many


def shown(progress: bool | None, rows: int) -> bool:
    """Decide whether a progress bar is shown."""
    return rows >= MUCH if progress is None else progress


def as_ids(ids: Any) -> pd.Index:
    """Read one id or many."""
    if isinstance(ids, pd.Index):
        return ids
    if isinstance(ids, str | bytes) or not hasattr(ids, "__iter__"):
        ids = [ids]
    # a Series keeps its dtype; tuples become a MultiIndex, as ids of several columns are
    return pd.Index(ids if isinstance(ids, pd.Series) else list(ids))
