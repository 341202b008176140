"""`dkv.compile`: what several stores would send for one search, side by side."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Concatenate, ParamSpec, cast

import pandas as pd

from dkvector.blocking import VectorStore
from dkvector.compiled import Compiled, side_by_side
from dkvector.errors import SchemaError

P = ParamSpec("P")


def _beside(
    method: Callable[Concatenate[VectorStore, P], Compiled],
) -> Callable[Concatenate[Sequence[VectorStore], P], pd.DataFrame]:
    """Turn the method of a store into a function of several, whose signature is the method's."""

    def compile(stores: Sequence[VectorStore], *args: P.args, **kwargs: P.kwargs) -> pd.DataFrame:  # noqa: A001
        """Tell what stores would send for a search, without searching.

        Args:
            stores: the stores.
            args: what is searched for, and k, as `search` takes them.
            kwargs: all else that `search` takes.

        Returns:
            A frame indexed by backend and leg: `plan`, `sent` (SQL, query DSL, or the plan of an engine in this
            process), `parameters`.

        Raises:
            SchemaError: no store.
            UnsupportedError: a store that can't tell.

        Example:
            >>> import dkvector as dkv
            >>> frame = pd.DataFrame({"n": [1, 2], "v": [[1.0, 0.0], [0.0, 1.0]]})
            >>> with frame.vec.push("exact") as exact, frame.vec.push("faiss") as faiss:
            ...     dkv.compile([exact, faiss], [1.0, 0.0], where="n > 1")["plan"].tolist()
            ['exact over the matching rows', 'exact over 1 candidates']
        """
        if isinstance(stores, VectorStore) or not stores:
            raise SchemaError("compile takes a list of stores; store.compile(…) tells of one")
        return side_by_side([method(one, *args, **kwargs) for one in stores])

    _, *others = inspect.signature(method).parameters.values()
    first = inspect.Parameter("stores", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation="Sequence[VectorStore]")
    setattr(compile, "__signature__", inspect.Signature([first, *others], return_annotation="pd.DataFrame"))  # noqa: B010
    return cast("Callable[Concatenate[Sequence[VectorStore], P], pd.DataFrame]", compile)


compile = _beside(VectorStore.compile)  # noqa: A001 - the word for it; Python's own is not for searches
