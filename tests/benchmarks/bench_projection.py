"""`dkv.project` of the 20,000 WordNet rows beside plain umap-learn: each in a process of its own, then warm; seeded.

Run it alone on the machine: ``python tests/benchmarks/bench_projection.py``, some three minutes. Trustworthiness is
measured at 15 neighbours by cosine from 2,000 rows among all, and beside it that of the same map with the rows of each
of 50 clusters shuffled. ``… place`` adds the rows that are placed among others, ``… 50000`` the time of more rows.
On a busy machine the CPU seconds say more; those of ours run on two threads for the neighbours.
"""

import json
import subprocess
import sys
import time

import numpy as np

import dkvector as dkv

K, ASKING = 15, 2_000


def timed(call):
    """The result of a call, its seconds by the clock, and those of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = call()
    return result, time.perf_counter() - wall, time.process_time() - cpu


def ours(words):
    return dkv.project(words, seed=0, progress=False)[["x", "y"]].to_numpy()


def plain(words):
    import umap

    return umap.UMAP(metric="cosine", random_state=0, n_jobs=1).fit_transform(words["embedding"].vec.to_numpy())


def run(name) -> None:
    """Measure one way in this process: fresh, then warm, and save the maps."""
    words = dkv.datasets.load_wordnet()
    way = {"ours": ours, "plain": plain}[name]
    fresh, *cold = timed(lambda: way(words))
    again, *warm = timed(lambda: way(words))
    told = {"cold": cold, "warm": warm, "same": bool((fresh == again).all()), "map": fresh.tolist()}
    print(json.dumps(told))


def measured(name):
    out = subprocess.run([sys.executable, __file__, "run", name], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


def trustworthiness(vectors, points) -> float:
    """Venna and Kaski's measure (2001), from some of the rows among all of them."""
    rows = np.random.default_rng(1).choice(len(vectors), ASKING, replace=False)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    total = 0
    for at in range(0, ASKING, 200):
        own = rows[at : at + 200]
        far = -(unit[own] @ unit.T)
        far[np.arange(len(own)), own] = -np.inf
        rank = np.empty(far.shape, np.int64)
        np.put_along_axis(rank, far.argsort(axis=1), np.arange(len(vectors))[None], axis=1)
        apart = ((points[own, None] - points) ** 2).sum(axis=2)
        apart[np.arange(len(own)), own] = np.inf
        near = np.argpartition(apart, K, axis=1)[:, :K]
        total += np.maximum(np.take_along_axis(rank, near, axis=1) - K, 0).sum()
    return 1 - 2 * total / (ASKING * K * (2 * len(vectors) - 3 * K - 1))


def shuffled(words, points):
    clusters, rng, mixed = words.vec.cluster(50).to_numpy(), np.random.default_rng(0), points.copy()
    for one in range(50):
        own = np.flatnonzero(clusters == one)
        mixed[own] = points[rng.permutation(own)]
    return mixed


def beside(words) -> None:
    """Both ways, in processes of their own."""
    vectors = words["embedding"].vec.to_numpy()
    found = {name: measured(name) for name in ("ours", "plain")}
    print(f"{'project, 20,000 x 384':<34}{'ours s':>9}{'umap s':>9}{'ratio':>8}{'CPU':>8}  target")
    for kind, target in (("cold", "<= 0.40"), ("warm", "<= 0.70")):
        (wall, cpu), (their_wall, their_cpu) = found["ours"][kind], found["plain"][kind]
        name = {"cold": "in a fresh process", "warm": "warm"}[kind]
        print(f"{name:<34}{wall:>9.2f}{their_wall:>9.2f}{wall / their_wall:>8.2f}{cpu / their_cpu:>8.2f}  {target}")
    maps = {name: np.float32(one["map"]) for name, one in found.items()}
    scores = {name: trustworthiness(vectors, one) for name, one in maps.items()}
    print(f"{'trustworthiness':<34}{scores['ours']:>9.4f}{scores['plain']:>9.4f}{'':>16}  >= theirs - 0.005")
    print(f"{'shuffled within clusters':<34}{trustworthiness(vectors, shuffled(words, maps['ours'])):>9.4f}")
    print(f"{'the same map again':<34}{found['ours']['same']!s:>9}{found['plain']['same']!s:>9}")


def placed(words) -> None:
    """Half of the rows placed among the other half."""
    vectors = words["embedding"].vec.to_numpy()
    view, wall, _ = timed(lambda: dkv.project(words, n=len(words) // 2, progress=False))
    score = trustworthiness(vectors, view[["x", "y"]].to_numpy())
    print(f"half of them placed: {wall:.2f} s, trustworthiness {score:.4f}")


def larger(rows) -> None:
    """Clusters of a known dimension, all laid out, and ten times as many with the rest placed."""
    frame = dkv.datasets.make_clustered(rows)
    dkv.project(frame.head(100))
    _, wall, cpu = timed(lambda: dkv.project(frame, n=rows, progress=False))
    print(f"{rows:,} rows laid out: {wall:.1f} s, CPU {cpu:.1f} s")
    _, wall, cpu = timed(lambda: dkv.project(frame, n=rows // 5, progress=False))
    print(f"{rows:,} rows, {rows // 5:,} of them laid out: {wall:.1f} s, CPU {cpu:.1f} s")


def main() -> None:
    if sys.argv[1:2] == ["run"]:
        run(sys.argv[2])
        return
    words = dkv.datasets.load_wordnet()
    beside(words)
    if "place" in sys.argv:
        placed(words)
    for rows in filter(str.isdecimal, sys.argv[1:]):
        larger(int(rows))


if __name__ == "__main__":
    main()
