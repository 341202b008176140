"""The one way a module of this package asks for the library it speaks to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dkvector.errors import MissingExtraError


@contextmanager
def needs(package: str, extra: str) -> Iterator[None]:
    """Import a library that may not be there.

    Args:
        package: what pip calls it.
        extra: the pip extra that brings it.

    Raises:
        MissingExtraError: it is not installed; names the extra.

    Example:
        >>> with needs("moon-cheese", "moon"):
        ...     import moon_cheese
        Traceback (most recent call last):
        dkvector.errors.MissingExtraError: this needs moon-cheese, which is not installed: pip install 'dkvector[moon]'
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        # a module of ours that is not there is no matter of an extra
        if exc.name is None or exc.name.startswith("dkvector"):
            raise
        raise MissingExtraError.of(package, extra) from exc
