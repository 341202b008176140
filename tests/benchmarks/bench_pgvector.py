"""The store in PostgreSQL beside bare asyncpg, in one run: loading, single searches, many queries, filters.

Run it alone on the machine: ``python tests/benchmarks/bench_pgvector.py [20000 200000]``. The server is the one in
DKVECTOR_TEST_POSTGRES, or one of our own.

What a search is compared with: the same SQL, settings and all, as a prepared statement of asyncpg, for the same NumPy
queries and the same columns, each fetched by a blocking call (`loop.run_until_complete`), as `store.search` is one. It
gives the driver's records, where ours gives a frame. Lines of their own tell what pandas takes to make one of them;
what the frame that ours gives takes by hand, the least that is left to be saved; and what the driver takes within a
loop that runs anyway, for which the store's own way is `await store.search(…)`.

What a load is compared with: the same ids and vectors by the driver's binary COPY, packed by NumPy, and by its
executemany. The least that a load can take is told too: a COPY into an unlogged table without a key.
"""

import asyncio
import os
import struct
import sys
import time
from contextlib import nullcontext
from types import SimpleNamespace

import asyncpg
import numpy as np
import pandas as pd
from _data import clustered, fastest, framed, head, line

import dkvector as dkv
from dkvector._loop import LOOP
from dkvector.requests import Search

K = 10
ROWS = 2_000  # of an executemany, which is too slow for more


async def connected(url):
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    await connection.set_type_codec("vector", encoder=bytes, decoder=bytes, format="binary")
    return connection


def packed(ids, vectors):
    """A binary COPY by hand: one NumPy record for each row."""
    fields = [("n", ">i2"), ("a", ">i4"), ("id", ">i8"), ("b", ">i4"), ("d", ">i2"), ("zero", ">i2")]
    rows = np.zeros(len(ids), dtype=[*fields, ("v", ">f4", vectors.shape[1])])
    rows["n"], rows["a"], rows["b"] = 2, 8, 4 + 4 * vectors.shape[1]
    rows["id"], rows["d"], rows["v"] = ids, vectors.shape[1], vectors
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + rows.tobytes() + b"\xff\xff"


def coded(vector):
    """What a codec for vectors does, row by row."""
    return struct.pack(">HH", len(vector), 0) + np.asarray(vector, ">f4").tobytes()


async def fresh(connection, dimensions, kind="", key="PRIMARY KEY"):
    await connection.execute("DROP TABLE IF EXISTS bare")
    await connection.execute(f"CREATE {kind} TABLE bare (id bigint {key}, embedding vector({dimensions}) NOT NULL)")


def loads(url, frame, vectors) -> None:
    """A push of ids and vectors, against the same by hand, and against the driver's executemany."""
    only = frame[["embedding"]].set_axis(np.arange(len(frame)))
    connection = LOOP.run(connected(url))

    async def copy(kind="", key="PRIMARY KEY"):
        await fresh(connection, vectors.shape[1], kind, key)

        async def source():
            for at in range(0, len(vectors), 4096):
                part = packed(np.arange(at, min(at + 4096, len(vectors))), vectors[at : at + 4096])
                yield part[19 * (at > 0) : -2]
            yield b"\xff\xff"

        await connection.copy_to_table("bare", source=source(), format="binary", columns=["id", "embedding"])

    async def many():
        await fresh(connection, vectors.shape[1])
        await connection.set_type_codec("vector", encoder=coded, decoder=bytes, format="binary")
        await connection.executemany("INSERT INTO bare VALUES ($1, $2)", list(enumerate(vectors[:ROWS])))
        await connection.set_type_codec("vector", encoder=bytes, decoder=bytes, format="binary")

    store = only.vec.push(url, table="pushed", progress=False)

    def ours():
        store.upsert(only, mode="replace", progress=False)

    bare = (lambda: LOOP.run(copy()), lambda: LOOP.run(many()), lambda: LOOP.run(copy("UNLOGGED", "")))
    mine, by_hand, slow, least = fastest(ours, *bare, repeats=5)
    rate = len(vectors) / mine
    store.drop()
    store.close()
    line(f"load, wall ({rate:,.0f} k rows/s)", mine, by_hand, "≤ 1.11 (0.9 of the rows a second by hand)")
    line("load, beside executemany of as many rows", mine, slow * len(vectors) / ROWS, "≤ 0.33")
    line("the least a COPY takes, beside executemany", least, slow * len(vectors) / ROWS)
    LOOP.run(connection.close())


