"""Evaluation beside what it measures, in one run: true neighbours against Faiss, latencies against a bare loop, tuning.

Run it alone on the machine: ``python tests/benchmarks/bench_evaluation.py [truth overhead tune auto]``.
"""

import sys
import time

import faiss
import numpy as np
from _data import clustered, fastest, framed, head, line

import dkvector as dkv

K = 10
KNOBS = {"probes": [1, 2, 4, 8, 16, 32, 64], "ef_search": [16, 32, 64, 128, 256]}


def truth() -> None:
    """Ground truth of 1,000 queries over 200,000 rows, whole call, against `faiss.knn` alone."""
    vectors, queries = clustered(200_000)
    frame = framed(vectors)[["embedding"]]
    head("1,000 x 200,000 x 384, k = 10, wall", "faiss.knn")
    bare = lambda: faiss.knn(queries, vectors, K, metric=faiss.METRIC_INNER_PRODUCT)  # noqa: E731 - one of two to time
    ours, theirs = fastest(lambda: dkv.ground_truth(frame, queries, K, cache=False), bare, repeats=5)
    line("ground_truth", ours, theirs, "≤ 1.10")
    cpu = fastest(lambda: dkv.ground_truth(frame, queries, K, cache=False), bare, repeats=3, clock=time.process_time)
    line("ground_truth, CPU", *cpu, "≤ 1.10")
    half = frame.assign(u=np.random.default_rng(0).random(len(frame)))
    some = lambda: dkv.ground_truth(half, queries, K, where="u < 0.1", cache=False)  # noqa: E731 - likewise
    line("ground_truth under a 10 % filter", fastest(some, repeats=3)[0], theirs)


def overhead() -> None:
    """The median latency that `evaluate` reports, against a loop that does nothing but search, taking turns."""
    words, queries = dkv.datasets.load_wordnet(), dkv.datasets.load_wordnet_queries().head(300)
    matrix = np.stack(queries["embedding"].tolist())
    head("latency of single queries, 20,000 x 384, median of the best round", "bare loop")
    for spec in (dkv.IVF(), dkv.HNSW(m=16)):
        with words.vec.push("faiss", index=spec, columns=[], progress=False) as store:
            reported, bare = [], []
            for _ in range(7):
                found = dkv.evaluate(store, None, queries, K, sweep=[], repeats=1, clients=0, progress=False)
                reported.append(found.runs["p50_ms"][0])
                took = []
                for query in matrix:
                    start = time.perf_counter()
                    store.search(query, K, columns=[])
                    took.append(time.perf_counter() - start)
                bare.append(float(np.median(took)) * 1e3)
            line(f"{spec.kind}: evaluate's p50", min(reported), min(bare), "0.95 to 1.05")


def tune() -> None:
    """How often a tuned setting finds enough on queries held out, in twenty seeds."""
    words, queries = dkv.datasets.load_wordnet(), dkv.datasets.load_wordnet_queries()
    specs = [dkv.IVF(), dkv.HNSW(m=16)]
    met, spare, took = 0, [], time.perf_counter()
    for seed in range(20):
        found = dkv.tune(words, 0.95, specs=specs, queries=queries, repeats=1, seed=seed, progress=False)
        met += found.proof["recall"] >= 0.95
        spare.append(found.proof["recall"] - 0.95)
        print(f"  seed {seed:>2}: {found}")
    took = (time.perf_counter() - took) / 20
    print(
        f"tune: target met on held-out queries in {met} of 20 seeds (≥ 19), least {min(spare):+.4f}, {took:.1f} s each"
    )


def auto() -> None:
    """Where each index is quickest at recall 0.95, by rows: what the rules of `Auto` are made of.

    Up to 20,000 rows these are the words, above them clusters, which flatter lists.
    """
    words = dkv.datasets.load_wordnet()[["embedding"]].sample(frac=1, random_state=0)
    sentences = dkv.datasets.load_wordnet_queries().head(200)
    print(f"\n{'rows':>9} {'index':<38}{'knob':<16}{'recall':>8}{'p50 ms':>9}{'batch q/s':>11}{'build s':>9}")
    for rows in (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000):
        vectors, queries = clustered(rows, queries=200) if rows > len(words) else (None, sentences)
        frame = words.head(rows) if vectors is None else framed(vectors)[["embedding"]]
        specs = [dkv.Flat(), dkv.IVF(), dkv.IVF(quantization="float16"), dkv.HNSW(m=32, quantization="float16")]
        found = dkv.evaluate(frame, specs, queries, K, sweep=KNOBS, repeats=2, clients=0, progress=False)
        good = found.done[found.done["recall"] >= 0.95].sort_values("p50_ms").drop_duplicates("index")
        for _, row in good.iterrows():
            print(
                f"{rows:>9,} {row['index']:<38}{row['tuning']:<16}{row['recall']:>8.3f}{row['p50_ms']:>9.3f}"
                f"{row['qps_batch']:>11,.0f}{row['build_s']:>9.1f}",
                flush=True,
            )


PARTS = {"truth": truth, "overhead": overhead, "tune": tune, "auto": auto}

if __name__ == "__main__":
    for name in sys.argv[1:] or ("truth", "overhead", "tune"):
        PARTS[name]()
