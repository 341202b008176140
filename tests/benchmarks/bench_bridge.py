"""A filtered search over two backends: ids sent to the vectors, or the filter itself, by how many records match."""

import asyncio
import time

import numpy as np
import pandas as pd

import dkvector as dkv
from dkvector.bridge import database as bridge
from dkvector.bridge.drift import DIGEST

ROWS, DIMENSIONS, ROUNDS = 50_000, 64, 7


async def filled(name, frame):
    store = await dkv.VectorStoreFactory.create(name, {})
    await store.upsert(frame)
    return store


def frame_of():
    rng = np.random.default_rng(0)
    vectors = dkv.VectorArray(rng.standard_normal((ROWS, DIMENSIONS)).astype(np.float32))
    ids = pd.Index([f"r{n:06}" for n in range(ROWS)], name="id")
    return pd.DataFrame({"n": np.arange(ROWS), DIGEST: "", "embedding": vectors}, index=ids)


async def main():
    frame = frame_of()
    both = dkv.HybridVectorDatabase(await filled("exact", frame), await filled("faiss", frame))
    query = np.random.default_rng(1).standard_normal(DIMENSIONS).astype(np.float32)
    print(f"{ROWS:,} records of {DIMENSIONS} dimensions, k = 10; CPU ms, the least of {ROUNDS} rounds, taken in turns")
    print(f"{'matching':>9} {'as ids':>8} {'as filter':>10}")
    for matching in (100, 1_000, 3_000, 10_000, 30_000):
        spent = {0: [], ROWS: []}
        for _ in range(ROUNDS):
            for few, times in spent.items():
                bridge.FEW = few
                start = time.process_time()
                await both.hybrid_search(query, f"n < {matching}", k=10)
                times.append(1e3 * (time.process_time() - start))
        print(f"{matching:>9,} {min(spent[ROWS]):>8.1f} {min(spent[0]):>10.1f}")


if __name__ == "__main__":
    asyncio.run(main())
