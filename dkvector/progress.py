"""Progress bars; the package that draws them is loaded when the first is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def bar(total: int | None, label: str, *, unit: str, show: bool) -> Iterator[Callable[[int], object]]:
    """Show how far some work is.

    Args:
        total: how much there is to do; None where nobody knows.
        label: what is done.
        unit: of what.
        show: whether it is shown at all.

    Yields:
        A function to call with what has been done since the last call.

    Example:
        >>> with bar(2, "rows", unit="rows", show=False) as done:
        ...     done(2)
    """
    if not show:
        yield lambda _: None
        return
    from tqdm.auto import tqdm  # noqa: PLC0415 - who shows no bar does not wait for it

    with tqdm(total=total, desc=label, unit=f" {unit}", unit_scale=True) as shown:
        yield shown.update
