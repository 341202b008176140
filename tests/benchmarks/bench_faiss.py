"""The Faiss store beside bare Faiss, in one run: batches, single queries, filters, and what a push costs.

Run it alone on the machine: ``python tests/benchmarks/bench_faiss.py [20000 200000]``.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import faiss
import numpy as np
from _data import clustered, fastest, framed, head, line

import dkvector as dkv
from dkvector.backends._faiss_nodes import has_map, inside, row_positions

K = 10
HERE = Path(__file__).parent


def bare(store, vectors):
    """What Faiss alone would search: the store's own index, or all vectors where it has none."""
    built = store.store.rows.indexes.get("embedding")
    if built is not None:
        # the same lists and links: two trainings differ by more than what is measured here
        return in_order_of_rows(built.index) if has_map(built.index) else built.index
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    return index


def in_order_of_rows(index):
    """The same graph as Faiss itself lays it out, and without the map that another layout needs."""
    graph = faiss.clone_index(inside(index))
    graph.permute_entries(np.argsort(row_positions(index)))
    return graph


def searches(frame, vectors, queries) -> dict:
    """Whole calls, DataFrame included, against the bare index: a batch, and a single query."""
    stores = {}
    lists = round(2 * len(vectors) ** 0.5)
    for spec in (dkv.Flat(), dkv.IVF(lists=lists), dkv.HNSW(m=16, ef_construction=40)):
        store = stores[spec.kind] = frame.vec.push("faiss", index=spec, progress=False)
        index = bare(store, vectors)
        store.search(queries, K)
        ours, theirs = fastest(lambda: store.search(queries, K), lambda: index.search(queries, K), repeats=15)
        line(f"{spec.kind}: batch of {len(queries):,}, wall", ours, theirs, "≤ 1.05")
        singles(store, spec.kind, list(queries[:20]), lambda some, index=index: alone(index, some))
    return stores


def singles(store, kind, queries, theirs) -> None:
    """CPU of one query at a time, each another: who asks the same again finds its rows in the processor's cache."""
    cpu = fastest(
        lambda: [store.search(one, K) for one in queries],
        lambda: [store.search(one, K, columns=[]) for one in queries],
        lambda: theirs(queries),
        clock=time.process_time,
        repeats=25,
    )
    ours, lean, bare = (took / len(queries) for took in cpu)
    line(f"{kind}: single query, CPU", ours, bare, f"bare + {ours - bare:.3f} ms (≤ 0.3)")
    line(f"{kind}: single query without payload, CPU", lean, bare, f"bare + {lean - bare:.3f} ms")


def alone(index, queries) -> None:
    """Ask Faiss one query at a time, on one thread: another would wait for work, and be counted with what follows."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    for one in queries:
        index.search(one[None], K)
    faiss.omp_set_num_threads(threads)


def layout(store, queries) -> None:
    """A batch against the store's own graph as it lies, and what its layout saves Faiss itself."""
    own = store.store.rows.indexes["embedding"].index
    index = in_order_of_rows(own)
    ours, laid, theirs = fastest(
        lambda: store.search(queries, K), lambda: own.search(queries, K), lambda: index.search(queries, K), repeats=30
    )
    line(f"hnsw: batch of {len(queries):,} against its own layout", ours, laid)
    line("hnsw: Faiss alone, its own layout against that of rows", laid, theirs)


def batches(store, vectors, queries) -> None:
    """Exact search by batches too small for Faiss to use BLAS."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(vectors)
    for size in (8, 64, 333):
        some = queries[:size]
        ours, theirs = fastest(lambda: store.search(some, K), lambda: index.search(some, K), repeats=3)
        line(f"flat: batch of {size}, wall", ours, theirs, "≤ 0.50")


def filters(stores, queries) -> None:
    """The plan that is chosen, against both plans forced; a selector that would take seconds is not run."""
    for kind in ("ivf", "hnsw"):
        store = stores[kind]
        for share in (0.5, 0.1, 0.01, 0.001):
            for count in (1, 100):
                some = queries[:count] if count > 1 else queries[0]
                where = dkv.col("u") < share
                hopeless = kind == "hnsw" and share < 0.1
                plans = (None, True) if hopeless else (None, True, False)
                times = fastest(
                    *(
                        lambda exact=exact: store.search(some, K, where=where, tuning={"exact": exact}, columns=[])
                        for exact in plans
                    ),
                    repeats=15 if count == 1 else 7,
                )
                plan = store.explain(some, K, where=where).plan
                name = f"{kind}: {share:.1%} filter, {count} queries ({plan.split(' over')[0]})"
                selector = "hopeless" if hopeless else f"{times[2]:.2f}"
                line(name, times[0], min(times[1:]), f"≤ 1.30 of subset {times[1]:.2f}, selector {selector}")


def push(frame, vectors) -> None:
    """A push without an index, against a copy of the vectors and a file written of them."""

    def write():
        with tempfile.NamedTemporaryFile() as file:
            file.write(memoryview(vectors).cast("B"))

    only = frame[["embedding"]]
    ours, copy, written = fastest(
        lambda: only.vec.push("faiss", progress=False).close(), vectors.copy, write, repeats=5
    )
    line("push without index, wall", ours, 1.5 * copy + written, f"≤ 1 (1.5 x copy {copy:.1f} + write {written:.1f})")


MEMORY = """
import sys; sys.path.insert(0, {here!r})
import resource
import dkvector as dkv, faiss, dkvector.backends.faiss
from _data import clustered, framed

def status(key):
    line = next(line for line in open("/proc/self/status") if line.startswith(key))
    return int(line.split()[1]) * 1024

def peak_of(n):
    import numpy as np
    before = status("VmRSS")
    frame = framed(np.random.default_rng(0).standard_normal((n, 384), dtype="f4"))[["embedding"]]
    open("/proc/self/clear_refs", "w").write("5")
    frame.vec.push("faiss", progress=False).close()
    return (status("VmHWM") - before) / (n * 384 * 4)

peak_of(1000)
print(peak_of({rows}))
"""


def memory(rows: int) -> None:
    """The peak of a push, in a process of its own, as a multiple of the vectors it started with."""
    script = MEMORY.format(here=str(HERE), rows=rows)
    env = {**os.environ, "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=env)
    print(f"{'push: peak memory / the vectors once':<52}{float(done.stdout):>30.2f}  ≤ 1.30")


def main(sizes) -> None:
    for rows in sizes:
        vectors, queries = clustered(rows)
        frame = framed(vectors)
        head(f"{rows:,} x {vectors.shape[1]}, k = {K}", "bare ms")
        stores = searches(frame, vectors, queries)
        layout(stores["hnsw"], queries)
        batches(stores["flat"], vectors, queries)
        head("filters (whole calls)", "better ms")
        filters(stores, queries)
        head("push", "budget ms")
        push(frame, vectors)
        memory(rows)
        for store in stores.values():
            store.close()
        assert np.isfinite(vectors).all()  # nothing above writes into the caller's vectors


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [20_000, 200_000])
