"""Encoders: anything that turns texts into vectors, made safe to use.

An encoder is a callable `list[str] → (n, d)`, or an object with `.encode(list[str])` such as a SentenceTransformer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from dkvector._memory import Memory, memory_of, owner_of
from dkvector.errors import SchemaError, VectorError, some
from dkvector.metrics import Floats
from dkvector.probes import ALIKE, Probes, chosen
from dkvector.schema import VectorInfo, same_model

BATCH = 64  # texts given to an encoder at once
SLOW = 1_000  # texts from which a progress bar shows by itself
USUAL = ("a tame animal", "to move fast by foot", "the price of a house", "an error was found in line 3")
_SHOWN = 60  # characters of a text named in a message


class Encoder:
    """An encoder whose answers are checked, and remembered.

    Equal texts are embedded once, also across calls and columns: the vectors are kept with the encoder's object, as
    long as it lives, up to 256 MB. An encoder that changes in place (a model in training) must be told to `forget()`,
    or be wrapped with ``remember=False``.

    Args:
        source: a callable `list[str] → (n, d)`, or an object with `.encode(list[str])`.
        model: the model's name; by default what the encoder tells of itself. A store whose vectors were made by
            another model refuses its texts.
        batch_size: texts given to it at once; by default what the encoder tells of itself, or 64.
        remember: keep vectors across calls.

    Raises:
        SchemaError: something that is no encoder.

    Example:
        >>> def lengths(texts: list[str]) -> list[list[float]]:
        ...     return [[len(text), text.count(" ")] for text in texts]
        >>> Encoder(lengths).encode(["one", "and two"])
        array([[3., 0.],
               [7., 1.]], dtype=float32)
    """

    def __init__(
        self, source: Any, *, model: str | None = None, batch_size: int | None = None, remember: bool = True
    ) -> None:
        self._call = _callable(source)
        self.batch_size = _count(_told(source, "batch_size", BATCH) if batch_size is None else batch_size)
        self.source = source
        self.model = _model_of(source) if model is None else model
        self._memory = memory_of(self._call) if remember else Memory(0)
        self.dimensions: int | None = _told(source, "dimensions", None)
        self._known: set[Probes] = set()  # those that it was found to have made

    def encode(self, texts: Sequence[str], *, batch_size: int | None = None, progress: bool | None = None) -> Floats:
        """Embed texts, each different one once.

        Args:
            texts: `n` texts.
            batch_size: texts given to the encoder at once; `self.batch_size` by default.
            progress: show a bar; None shows one from 1,000 new texts on.

        Returns:
            Vectors `(n, d)` float32, C-contiguous, finite.

        Raises:
            VectorError: the encoder gave another number of vectors, vectors of different lengths, or NaN: names the
                texts. What it gave before is remembered.
            SchemaError: something that is no text.
        """
        texts = _texts(texts)
        known = self._memory.known(dict.fromkeys(texts))
        # the memory is that of the model, which another wrapper may have asked
        self.dimensions = next((len(vector) for vector in known.values()), self.dimensions)
        # of like length together: an encoder that pads a batch wastes little
        new = sorted((text for text in dict.fromkeys(texts) if text not in known), key=len)
        size = self.batch_size if batch_size is None else _count(batch_size)
        for batch in _shown([new[at : at + size] for at in range(0, len(new), size)], len(new), progress):
            made = dict(zip(batch, self._embedded(batch), strict=True))
            # after each batch, so that an interruption costs one
            self._memory.add(made, using=len(known))
            known |= made
        vectors = np.empty((len(texts), self.dimensions or 0), np.float32)
        for at, text in enumerate(texts):
            vectors[at] = known[text]
        return vectors

    def forget(self) -> None:
        """Forget every vector that was remembered: the encoder has changed."""
        self._memory.clear()
        self._known.clear()

    def check_field(self, info: VectorInfo) -> None:
        """Refuse a field whose vectors another model made, or are of another length.

        A field that keeps probes has them embedded, the first time.

        Raises:
            SchemaError: names both.
        """
        self._check_dimensions(info)
        if self.model is not None and info.model is not None and not same_model(self.model, info.model):
            raise SchemaError(
                f"the vectors of {info.name!r} were made by {info.model!r}, the encoder is {self.model!r}: "
                "their distances would mean nothing"
            )
        if info.probes is not None and info.probes not in self._known:
            self._check_probes(info, info.probes)

    def _check_dimensions(self, info: VectorInfo) -> None:
        if self.dimensions not in {None, info.dimensions}:
            raise SchemaError(f"{info.name!r} has {info.dimensions} dimensions, the encoder gives {self.dimensions}")

    def _check_probes(self, info: VectorInfo, probes: Probes) -> None:
        """Embed the texts that a field keeps, and compare what comes with what its model made of them."""
        made = self.encode(probes.texts, progress=False)
        # once more: only now is the length known of an encoder that does not tell it
        self._check_dimensions(info)
        least = probes.least(made)
        if least < ALIKE:
            raise SchemaError(
                f"the encoder is not the model that made the vectors of {info.name!r} ({info.made_by}): of the texts "
                f"that the field keeps, its own have a cosine as low as {least:.3f} with those that are kept, where "
                f"the same model has {ALIKE} or more; name the field of this model by field=, or reembed() the rows"
            )
        self._known.add(probes)

    def probes(self, texts: Sequence[str]) -> Probes:
        """Make what a field keeps of its model, out of texts that are typical of it.

        Raises:
            VectorError: no text has a vector with a direction.
        """
        some_texts = chosen(texts) or list(USUAL)
        return Probes.of(some_texts, self.encode(some_texts, progress=False))

    def _embedded(self, texts: list[str]) -> Floats:
        """Call the encoder, and check what it gives."""
        # a list of its own, which the encoder may change
        made = _matrix(self._call(list(texts)), len(texts))
        if self.dimensions not in {None, made.shape[1]}:
            raise VectorError(f"the encoder gave {made.shape[1]} dimensions, {self.dimensions} before")
        finite = np.isfinite(made).all(axis=1)
        if not finite.all():
            named = [_short(texts[at]) for at in np.flatnonzero(~finite)]
            raise VectorError.at_rows("the encoder gave NaN or infinity", named, way_out="leave these texts out")
        self.dimensions = made.shape[1]
        return made

    def __repr__(self) -> str:
        named = f"model={self.model!r}" if self.model else type(self.source).__name__
        return f"Encoder({named}, dimensions={self.dimensions})"


def as_encoder(encoder: Any) -> Encoder:
    """Wrap an encoder, unless it is wrapped already.

    Raises:
        SchemaError: something that is no encoder.
    """
    return encoder if isinstance(encoder, Encoder) else Encoder(encoder)


def needed(encoder: Any, way_out: str) -> Encoder:
    """Wrap the encoder that a text is to be embedded by.

    Raises:
        SchemaError: there is none; says how to name one.
    """
    if encoder is None:
        raise SchemaError(f"text= needs an encoder: {way_out}")
    return as_encoder(encoder)


def agreed_model(model: str | None, encoder: Encoder | None) -> str | None:
    """Give the model that made vectors, by what was said and what their encoder tells.

    Raises:
        SchemaError: the two differ.
    """
    told = None if encoder is None else encoder.model
    if model is not None and told is not None and not same_model(model, told):
        raise SchemaError(f"model={model!r} is given with an encoder that is {told!r}")
    return told if model is None else model


def queries_of(text: Any, encoder: Encoder) -> Any:
    """Embed what is searched for.

    Args:
        text: one text, or many.
        encoder: embeds them.

    Returns:
        One vector `(d,)` for one text; a Series of vectors for many, labelled by the texts, or by the index of a
        Series of texts.
    """
    if isinstance(text, str):
        return encoder.encode([text])[0]
    if not isinstance(text, Sequence | np.ndarray | pd.Series | pd.Index):
        raise SchemaError(f"text= takes one text or a list of them, not {type(text).__name__}")
    vectors = encoder.encode(list(text))
    labels = text.index if isinstance(text, pd.Series) else pd.Index(list(text))
    return pd.Series(list(vectors), index=labels, dtype=object)


def _callable(source: Any) -> Callable[[list[str]], Any]:
    encode = getattr(source, "encode", None)
    # a text has .encode() too, and a class can be called
    if isinstance(source, str | bytes | type) or not callable(encode or source):
        raise SchemaError(
            f"an encoder is a callable list[str] → (n, d), or an object with .encode(list[str]), not {source!r}"
        )
    call: Callable[[list[str]], Any] = encode if callable(encode) else source
    return call


def _model_of(source: Any) -> str | None:
    """Read the model's name from where encoders of this field tell it."""
    owner = owner_of(source)
    card = getattr(owner, "model_card_data", None)  # sentence-transformers
    places = ((owner, "model_name"), (owner, "model"), (card, "model_id"), (card, "base_model"))
    names = (getattr(place, name, None) for place, name in places)
    return next((name for name in names if isinstance(name, str) and name), None)


