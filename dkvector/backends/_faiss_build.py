"""Faiss indexes are built from a spec, and extended by rows that came later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from tqdm.auto import tqdm

from dkvector.backends import _faiss_codes
from dkvector.backends._faiss_index import (
    CHUNK,
    Built,
    FaissIndex,
    engine_space,
    has_index,
    lists_of,
    tail,
    with_usual_effort,
)
from dkvector.backends._faiss_nodes import inside, lay_out, reorder, row_positions
from dkvector.backends._topk import Block
from dkvector.indexes import HNSW, IVF, IndexSpec
from dkvector.metrics import DistanceMetric, Floats

SAMPLE = 64  # rows a list is trained on
SEED = 1234


def resolved(spec: IndexSpec, rows: int) -> IndexSpec:
    """Choose what a spec leaves open, by the number of rows.

    Args:
        spec: what is wanted.
        rows: how many there are.

    Returns:
        The spec with "auto" replaced. About 2·√n lists, and never so many that a list has under 39 rows to be trained
        on, which is where Faiss begins to warn.

    Example:
        >>> resolved(IVF(), 20_000)
        IVF(lists=283, quantization=None)
    """
    if not isinstance(spec, IVF):
        return spec
    if spec.lists == "auto":
        return replace(spec, lists=max(1, min(round(2 * rows**0.5), rows // 39)))
    return replace(spec, lists=max(1, min(spec.lists, rows)))


def build(spec: IndexSpec, blocks: Sequence[Block], metric: DistanceMetric, *, progress: bool) -> FaissIndex | None:
    """Build an index over all rows of a field.

    Args:
        spec: what to build, resolved.
        blocks: the vectors.
        metric: of the field.
        progress: show a bar.

    Returns:
        The index; None where a plain comparison of all rows is the index.
    """
    rows = sum(len(block.matrix) for block in blocks)
    if not has_index(spec) or not rows:
        return None
    index = FaissIndex(spec, metric, _empty(spec, blocks, metric), rows)
    with tqdm(total=rows, desc=f"{spec.kind} index", unit=" rows", unit_scale=True, disable=not progress) as bar:
        for chunk in _chunks(blocks):
            index.add(chunk)
            bar.update(len(chunk))
    _keep_codes(index, blocks)
    if isinstance(spec, HNSW):
        lay_out(index.index)
    return index


def extended(index: FaissIndex, path: Path, blocks: Sequence[Block], *, anew: bool = False) -> FaissIndex:
    """Give an index that covers all rows: the one in a file, read into memory, and the rows it lacks.

    An index that is being searched is never changed: a search keeps the one it began with.

    Args:
        index: over the first rows.
        path: its file.
        blocks: the vectors of all rows.
        anew: train the codes of a graph on all rows.
    """
    # from the file again, not mapped: what is mapped can't grow
    longer = replace(index, index=with_usual_effort(faiss.read_index(str(path)), index.spec))
    codes = _bared(longer, blocks)
    for block in tail(blocks, index.rows):
        longer.add(block.matrix)
    if codes is not None and anew:
        _keep_codes(longer, blocks)
        longer = replace(longer, trained=longer.rows)
    elif codes is not None:
        _code(codes, tail(blocks, index.rows), index.metric)
        _faiss_codes.stored_in(inside(longer.index), codes)
    if isinstance(index.spec, HNSW):
        lay_out(longer.index)
    return longer


def _keep_codes(index: FaissIndex, blocks: Sequence[Block]) -> None:
    """Put codes in place of the vectors that a graph was built on."""
    if not isinstance(index.spec, HNSW) or index.spec.quantization is None:
        return
    codes = _faiss_codes.storage(index.spec.quantization, index.index.d, _kind(index.metric))
    codes.train(engine_space(_enough(sample(blocks, _faiss_codes.SAMPLE)), index.metric))
    _code(codes, blocks, index.metric)
    reorder(codes, row_positions(index.index))
    _faiss_codes.stored_in(inside(index.index), codes)


def _bared(index: FaissIndex, blocks: Sequence[Block]) -> Any:
    """Put the vectors back under a graph of codes, so that it can grow; gives the codes, None where there are none."""
    if not isinstance(index.spec, HNSW) or index.spec.quantization is None:
        return None
    vectors = _faiss_codes.storage(None, index.index.d, _kind(index.metric))
    covered = index.rows
    for block in blocks:
        if block.start < covered:
            _code(vectors, [Block(block.start, block.matrix[: covered - block.start])], index.metric)
    reorder(vectors, row_positions(index.index))
    return _faiss_codes.stored_in(inside(index.index), vectors)


def _code(codes: Any, blocks: Sequence[Block], metric: DistanceMetric) -> None:
    for chunk in _chunks(blocks):
        codes.add(engine_space(chunk, metric))


def _kind(metric: DistanceMetric) -> int:
    return int(faiss.METRIC_L2 if metric is DistanceMetric.EUCLIDEAN else faiss.METRIC_INNER_PRODUCT)


def _empty(spec: Built, blocks: Sequence[Block], metric: DistanceMetric) -> Any:
    dimensions = blocks[0].matrix.shape[1]
    if isinstance(spec, HNSW):
        graph = faiss.IndexHNSWFlat(dimensions, spec.m, _kind(metric))
        graph.hnsw.efConstruction = spec.ef_construction
        return with_usual_effort(faiss.IndexIDMap(graph), spec)
    count = lists_of(spec)
    made = _faiss_codes.lists(spec.quantization, count, dimensions, _kind(metric))
    made.cp.min_points_per_centroid = 1  # few rows are no fault, and need no warning on stderr
    made.cp.seed = SEED
    size = SAMPLE * count if spec.quantization is None else max(SAMPLE * count, _faiss_codes.SAMPLE)
    made.train(engine_space(_enough(sample(blocks, size)), metric))
    return with_usual_effort(made, spec)


def sample(blocks: Sequence[Block], size: int) -> Floats:
    """Draw rows by chance, or give all where there are no more; the blocks follow each other."""
    rows = sum(len(block.matrix) for block in blocks)
    if rows <= size:
        return np.concatenate([block.matrix for block in blocks])
    # in order: they are mapped from a file, which is read from front to back then
    chosen = np.sort(np.random.default_rng(SEED).choice(rows, size, replace=False)) + blocks[0].start
    parts = []
    for block in blocks:
        here = chosen[(chosen >= block.start) & (chosen < block.start + len(block.matrix))]
        parts.append(block.matrix[here - block.start])
    return np.concatenate(parts)


def _enough(rows: Floats) -> Floats:
    """Repeat rows that are too few to train codes on."""
    return rows if len(rows) >= _faiss_codes.FEWEST else np.resize(rows, (_faiss_codes.FEWEST, rows.shape[1]))


def _chunks(blocks: Sequence[Block]) -> Iterator[Floats]:
    for block in blocks:
        for at in range(0, len(block.matrix), CHUNK):
            yield block.matrix[at : at + CHUNK]