def searches(url, store, queries) -> None:
    """One search through the blocking view, against its own SQL as a prepared statement awaited."""
    made = store.store
    request = Search(queries[0], K, columns=[]).checked(made.name, made.supports, made.known).of(queries[0])
    sql = LOOP.run(made._planner.search(request, made.table)).sql
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(connected(url))
    statement = loop.run_until_complete(connection.prepare(sql))
    some = queries[: min(200, len(queries))]

    def blocking():
        return [loop.run_until_complete(statement.fetch(coded(query))) for query in some]

    def framed_by_pandas():
        for query in some:
            pd.DataFrame(loop.run_until_complete(statement.fetch(coded(query))), columns=["distance", "id"])

    def framed_by_hand():
        ranks = np.arange(1, K + 1)
        for query in some:
            records = loop.run_until_complete(statement.fetch(coded(query)))
            distances = np.array([one[0] for one in records], np.float32)
            columns = {"rank": ranks, "score": 1 - distances, "distance": distances}
            pd.DataFrame(columns, index=pd.Index([one[1] for one in records], name="id"), copy=False)

    async def awaited():
        return [await statement.fetch(coded(query)) for query in some]

    async def ours_awaited():
        return [await made.search(query, K, columns=[]) for query in some]

    calls = (
        lambda: [store.search(query, K, columns=[]) for query in some],
        blocking,
        framed_by_pandas,
        framed_by_hand,
        lambda: LOOP.run(ours_awaited()),
        lambda: loop.run_until_complete(awaited()),
    )
    [call() for call in calls]
    mine, theirs, with_pandas, by_hand, mine_awaited, theirs_awaited = (one / len(some) for one in fastest(*calls))
    line("a search, wall", mine, theirs, "≤ 1.15")
    line("a search, beside records that pandas makes a frame of", mine, with_pandas)
    line("a search, beside the same frame made by hand", mine, by_hand)
    line("the same frame made by hand, beside records", by_hand, theirs)
    line("a search that is awaited, beside records awaited", mine_awaited, theirs_awaited)
    loop.run_until_complete(connection.close())
    loop.close()
    together, alone = fastest(
        lambda: store.search(queries, K, columns=[]),
        lambda: [store.search(query, K, columns=[]) for query in queries],
        repeats=3,
    )
    line(f"{len(queries):,} queries as one call, beside a loop", together, alone, "≤ 0.50")


def filters(store, queries) -> None:
    """Recall under a filter, and what it costs beside the same search compared row by row."""
    for share in (0.5, 0.1, 0.01, 0.001):
        where = dkv.col("u") < share
        some = queries[:50]
        exact = store.search(some, K, where=where, tuning={"exact": True}, columns=[])
        found = store.search(some, K, where=where, columns=[])
        kth = exact.groupby("query")["distance"].max()
        recall = (found["distance"] <= found["query"].map(kth) + 1e-6).sum() / len(exact)
        times = fastest(
            lambda where=where: store.search(some, K, where=where, columns=[]),
            lambda where=where: store.search(some, K, where=where, tuning={"exact": True}, columns=[]),
            repeats=3,
        )
        plan = store.explain(some[0], K, where=where).plan
        name = f"{share:.1%} filter ({plan}), {len(found) / len(some):.0f} of {K}, recall {recall:.3f}"
        line(name, times[0] / len(some), times[1] / len(some), "recall ≥ 0.99 at 1 %")


def main(sizes) -> None:
    named = os.environ.get("DKVECTOR_TEST_POSTGRES")
    with nullcontext(SimpleNamespace(url=named)) if named else dkv.local.postgres() as server:
        for rows in sizes:
            vectors, queries = clustered(rows)
            frame = framed(vectors)
            head(f"{rows:,} x {vectors.shape[1]}, k = {K}", "bare ms")
            loads(server.url, frame, vectors)
            config = {"backend": "pgvector", "url": server.url, "table": "bench", "filterable": ["u"]}
            with frame.vec.push(config, mode="replace", progress=False) as store:
                began = time.perf_counter()
                store.build_index("hnsw", progress=False)
                print(f"{'HNSW built, s':<52}{time.perf_counter() - began:>10.1f}")
                searches(server.url, store, queries)
                head("filters (whole calls, ms a query)", "exact ms")
                filters(store, queries)
                store.drop()


if __name__ == "__main__":
    main([int(one) for one in sys.argv[1:]] or [20_000, 200_000])
