"""The sentence encoder all-MiniLM-L6-v2 in NumPy: texts to vectors of unit length, on any machine, without torch.

BERT (Devlin et al. 2018) of 6 layers, distilled (Wang et al. 2020, MiniLM), with the mean over a text's tokens
(Reimers & Gurevych 2019). Texts of different lengths lie end to end in one matrix of tokens, so that every linear
layer is one large product and nothing is padded; attention goes by groups of one length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from dkvector._gelu import gelu
from dkvector._weights import MODEL, TOKENIZER, WEIGHTS
from dkvector.errors import MissingExtraError
from dkvector.metrics import Floats

# as in the model's config.json
LAYERS, HEADS, EPSILON = 6, 12, np.float32(1e-12)
LONGEST = 256  # tokens, as in the model's sentence_bert_config.json; what is longer is cut
AT_ONCE = 4096  # tokens in a forward pass: products are large, and the widest layer takes 25 MB
Group = tuple[slice, int]  # tokens of the texts of one length, and that length


@dataclass(frozen=True)
class Layer:
    """The weights of one layer: matrices `(in, out)` and biases, or gains and shifts of a normalisation."""

    attend: tuple[Floats, Floats]
    mix: tuple[Floats, Floats]
    mixed: tuple[Floats, Floats]
    widen: tuple[Floats, Floats]
    narrow: tuple[Floats, Floats]
    narrowed: tuple[Floats, Floats]

    @classmethod
    def of(cls, weights: Mapping[str, Floats], at: int) -> Layer:
        """Take a layer's weights; query, key and value are one product, and the query comes scaled by 1/√d."""

        def pair(name: str) -> tuple[Floats, Floats]:
            stem = f"encoder.layer.{at}.{name}"
            weight = weights[f"{stem}.weight"]
            # PyTorch keeps the matrix of a layer as (out, in)
            return weight.T if weight.ndim > 1 else weight, weights[f"{stem}.bias"]

        parts = [pair(f"attention.self.{name}") for name in ("query", "key", "value")]
        scale = np.float32(1 / np.sqrt(parts[0][0].shape[1] // HEADS))
        parts[0] = parts[0][0] * scale, parts[0][1] * scale
        attend = np.concatenate([part[0] for part in parts], axis=1), np.concatenate([part[1] for part in parts])
        output = pair("attention.output.dense"), pair("attention.output.LayerNorm")
        return cls(attend, *output, pair("intermediate.dense"), pair("output.dense"), pair("output.LayerNorm"))

    def __call__(self, x: Floats, groups: Sequence[Group]) -> Floats:
        """Pass tokens `(t, d)` through the layer."""
        x = normalised(x + linear(attention(linear(x, self.attend), groups), self.mix), self.mixed)
        return normalised(x + linear(gelu(linear(x, self.widen)), self.narrow), self.narrowed)


def linear(x: Floats, weights: tuple[Floats, Floats]) -> Floats:
    """Multiply tokens by a matrix, and add the bias."""
    product: Floats = x @ weights[0]
    product += weights[1]
    return product


def normalised(x: Floats, weights: tuple[Floats, Floats]) -> Floats:
    """Bring every token to mean 0 and variance 1, then to the layer's gain and shift; in place."""
    x -= x.mean(axis=1, keepdims=True)
    variance = np.einsum("td,td->t", x, x)[:, None] / np.float32(x.shape[1])
    x /= np.sqrt(variance + EPSILON)
    x *= weights[0]
    x += weights[1]
    return x


def attention(three: Floats, groups: Sequence[Group]) -> Floats:
    """Let the tokens of each text look at each other: softmax(QKᵀ)·V in every head (Vaswani et al. 2017).

    Args:
        three: queries, keys and values side by side, `(t, 3d)`; the queries are scaled.
        groups: the tokens of the texts of each length.

    Returns:
        The mixed values `(t, d)`.
    """
    wide = three.shape[1] // 3
    mixed = np.empty((len(three), wide), np.float32)
    for tokens, length in groups:
        # (text, token, which of the three, head, size of a head), then which and head to the front
        heads = three[tokens].reshape(-1, length, 3, HEADS, wide // HEADS)
        query, key, value = heads.transpose(2, 0, 3, 1, 4)
        near = query @ key.swapaxes(2, 3)
        # the shares stay the same, and no exponential overflows
        near -= near.max(axis=3, keepdims=True)
        np.exp(near, out=near)
        near /= near.sum(axis=3, keepdims=True)
        mixed[tokens] = (near @ value).transpose(0, 2, 1, 3).reshape(-1, wide)
    return mixed


class MiniLM:
    """The encoder all-MiniLM-L6-v2.

    Args:
        folder: holds `model.safetensors` and `tokenizer.json`.

    Raises:
        MissingExtraError: tokenizers or safetensors are not installed.
    """

    model: ClassVar[str] = MODEL
    dimensions: ClassVar[int] = 384
    batch_size: ClassVar[int] = 512  # sentences that fill a forward pass

    def __init__(self, folder: Path) -> None:
        weights, self._tokenizer = _read(folder)
        stem = "embeddings."
        self._words = weights[f"{stem}word_embeddings.weight"]
        # every text is one sentence, of token type 0
        self._places = weights[f"{stem}position_embeddings.weight"] + weights[f"{stem}token_type_embeddings.weight"][0]
        self._embedded = weights[f"{stem}LayerNorm.weight"], weights[f"{stem}LayerNorm.bias"]
        self._layers = [Layer.of(weights, at) for at in range(LAYERS)]

    def encode(self, texts: Sequence[str]) -> Floats:
        """Embed texts.

        Args:
            texts: each of at most 256 tokens; the rest of a longer one is cut off.

        Returns:
            Vectors `(n, 384)` float32 of unit length.
        """
        # one by one: the tokenizer's own threads would not survive a fork, and are no faster beside the model
        tokens = [self._tokenizer.encode(text).ids for text in texts]
        vectors = np.empty((len(tokens), self.dimensions), np.float32)
        for batch in _batches([len(one) for one in tokens]):
            vectors[batch] = self._forward([tokens[at] for at in batch])
        return vectors

    def _forward(self, texts: Sequence[Sequence[int]]) -> Floats:
        """Embed tokenised texts, which are in order of length."""
        lengths = np.array([len(one) for one in texts])
        starts = np.cumsum(lengths) - lengths
        places = np.arange(lengths.sum()) - np.repeat(starts, lengths)
        x = normalised(self._words[np.concatenate(texts)] + self._places[places], self._embedded)
        groups = _groups(lengths)
        for layer in self._layers:
            x = layer(x, groups)
        # a divisor of int64 would make the vectors float64
        means = np.add.reduceat(x, starts) / lengths[:, None].astype(np.float32)
        sizes: Any = np.linalg.norm(means, axis=1, keepdims=True)  # float32, whatever the stubs of NumPy 2.5 say
        unit: Floats = means / sizes
        return unit

    def __repr__(self) -> str:
        return f"MiniLM({self.model!r}, dimensions={self.dimensions})"


def _read(folder: Path) -> tuple[dict[str, Floats], Any]:
    try:
        from safetensors.numpy import load_file  # noqa: PLC0415 - an extra
        from tokenizers import Tokenizer  # noqa: PLC0415 - an extra
    except ImportError as exc:
        raise MissingExtraError.of("tokenizers and safetensors", "text") from exc
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    # the file may ask for a padding and a length of its own
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length=LONGEST)
    return load_file(folder / WEIGHTS), tokenizer


def _batches(lengths: Sequence[int]) -> Iterator[NDArray[np.intp]]:
    """Take texts in order of length, so many at a time that their tokens fill a forward pass."""
    order = np.argsort(lengths, kind="stable")
    which = np.cumsum(np.asarray(lengths, np.intp)[order]) // AT_ONCE
    yield from (batch for batch in np.split(order, np.flatnonzero(np.diff(which)) + 1) if len(batch))


def _groups(lengths: NDArray[np.intp]) -> list[Group]:
    """Find the tokens of the texts of each length.

    Example:
        >>> _groups(np.array([2, 2, 5]))
        [(slice(0, 4, None), 2), (slice(4, 9, None), 5)]
    """
    kinds, counts = np.unique(lengths, return_counts=True)
    ends = np.cumsum(kinds * counts)
    return [
        (slice(int(end - kind * count), int(end)), int(kind))
        for kind, count, end in zip(kinds, counts, ends, strict=True)
    ]
