"""Indexes over codes: recall, time and memory of every form, and what a reopened store holds in memory.

Run it alone on the machine: ``python tests/benchmarks/bench_quantised.py [20000 200000]``.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _data import clustered, fastest, framed

import dkvector as dkv
from dkvector.backends._faiss_codes import CODES

K = 10
HERE = Path(__file__).parent
KINDS = {"flat": dkv.Flat, "ivf": dkv.IVF, "hnsw": dkv.HNSW}


def forms(frame, queries) -> None:
    """Build every form on the same rows; the share of true neighbours is counted by distance."""
    title = f"{len(frame):,} x {queries.shape[1]}, k = {K}"
    print(f"\n{title:<24}{'build s':>9}{'index MB':>10}{'1,000 ms':>10}{'single ms':>11}{'recall':>8}")
    exact = frame.vec.search(queries, K, columns=[])
    kth = exact.groupby("query")["distance"].max()
    with frame.vec.push("faiss", progress=False) as store:
        for kind, spec in KINDS.items():
            for code in CODES:
                start = time.perf_counter()
                store.build_index(spec(quantization=code), progress=False)
                built = time.perf_counter() - start
                found = store.search(queries, K, columns=[])
                recall = (found["distance"] <= found["query"].map(kth) + 1e-6).sum() / len(exact)
                batch, one = fastest(
                    lambda: store.search(queries, K, columns=[]),
                    lambda: store.search(queries[3], K, columns=[]),
                    repeats=5,
                )
                size = store.stats()["index_bytes"] / 1e6
                print(f"{kind} {code or '':<19}{built:>9.1f}{size:>10.1f}{batch:>10.0f}{one:>11.2f}{recall:>8.3f}")


RESIDENT = """
import sys; sys.path.insert(0, {here!r})
import dkvector as dkv
from _data import clustered

def resident():
    return int(next(line for line in open("/proc/self/status") if line.startswith(sys.argv[1])).split()[1]) * 1024

queries = clustered(1000)[1]
with dkv.connect("faiss") as warm:  # the modules of a search are loaded before measuring
    warm.upsert(__import__("pandas").DataFrame({{"v": list(queries[:50])}}))
    warm.build_index({{"kind": "ivf", "quantization": "int8"}})
    warm.search(queries[:5])
before = resident()
with dkv.connect({path!r}) as store:
    store.search(queries, {k})
    for query in queries[:100]:
        store.search(query, {k})
    print(resident() - before)
"""


def memory(frame, vectors) -> None:
    """What a fresh process holds after it opened a store of IVF and int8 and searched it, mapped pages included."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "rows")
        frame.vec.push("faiss", path=path, index=dkv.IVF(quantization="int8"), progress=False).close()
        script = RESIDENT.format(here=str(HERE), path=path, k=K)
        for field, what in (("VmRSS", "after"), ("VmHWM", "at most")):
            done = subprocess.run([sys.executable, "-c", script, field], capture_output=True, text=True, check=True)
            share = int(done.stdout) / vectors.nbytes
            print(f"ivf int8, reopened: resident {what} 1,100 searches / the matrix: {share:.2f}  ≤ 0.35")


def main(sizes) -> None:
    for rows in sizes:
        vectors, queries = clustered(rows)
        frame = framed(vectors)
        forms(frame, queries)
        memory(frame, vectors)


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [20_000, 200_000])
