"""A question put to a frame as it is: its labels may be such as no store holds, and its vectors are not copied."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import pandas as pd
import pyarrow as pa

from dkvector.dtype import VectorArray, VectorDtype
from dkvector.encoders import Encoder
from dkvector.frame_columns import vector_column
from dkvector.metrics import DistanceMetric
from dkvector.vectors import read_vectors
from dkvector.widgets.asking import Shown, written
from dkvector.widgets.question import Question, ids_of, label_of, literal, vector_of


@dataclass(frozen=True)
class FrameAsker:
    """A frame and what embeds texts, with the names that they have in code.

    Args:
        rows: a frame with vectors.
        on: the vector column, where there are several.
        metric: what to measure by.
        encoder: embeds texts.
        name: what the frame is called in code.
        encoder_name: what the encoder is called in code.
    """

    rows: pd.DataFrame
    on: Any = None
    metric: DistanceMetric = DistanceMetric.COSINE
    encoder: Encoder | None = None
    name: str = "data"
    encoder_name: str = "encoder"
    ran: ClassVar[str] = "exact"

    @cached_property
    def _read(self) -> pd.DataFrame:
        """The frame, its vectors read once: of lists and texts that takes longer than a search."""
        name = vector_column(self.rows, self.on)
        if isinstance(self.rows[name].dtype, VectorDtype):
            return self.rows
        read = self.rows.copy(deep=False)
        read[name] = VectorArray(read_vectors(self.rows[name], name=str(name)).matrix)
        return read

    @cached_property
    def _ids(self) -> pa.Field:
        return ids_of(self.rows.index)

    def label(self, text: str) -> Any:
        """Read the label of a row as it is typed."""
        return label_of(text, self._ids)

    def frame(self, question: Question) -> pd.DataFrame:
        """Answer a question.

        Raises:
            DkvectorError: what `df.vec.search` raises, and what can't be read.
        """
        given = {name: shown.value for name, shown in self._arguments(question).items()}
        found: pd.DataFrame = self._read.vec.search(**given)
        return found

    def code(self, question: Question) -> str:
        """Give the line of Python that answers a question."""
        return "" if question.blank else written(f"{self.name}.vec.search", self._arguments(question))

    def _arguments(self, question: Question) -> dict[str, Shown]:
        metric = None if self.metric is DistanceMetric.COSINE else self.metric.value
        rest = {"k": question.k, "on": self.on, "where": question.where.strip() or None, "metric": metric}
        return self._sought(question) | {
            name: Shown(value, repr(value)) for name, value in rest.items() if value is not None
        }

    def _sought(self, question: Question) -> dict[str, Shown]:
        if question.by == "vector":
            vector = vector_of(question.query)
            return {"query": Shown(vector, str(vector.tolist()))}
        if question.by == "row":
            label = self.label(question.query)
            return {"like": Shown(label, literal(label))}
        text = Shown(question.query, repr(question.query))
        return {"text": text, "encoder": Shown(self.encoder, self.encoder_name)}
