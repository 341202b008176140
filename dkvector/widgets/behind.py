"""The rows that a map is of, which can be asked for neighbours where they have vectors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.encoders import as_encoder
from dkvector.errors import SchemaError
from dkvector.frame_columns import vector_columns
from dkvector.maps._source import metric_of
from dkvector.metrics import DistanceMetric
from dkvector.store import AsyncVectorStore
from dkvector.widgets.answering import Answers, Asked, Asking, Outcome
from dkvector.widgets.asking import Asker, blocking
from dkvector.widgets.asking_frames import FrameAsker
from dkvector.widgets.mapped import PLACES, Laying
from dkvector.widgets.question import Question, Way, literal


@dataclass(frozen=True)
class Behind:
    """Answers questions about the rows of a map, in whatever thread; nothing is raised.

    A frame is asked as it is, measured as the map does.

    Args:
        data: a store, a frame with vectors, or None where only the map is there.
        laying: how the map was laid out: by which vectors, and by which metric.
        encoder: embeds texts; None leaves that to the store's own.
        name: what the data is called in code; "" for "store" or "data".
        encoder_name: what the encoder is called in code.
    """

    data: pd.DataFrame | VectorStore | None
    laying: Laying
    encoder: Any = None
    name: str = ""
    encoder_name: str = "encoder"

    @classmethod
    def of(cls, data: Any, laying: Laying, *, encoder: Any, name: str, encoder_name: str) -> Behind:
        """Take what a map takes."""
        if isinstance(data, VectorStore | AsyncVectorStore):
            return cls(blocking(data), laying, encoder, name or "store", encoder_name)
        return cls(data if vector_columns(data) else None, laying, encoder, name or "data", encoder_name)

    def beside(self, view: pd.DataFrame, called: str) -> Behind:
        """Put columns beside the frame that only the map has: a filter may read them too."""
        if not isinstance(self.data, pd.DataFrame):
            return self
        more = [name for name in view.columns if name not in {*PLACES, *self.data.columns}]
        if not more:
            return self
        return replace(self, data=self.data.join(view[more]), name=f"{self.name}.join({called}[{more!r}])")

    @property
    def ways(self) -> list[tuple[Way, str]]:
        """The ways to ask, each as (value, words)."""
        own = self.data.encoder if isinstance(self.data, VectorStore) else None
        texts: list[tuple[Way, str]] = [("text", "Text")] if self.encoder is not None or own is not None else []
        return [] if self.data is None else [*texts, ("row", "Row"), ("vector", "Vector")]

    @cached_property
    def asker(self) -> Asking:
        """What is asked.

        Raises:
            SchemaError: there are no vectors.
        """
        if self.data is None:
            raise SchemaError("this map came without its vectors, so nothing is near to anything: Map(data, view=view)")
        if isinstance(self.data, VectorStore):
            return Asker.of(self.data, self.encoder, self.name, self.encoder_name)
        metric = metric_of(self.data, self.laying.metric)
        embeds = None if self.encoder is None else as_encoder(self.encoder)
        return FrameAsker(self.data, self.laying.on, metric, embeds, self.name, self.encoder_name)

    def question(self, query: str, by: Way, k: int, where: str) -> Question:
        """Put a question as it is typed; neighbours are measured as on the map."""
        if not isinstance(self.data, VectorStore):
            return Question(query, by, k, where)
        metric = "" if self.laying.metric is None else DistanceMetric.of(self.laying.metric).value
        own = self.data.store.known.vector(self.laying.on).metric.value
        return Question(query, by, k, where, self.laying.on or "", "" if metric == own else metric)

    def __call__(self, asked: Asked) -> Outcome:
        """Answer a question."""
        # that nothing can be asked at all is told as an answer, too
        try:
            answers = Answers(self.asker)
        except Exception as error:  # noqa: BLE001 - it is shown where it was asked
            return Outcome(error=error)
        return answers(asked)

    def own(self, question: Question) -> list[Any]:
        """Give the label of the row that is asked about, where it is one."""
        return [self.asker.label(question.query)] if question.by == "row" else []

    def code(self, question: Question) -> str:
        """Give the labels of that row and its neighbours, as code."""
        found, own = self.asker.code(question), self.own(question)
        return f"[{literal(own[0])}, *{found}.index]" if own else found
