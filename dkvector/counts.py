"""Counts that callers give: of neighbours, rows, clusters, rounds."""

from __future__ import annotations

from typing import Any

from dkvector.errors import SchemaError


def as_count(count: Any, name: str = "k", least: int = 1) -> int:
    """Read a count, such as k.

    Args:
        count: any whole number, NumPy's too.
        name: what the error calls it.
        least: the smallest that makes sense.

    Raises:
        SchemaError: not a whole number of at least `least`.

    Example:
        >>> as_count(3), as_count(0, "n", least=0)
        (3, 0)
    """
    if isinstance(count, bool) or not hasattr(count, "__index__") or count < least:
        raise SchemaError(f"{name} must be a whole number of at least {least}, not {count!r}")
    return int(count)