def _told(source: Any, name: str, default: int | None) -> int | None:
    """Read a number that an encoder may tell of itself."""
    told = getattr(owner_of(source), name, None)
    return told if isinstance(told, int) and told > 0 else default


def _count(size: Any) -> int:
    if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
        raise SchemaError(f"batch_size must be a whole number of at least 1, not {size!r}")
    return int(size)


def _texts(texts: Sequence[str]) -> list[str]:
    if isinstance(texts, str):
        raise SchemaError("encode takes a list of texts; one text is [text]")
    listed = list(texts)
    if wrong := [at for at, text in enumerate(listed) if not isinstance(text, str)]:
        raise SchemaError(f"not text, such as {listed[wrong[0]]!r}, at {some(wrong)}")
    return [str(text) for text in listed]  # NumPy's own str is not what a tokenizer takes


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _shown(batches: list[list[str]], texts: int, progress: bool | None) -> Iterator[list[str]]:
    if not (texts >= SLOW if progress is None else progress):
        yield from batches
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - who shows no bar does not pay for it

    with tqdm(total=texts, desc="embedding", unit=" texts") as bar:
        for batch in batches:
            yield batch
            bar.update(len(batch))


def _matrix(made: Any, count: int) -> Floats:
    """Read what an encoder gave: an array, a tensor on any device, lists, a generator of vectors."""
    for step in ("detach", "cpu"):
        made = getattr(made, step, lambda made=made: made)()
    if not hasattr(made, "__array__") and hasattr(made, "__iter__"):
        made = list(made)
    try:
        with np.errstate(over="ignore"):  # what float32 can't hold is found as infinity
            # a copy: an encoder may use its buffer again
            matrix: Floats = np.array(made, np.float32, order="C")
    except (TypeError, ValueError) as exc:
        raise VectorError(f"the encoder gave no vectors of one length for {count} texts: {exc}") from exc
    if matrix.ndim != 2 or len(matrix) != count or not matrix.shape[1]:  # noqa: PLR2004 - rows and dimensions
        raise VectorError(f"the encoder gave an array of shape {matrix.shape} for {count} texts, not ({count}, d)")
    return matrix
