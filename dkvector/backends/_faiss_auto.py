"""What `Auto` stands for in the Faiss store: an index chosen by the number of rows and the memory it may take."""

from __future__ import annotations

import os

from dkvector.backends._faiss_codes import bytes_of
from dkvector.backends._faiss_index import resolved
from dkvector.indexes import HNSW, IVF, Auto, Flat, IndexSpec, Quantization, as_bytes

SMALL, LARGE = 10_000, 1_000_000  # rows at which `Auto` goes over to lists, and to a graph
FINE = 0.95  # recall above which lists at their usual effort don't suffice
# From the finest down. Half the bits lose no recall once they are measured again, and are faster: none is never best.
CODES: tuple[Quantization, ...] = ("float16", "int8", "pq", "rabitq")


def chosen(spec: IndexSpec, rows: int, dimensions: int) -> IndexSpec:
    """Choose what a spec leaves open.

    Every row is compared below 10,000, and where all neighbours are wanted; lists serve up to a million, and a graph
    above, or where more than 0.95 of the neighbours are wanted. Of each, the finest codes that fit into memory.

    Args:
        spec: what is wanted.
        rows: how many there are.
        dimensions: of the vectors.

    Returns:
        A spec without "auto" in it; the smallest index where none fits.

    Example:
        >>> chosen(Auto(), 20_000, 384)
        IVF(lists=283, quantization='float16')
        >>> chosen(Auto(memory="5MB"), 20_000, 384)
        IVF(lists=283, quantization='pq')
    """
    if not isinstance(spec, Auto):
        return resolved(spec, rows)
    if rows < SMALL or spec.recall == 1:
        return Flat()
    graph = rows >= LARGE or spec.recall > FINE
    graphs: list[IndexSpec] = [HNSW(m=32, quantization=code) for code in CODES] if graph else []
    forms = graphs + [resolved(IVF(quantization=code), rows) for code in CODES]
    limit = _available() // 2 if spec.memory is None else as_bytes(spec.memory)
    return next((form for form in forms if bytes_of(form, rows, dimensions) <= limit), forms[-1])


def _available() -> int:
    """Give the bytes of memory that nobody uses; half of all where the system does not tell."""
    pages = os.sysconf("SC_AVPHYS_PAGES") if "SC_AVPHYS_PAGES" in os.sysconf_names else os.sysconf("SC_PHYS_PAGES") // 2
    return pages * os.sysconf("SC_PAGE_SIZE")
