"""Elasticsearch and OpenSearch beside their own clients, in one run: loading, single searches, many, memory of a load.

Run it alone on the machine: ``python tests/benchmarks/bench_engines.py [20000 [200000]]``. The servers are those in
DKVECTOR_TEST_ELASTICSEARCH and DKVECTOR_TEST_OPENSEARCH, or some of our own.
"""

import gc
import os
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import elasticsearch.helpers
import numpy as np
import opensearchpy.helpers
import pandas as pd
import psutil
from _data import clustered, fastest, framed, head, line

import dkvector as dkv
from dkvector._loop import LOOP
from dkvector.sources import read_source

sys.path.insert(0, str(Path(__file__).parents[1]))
from engines import ELASTICSEARCH, OPENSEARCH, started

K = 10
INDEX = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": -1}


class Bare:
    """A client as its manual has it, tuned by hand."""

    def __init__(self, url, name) -> None:
        self.name = name
        if name == "elasticsearch":
            self.helpers, self.pack = elasticsearch.helpers, elasticsearch.helpers.pack_dense_vector
            self.client, self.awaited = elasticsearch.Elasticsearch(url), lambda: elasticsearch.AsyncElasticsearch(url)
        else:
            self.helpers, self.pack = opensearchpy.helpers, lambda vector: vector.tolist()
            self.client, self.awaited = opensearchpy.OpenSearch(url), lambda: opensearchpy.AsyncOpenSearch(url)

    def mapping(self, dimensions):
        """The index that ours makes, by hand."""
        if self.name == "elasticsearch":
            options = {"type": "hnsw", "m": 16, "ef_construction": 64}
            return {"type": "dense_vector", "dims": dimensions, "similarity": "cosine", "index_options": options}
        parameters = {"m": 16, "ef_construction": 64}
        method = {"name": "hnsw", "engine": "lucene", "space_type": "cosinesimil", "parameters": parameters}
        return {"type": "knn_vector", "dimension": dimensions, "method": method}

    def load(self, vectors, *, parallel, flat) -> None:
        """Fill an index by `parallel_bulk` or `streaming_bulk`."""
        settings, field = dict(INDEX), self.mapping(vectors.shape[1])
        if self.name == "elasticsearch" and flat:
            field = {**field, "index_options": {"type": "flat"}}
        if self.name == "opensearch":
            settings["knn"] = not flat
            field = {"type": "knn_vector", "dimension": vectors.shape[1]} if flat else field
        mappings = {"dynamic": "strict", "properties": {"id": {"type": "long"}, "embedding": field}}
        self.client.indices.delete(index="bare", ignore_unavailable=True)
        self.client.indices.create(index="bare", body={"settings": settings, "mappings": mappings})
        actions = (
            {"_index": "bare", "_id": str(i), "id": i, "embedding": self.pack(vector)}
            for i, vector in enumerate(vectors)
        )
        ways = {"chunk_size": 500}
        if parallel:
            ways |= {"thread_count": 4, "queue_size": 4}
            stored = self.helpers.parallel_bulk(self.client, actions, **ways)
        else:
            stored = self.helpers.streaming_bulk(self.client, actions, **ways)
        assert all(ok for ok, _ in stored)
        self.client.indices.refresh(index="bare")


def loads(url, name, vectors) -> None:
    """A push of ids and vectors, against the client's own helpers; as an index of graphs, and without one."""
    bare = Bare(url, name)
    frame = framed(vectors)[["embedding"]].set_axis(np.arange(len(vectors)))
    for kind in ("flat", "hnsw"):
        store = dkv.connect({"backend": name, "hosts": url, "index": "pushed", "shards": 1, "replicas": 0})
        store.store.planned = dkv.indexes.as_spec(kind)

        def ours(store=store):
            store.upsert(frame, mode="replace", progress=False)

        mine, parallel, streaming = fastest(
            ours,
            lambda kind=kind: bare.load(vectors, parallel=True, flat=kind == "flat"),
            lambda kind=kind: bare.load(vectors, parallel=False, flat=kind == "flat"),
            repeats=3,
        )
        by_hand = min(parallel, streaming)
        best = "parallel_bulk" if parallel < streaming else "streaming_bulk"
        title = f"load, {kind}, wall ({len(vectors) / mine:,.1f} k rows/s; {best})"
        line(title, mine, by_hand, "≤ 1.11 (0.9 of the rows a second by hand)")
        store.drop()
        store.close()
    bare.client.indices.delete(index="bare")


def recorded(store, queries):
    """Search, and tell what was sent: path, body and parameters of each request."""
    wire, sent = store.store._wire, []
    send = wire.send

    async def recording(method, path, body=None, *, params=None):
        sent.append((path, body, params))
        return await send(method, path, body, params=params)

    wire.send = recording
    for query in queries:
        store.search(query, K, columns=[])
    wire.send = send
    return sent


