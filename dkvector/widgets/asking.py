"""A question put to a store: the call that answers it, and the line of code that is the same call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from dkvector.blends import Blend
from dkvector.blocking import VectorStore
from dkvector.encoders import Encoder, as_encoder
from dkvector.errors import SchemaError
from dkvector.fusion import RRF
from dkvector.schema import VectorInfo
from dkvector.store import AsyncVectorStore
from dkvector.widgets.question import Question, filter_text, label_of, literal, vector_of

AWAY = 0.5  # twice as far as a blend goes by itself: who presses a button wants to see what it does
FIRST = ("queries", "query")  # of the search of a store, and of a frame


@dataclass(frozen=True)
class Shown:
    """A value, and the code that makes it."""

    value: Any
    code: str


def written(call: str, given: Mapping[str, Shown]) -> str:
    """Write a call; what is searched for needs no name."""
    return f"{call}({', '.join(one.code if name in FIRST else f'{name}={one.code}' for name, one in given.items())})"


@dataclass(frozen=True)
class Asker:
    """A store and what embeds its texts, with the names that they have in code.

    Args:
        store: answers.
        encoder: embeds texts; None leaves that to the store's own.
        name: what the store is called in code.
        encoder_name: what the encoder is called in code.
    """

    store: VectorStore
    encoder: Encoder | None = None
    name: str = "store"
    encoder_name: str = "encoder"

    @classmethod
    def of(cls, store: Any, encoder: Any = None, name: str = "store", encoder_name: str = "encoder") -> Asker:
        """Take a store of either kind, and any encoder."""
        return cls(blocking(store), None if encoder is None else as_encoder(encoder), name, encoder_name)

    @property
    def embeds(self) -> bool:
        """Whether a text can be searched for by its meaning."""
        return self.encoder is not None or self.store.encoder is not None

    def frame(self, question: Question) -> pd.DataFrame:
        """Answer a question.

        Raises:
            DkvectorError: what `store.search` raises, and what can't be read.
        """
        return self.store.search(**{name: shown.value for name, shown in self._arguments(question).items()})

    @property
    def ran(self) -> str:
        """The plan of the last search."""
        return "" if self.store.last is None else self.store.last.plan

    def label(self, text: str) -> Any:
        """Read the label of a row as it is typed."""
        return label_of(text, self.store.store.known.id)

    def code(self, question: Question) -> str:
        """Give the line of Python that answers a question."""
        if question.blank:
            return ""
        return written(f"{self.name}.search", self._arguments(question, only_code=True))

    def _arguments(self, question: Question, *, only_code: bool = False) -> dict[str, Shown]:
        sought, by_words = self._sought(question, only_code), question.by == "words"
        if question.less:
            words = {"text": Shown(question.query, repr(question.query))} if by_words else {}
            sought = {"queries": self._away(question, sought, only_code=only_code)} | words
        # a blend leaves out the rows that it names, but words may find them
        where = filter_text(question.where, question.less if by_words else ())
        rest: dict[str, Any] = {
            "k": question.k,
            "field": question.field or None,
            "where": where,
            "metric": question.metric or None,
            "tuning": dict(question.tuning) or None,
        }
        return sought | {name: Shown(value, repr(value)) for name, value in rest.items() if value is not None}

    def _sought(self, question: Question, only_code: bool) -> dict[str, Shown]:
        """Give what is searched for: a vector, a row, a text, or a text by meaning and words."""
        if question.by == "vector":
            vector = vector_of(question.query)
            return {"queries": Shown(vector, str(vector.tolist()))}
        if question.by == "row":
            label = self.label(question.query)
            return {"like": Shown(label, literal(label))}
        text = {"text": Shown(question.query, repr(question.query))}
        if self.encoder is None:
            return text | ({"fusion": Shown(RRF(), "dkv.RRF()")} if question.by == "words" else {})
        embedded = {"queries": self._embedded(question, only_code)}
        return embedded | (text if question.by == "words" else {})

    def _embedded(self, question: Question, only_code: bool) -> Shown:
        encoder = self.encoder
        if encoder is None:
            raise SchemaError("there is no encoder")
        code = f"dkv.Encoder({self.encoder_name}).encode([{question.query!r}])[0]"
        if only_code:
            return Shown(None, code)
        encoder.check_field(self._info(question))
        return Shown(encoder.encode([question.query])[0], code)

    def _away(self, question: Question, sought: Mapping[str, Shown], *, only_code: bool) -> Shown:
        """Search for the same, away from rows that are not wanted."""
        towards = {
            "vectors" if name == "queries" else name: shown
            for name, shown in sought.items()
            # beside a vector a text is what words are looked for, which nothing leads away from
            if name in {"queries", "like"} or (name == "text" and "queries" not in sought)
        }
        less = list(question.less)
        away = {"unlike": Shown(less, literal(less)), "away": Shown(AWAY, repr(AWAY))}
        code = written("dkv.Blend", towards | away)
        if only_code:
            return Shown(None, code)
        given: dict[str, Any] = {name: shown.value for name, shown in towards.items()}
        return Shown(Blend(**given, unlike=less, away=AWAY), code)

    def _info(self, question: Question) -> VectorInfo:
        return self.store.store.known.vector(question.field or None)


def blocking(store: Any) -> VectorStore:
    """Take a store of either kind as a blocking one.

    Raises:
        SchemaError: something else, or the asynchronous client of a server, which lives on another loop.
    """
    if isinstance(store, VectorStore):
        return store
    if not isinstance(store, AsyncVectorStore):
        raise SchemaError(f"a store is wanted, such as df.vec.push() gives, not {type(store).__name__}")
    if not store.inline:
        raise SchemaError(f"the client of {store.name} lives on your own loop: open the store with dkv.connect(…)")
    return VectorStore._of(store)  # noqa: SLF001 - as its own views are made
