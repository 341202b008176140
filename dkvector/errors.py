"""The errors of dkvector: one tree, and each also the built-in that plain Python code expects.

::

    DkvectorError
    ├── VectorError (ValueError)                    dimension, ragged, not finite, zero norm, missing: names the rows
    ├── FilterError (ValueError)                    a `where` that can't be read or applied: points at the place
    ├── SchemaError (ValueError)                    other dimensions, metric, model or columns than the store's
    ├── DuplicateIdError (ValueError)               ids given twice, or known already to an insert
    ├── NotFoundError (KeyError)                    ids, columns or fields that are not there
    ├── UnsupportedError (NotImplementedError)      what a backend can't do, and what it can
    ├── BackendUnavailableError (ConnectionError)   a server or folder that can't be reached or is held by another
    ├── AccessDeniedError (PermissionError)         a server or a view that does not let this user do it
    ├── MissingExtraError (ImportError)             an optional package that is not installed: names the extra
    └── PartialWriteError                           rows that failed, and why; the rest is stored and a retry is safe
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, Self

SHOWN = 5  # row labels named in a message; the count tells of the rest


def some(labels: Iterable[Any], total: int | None = None) -> str:
    """List at most five labels and the count of all.

    Args:
        labels: the labels, in order; only the first five are shown.
        total: how many there are in all, where `labels` holds only the first.

    Returns:
        Text such as ``"'a', 'b' (2 rows)"``.

    Example:
        >>> some(range(7))
        '0, 1, 2, 3, 4, … (7 rows)'
    """
    shown = list(labels)
    count = len(shown) if total is None else total
    more = ", …" if count > SHOWN else ""
    # the repr of NumPy 2 would be np.int64(3)
    listed = ", ".join(repr(getattr(label, "item", lambda label=label: label)()) for label in shown[:SHOWN])
    return f"{listed}{more} ({count:,} {'row' if count == 1 else 'rows'})"


def hint(word: str, known: Iterable[str]) -> str:
    """Name the nearest known word, or all of them.

    Example:
        >>> hint("hnws", ["hnsw", "flat"])
        "did you mean 'hnsw'?"
    """
    names = [str(name) for name in known]
    near = get_close_matches(str(word), names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(map(repr, names)) or 'none'}"


class DkvectorError(Exception):
    """Any error that dkvector raises on purpose."""


class VectorError(DkvectorError, ValueError):
    """Vectors that can't be used as they are."""

    @classmethod
    def at_rows(cls, what: str, labels: Iterable[Any], *, total: int | None = None, way_out: str = "") -> Self:
        """Say what is wrong with which rows, and the way out."""
        return cls(f"{what} at {some(labels, total)}" + (f"; {way_out}" if way_out else ""))

    @classmethod
    def wrong_dimensions(cls, got: int, expected: int, what: str = "vector") -> Self:
        """Tell of a vector that is longer or shorter than its field."""
        return cls(f"{what} has {got} dimensions, expected {expected}")


class FilterError(DkvectorError, ValueError):
    """A `where` that can't be read, or doesn't fit the columns."""


class SchemaError(DkvectorError, ValueError):
    """Rows or a configuration that don't fit what the store holds."""


class DuplicateIdError(DkvectorError, ValueError):
    """Ids given more than once, or known already where new ones were promised."""


class NotFoundError(DkvectorError, KeyError):
    """Something named that is not there."""

    def __str__(self) -> str:  # KeyError shows the repr of its message, quotes and all
        return str(self.args[0]) if self.args else ""

    @classmethod
    def of(cls, kind: str, name: str, known: Iterable[str]) -> Self:
        """Say which name is unknown and which is nearest."""
        return cls(f"no {kind} {name!r}; {hint(name, known)}")

    @classmethod
    def ids(cls, labels: Iterable[Any]) -> Self:
        """Say which ids are not in the store."""
        return cls(f"not in the store: {some(labels)}")


class UnsupportedError(DkvectorError, NotImplementedError):
    """Something this backend can't do."""

    @classmethod
    def lacking(cls, backend: str, kind: str, wanted: object, has: Iterable[object]) -> Self:
        """Say what the backend lacks and what it does have."""
        names = sorted(str(getattr(one, "value", one)) for one in has)
        wanted = getattr(wanted, "value", wanted)
        return cls(f"{backend} has no {kind} {str(wanted)!r}; it has {', '.join(names) or 'none'}")


class BackendUnavailableError(DkvectorError, ConnectionError):
    """An engine that can't be reached, or a folder that another process is writing to."""


class AccessDeniedError(DkvectorError, PermissionError):
    """A server that does not let this user in, or a server or a view of a store that does not let them do this."""


class MissingExtraError(DkvectorError, ImportError):
    """An optional package that is not installed."""

    @classmethod
    def of(cls, package: str, extra: str) -> Self:
        """Name the package and the command that installs it."""
        return cls(f"this needs {package}, which is not installed: pip install 'dkvector[{extra}]'")


class PartialWriteError(DkvectorError):
    """Some rows failed to be written; the rest is stored, and writing the failed ones again is safe.

    Attributes:
        failed: id → reason, for every row that was not stored.
        stored: how many rows were.
        dropped: labels of rows left out for their vectors.
    """

    def __init__(self, failed: Mapping[Any, str], stored: int, dropped: Sequence[Any] = ()) -> None:
        self.failed, self.stored, self.dropped = dict(failed), stored, tuple(dropped)
        reasons: Sequence[str] = sorted(set(self.failed.values()))
        super().__init__(f"{stored:,} rows stored; not stored: {some(self.failed)}: {'; '.join(reasons[:3])}")
