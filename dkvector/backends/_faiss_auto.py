"""What `Auto` stands for in the Faiss store: an index chosen by the number of rows and the memory it may take."""

from __future__ import annotations

import os

from dkvector.backends._faiss_build import resolved
from dkvector.backends._faiss_codes import bytes_of
from dkvector.indexes import HNSW, IVF, Auto, Flat, IndexSpec, Quantization, as_bytes

SMALL, LARGE = 10_000, 1_000_000  # rows at which `Auto` goes over to lists, and to a graph
CODED = 100_000  # rows below which full vectors are quicker than codes that must be measured again: 0.1 ms a query
FINE = 0.95  # recall above which lists at their usual effort don't suffice
CODES: tuple[Quantization, ...] = ("float16", "int8", "pq", "rabitq")  # from the finest down


def chosen(spec: IndexSpec, rows: int, dimensions: int) -> IndexSpec:
    """Choose what a spec leaves open.

    Every row is compared below 10,000, and where all neighbours are wanted; lists serve up to a million, and a graph
    above, or where more than 0.95 of the neighbours are wanted. Of each, the finest form that fits into memory: full
    vectors below 100,000 rows, where they are quicker, and half of their bits above, which find the same. At recall
    0.95 lists were quicker than graphs at every size that was measured, to 200,000 rows, and built in a fifth of the
    time (``tests/benchmarks/bench_evaluation.py auto``).

    Args:
        spec: what is wanted.
        rows: how many there are.
        dimensions: of the vectors.

    Returns:
        A spec without "auto" in it; the smallest index where none fits.

    Example:
        >>> chosen(Auto(), 20_000, 384)
        IVF(lists=283, quantization=None)
        >>> chosen(Auto(memory="5MB"), 20_000, 384)
        IVF(lists=283, quantization='pq')
    """
    if not isinstance(spec, Auto):
        return resolved(spec, rows)
    if rows < SMALL or spec.recall == 1:
        return Flat()
    graph = rows >= LARGE or spec.recall > FINE
    codes = [*([None] if rows < CODED else []), *CODES]
    graphs: list[IndexSpec] = [HNSW(m=32, quantization=code) for code in codes] if graph else []
    forms = graphs + [resolved(IVF(quantization=code), rows) for code in codes]
    limit = _available() // 2 if spec.memory is None else as_bytes(spec.memory)
    return next((form for form in forms if bytes_of(form, rows, dimensions) <= limit), forms[-1])


def _available() -> int:
    """Give the bytes of memory that nobody uses; half of all where the system does not tell."""
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else os.sysconf("SC_PHYS_PAGES") // 2
    return pages * os.sysconf("SC_PAGE_SIZE")
