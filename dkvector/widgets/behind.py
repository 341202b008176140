"""The rows that a map is of, which can be asked for neighbours where they have vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.errors import SchemaError
from dkvector.frame_columns import vector_columns
from dkvector.maps._source import metric_of
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.widgets.answering import Answers, Asked, Outcome
from dkvector.widgets.asking import Asker, blocking
from dkvector.widgets.mapped import Laying
from dkvector.widgets.question import Question, Way, label_of, literal


@dataclass(frozen=True)
class Behind:
    """Answers questions about the rows of a map, in whatever thread; nothing is raised.

    A frame is put into an exact store when it is first asked, which measures as the map does.

    Args:
        data: a store, a frame with vectors, or None where only the map is there.
        laying: how the map was laid out: by which vectors, and by which metric.
        columns: of a frame, that a filter may read.
        encoder: embeds texts; None leaves that to the store's own.
        name: what the data is called in code; "" for "store" or "data".
        encoder_name: what the encoder is called in code.
    """

    data: pd.DataFrame | VectorStore | None
    laying: Laying
    columns: Sequence[Any] = ()
    encoder: Any = None
    name: str = ""
    encoder_name: str = "encoder"

    @classmethod
    def of(
        cls, data: Any, laying: Laying, columns: Sequence[Any], *, encoder: Any, name: str, encoder_name: str
    ) -> Behind:
        """Take what a map takes."""
        if isinstance(data, VectorStore | AsyncVectorStore):
            return cls(blocking(data), laying, (), encoder, name or "store", encoder_name)
        asked = data if vector_columns(data) else None
        return cls(asked, laying, columns, encoder, name or "data", encoder_name)

    @property
    def ways(self) -> list[tuple[Way, str]]:
        """The ways to ask, each as (value, words)."""
        own = self.data.encoder if isinstance(self.data, VectorStore) else None
        texts: list[tuple[Way, str]] = [("text", "Text")] if self.encoder is not None or own is not None else []
        return [] if self.data is None else [*texts, ("row", "Row"), ("vector", "Vector")]

    @cached_property
    def asker(self) -> Asker:
        """The store that is asked.

        Raises:
            SchemaError: there are no vectors.
        """
        if self.data is None:
            raise SchemaError("this map came without its vectors, so nothing is near to anything: Map(data, view=view)")
        if isinstance(self.data, VectorStore):
            return Asker.of(self.data, self.encoder, self.name, self.encoder_name)
        on, metric = self.laying.on, metric_of(self.data, self.laying.metric)
        store = self.data.vec.push("exact", on=on, metric=metric, columns=self.columns, progress=False)
        told = [
            "'exact'",
            *([f"on={on!r}"] if on is not None else []),
            *([f"metric={metric.value!r}"] if metric is not DistanceMetric.COSINE else []),
        ]
        return Asker.of(store, self.encoder, f"{self.name}.vec.push({', '.join(told)})", self.encoder_name)

    def question(self, query: str, by: Way, k: int, where: str) -> Question:
        """Put a question as it is typed; neighbours are measured as on the map."""
        if not isinstance(self.data, VectorStore):
            return Question(query, by, k, where)
        metric = "" if self.laying.metric is None else DistanceMetric.of(self.laying.metric).value
        own = self.data.store.known.vector(self.laying.on).metric.value
        return Question(query, by, k, where, self.laying.on or "", "" if metric == own else metric)

    def __call__(self, asked: Asked) -> Outcome:
        """Answer a question."""
        try:
            answers = Answers(self.asker)
        except Exception as error:  # noqa: BLE001 - it is shown where it was asked
            return Outcome(error=error)
        return answers(asked)

    def own(self, question: Question) -> list[Any]:
        """Give the label of the row that is asked about, where it is one."""
        return [label_of(question.query, self.asker.store.store.known.id)] if question.by == "row" else []

    def code(self, question: Question) -> str:
        """Give the labels of that row and its neighbours, as code."""
        found, own = self.asker.code(question), self.own(question)
        return f"[{literal(own[0])}, *{found}.index]" if own else found