def searches(url, name, store, queries) -> None:
    """One search through the blocking view, against the very same requests sent by the bare clients."""
    sent = recorded(store, queries)
    client, waiting = LOOP.run(opened(Bare(url, name))), Bare(url, name).client
    headers = {"accept": "application/json", "content-type": "application/json"}

    async def bare(count):
        began = time.perf_counter()
        for path, body, params in sent[:count]:
            await ask(client, path, body, params)
        return time.perf_counter() - began

    def ask(one, path, body, params):
        if name == "elasticsearch":
            return one.perform_request("POST", path, params=params, headers=headers, body=body)
        return one.transport.perform_request("POST", path, params=dict(params), headers=headers, body=body)

    def blocking(count):
        began = time.perf_counter()
        for path, body, params in sent[:count]:
            ask(waiting, path, body, params)
        return time.perf_counter() - began

    def ours(count):
        began = time.perf_counter()
        for query in queries[:count]:
            store.search(query, K, columns=[])
        return time.perf_counter() - began

    count = min(200, len(queries))
    for _ in range(3):  # until the server has compiled what it runs
        ours(count), LOOP.run(bare(count))
    rounds = [(ours(count), blocking(count), LOOP.run(bare(count))) for _ in range(7)]
    mine, sync, awaited = (min(one) * 1000 / count for one in zip(*rounds, strict=True))
    line("a search, wall, beside the blocking client", mine, sync, "≤ 1.15")
    line("a search, wall, beside the client awaited", mine, awaited)
    together, loop = fastest(
        lambda: store.search(queries, K, columns=[]),
        lambda: [store.search(query, K, columns=[]) for query in queries],
        repeats=3,
    )
    line(f"{len(queries):,} queries as one call, beside a loop", together, loop, "≤ 0.80")
    LOOP.run(client.close())


def memory(url, name, rows) -> None:
    """What a load from parquet files takes of this process's memory, beside a bare reading of its batches."""
    with tempfile.TemporaryDirectory() as folder:
        part = 20_000
        for at in range(0, rows, part):
            frame = framed(clustered(part, seed=at)[0])
            frame.index = pd.Index(np.arange(at, at + part), name="key")
            dkv.to_parquet(frame, f"{folder}/{at:09}.parquet", row_group_size=5_000)
        del frame
        read = peak(lambda: sum(len(one) for one in read_source(folder, 10_000).frames))
        config = {"backend": name, "hosts": url, "index": "loaded", "replicas": 0, "vector": {"index": "flat"}}
        with dkv.connect(config) as store:
            began = time.perf_counter()
            loaded = peak(lambda: store.load(folder, progress=False))
            took = time.perf_counter() - began
            assert len(store) == rows
            store.drop()
    title = f"load of {rows:,} rows from parquet, MB ({rows / took:,.0f} rows/s)"
    print(f"{title:<52}{loaded:>11.0f}{read:>11.0f}{loaded - read:>8.0f}  < 300 MB above the batches")


def peak(call) -> float:
    """Measure by how much this process grows during a call, in MB."""
    gc.collect()
    process, done = psutil.Process(), threading.Event()
    before, highest = process.memory_info().rss, [0]

    def watching():
        while not done.wait(0.01):
            highest[0] = max(highest[0], process.memory_info().rss)

    watcher = threading.Thread(target=watching)
    watcher.start()
    try:
        call()
    finally:
        done.set()
        watcher.join()
    return (highest[0] - before) / 1e6


async def opened(bare):
    return bare.awaited()


def main(rows, many) -> None:
    for recipe in (ELASTICSEARCH, OPENSEARCH):
        named = os.environ.get(f"DKVECTOR_TEST_{recipe.name.upper()}")
        own = started(recipe, heap="1g", options="-XX:-AlwaysPreTouch")
        with nullcontext(SimpleNamespace(url=named)) if named else own as server:
            vectors, queries = clustered(rows)
            head(f"{recipe.name}: {rows:,} x {vectors.shape[1]}, k = {K}", "bare ms")
            loads(server.url, recipe.name, vectors)
            config = {"backend": recipe.name, "hosts": server.url, "index": "bench", "replicas": 0}
            with framed(vectors).vec.push(config, mode="replace", index="hnsw", progress=False) as store:
                searches(server.url, recipe.name, store, queries)
                store.drop()
            head(f"{recipe.name}: memory", "batches")
            memory(server.url, recipe.name, many)


if __name__ == "__main__":
    main(*[int(one) for one in (sys.argv[1:] + ["20000", "200000"][len(sys.argv) - 1 :])])
