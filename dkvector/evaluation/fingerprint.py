"""Digests of content: what was computed once for the same rows, queries and settings is not computed again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from os import cpu_count
from typing import Any

import numpy as np
import pandas as pd

PIECE = 1 << 23  # bytes hashed at a time: pieces are hashed beside each other, on all cores


class Digest:
    """A digest of parts that come one after the other, so that not all of them are in memory."""

    def __init__(self) -> None:
        self._whole = hashlib.sha256()

    def add(self, *parts: Any) -> Digest:
        """Hash further parts: see `digest`."""
        with ThreadPoolExecutor(cpu_count()) as pool:
            for part in parts:
                head, views = _bytes_of(part)
                self._whole.update(f"{head};".encode())
                # not all at once, which would read a file whole
                while some := list(islice(views, cpu_count() or 1)):
                    for piece in pool.map(lambda view: hashlib.sha256(view).digest(), some):
                        self._whole.update(piece)
        return self

    @property
    def text(self) -> str:
        """64 hexadecimal digits."""
        return self._whole.hexdigest()


def digest(*parts: Any) -> str:
    """Hash arrays, labels, files, texts and numbers, in order.

    Args:
        parts: what it depends on; arrays by their bytes, a pandas index by its values, dtype and names, what opens a
            file by what is in it, of which a few pieces are in memory at a time, all else by repr.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> digest(np.arange(3), "a") == digest(np.arange(3), "b")
        False
    """
    return Digest().add(*parts).text


def _bytes_of(part: Any) -> tuple[str, Iterator[memoryview | bytes]]:
    """Give what names a part, and its bytes in pieces."""
    if isinstance(part, pd.Index):
        hashes = pd.util.hash_pandas_object(part, index=False).to_numpy()
        # values of several dtypes hash alike, such as 1, True and the first nanosecond of 1970
        return f"index {len(part)} {part.dtype} {list(part.names)}", _pieces(hashes)
    if isinstance(part, np.ndarray):
        return f"array {part.dtype} {part.shape}", _pieces(np.ascontiguousarray(part))
    if callable(part):
        return "file", _read(part)
    text = repr(part)
    # with its length, so that two lists of parts can't run together to one text
    return f"{len(text)} {text}", iter(())


def _read(opened: Callable[[], Any]) -> Iterator[bytes]:
    with opened() as file:
        while piece := file.read(PIECE):
            yield piece


def _pieces(array: np.ndarray[Any, Any]) -> Iterator[memoryview]:
    if not array.size:
        return iter(())
    view = memoryview(array.reshape(-1).view(np.uint8).data)
    return (view[at : at + PIECE] for at in range(0, len(view), PIECE))
