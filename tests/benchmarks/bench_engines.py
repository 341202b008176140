"""Elasticsearch and OpenSearch beside their own clients, in one run: loading, single searches, many, memory of a load.

Run it alone on the machine: ``python tests/benchmarks/bench_engines.py [rows]``, 20,000 by default. The servers are
those in DKVECTOR_TEST_ELASTICSEARCH and DKVECTOR_TEST_OPENSEARCH, or some of our own.
"""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import elasticsearch.helpers
import numpy as np
import opensearchpy.helpers
from _data import clustered, fastest, framed, head, line

import dkvector as dkv
from dkvector._loop import LOOP
from dkvector.requests import Search

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


def searches(url, name, store, queries) -> None:
    """One search through the blocking view, against the same body sent by the bare client."""
    made = store.store
    request = Search(queries[0], K, columns=[]).checked(made.name, made.supports, made.known)
    bodies = []
    from dkvector.backends._engine_search import Search as Engine

    for query in queries:
        search = Engine(made._reader, request.of(query))
        body = search.dialect.near(search._ask(0, K, search._candidates()))
        bodies.append({**body, "size": K, "track_total_hits": False, "_source": False})
    client = LOOP.run(opened(Bare(url, name)))
    index = made._index

    async def bare(count):
        began = time.perf_counter()
        for body in bodies[:count]:
            await client.search(index=index, body=body)
        return time.perf_counter() - began

    def ours(count):
        began = time.perf_counter()
        for query in queries[:count]:
            store.search(query, K, columns=[])
        return time.perf_counter() - began

    count = min(200, len(queries))
    ours(50), LOOP.run(bare(50))
    rounds = [(ours(count), LOOP.run(bare(count))) for _ in range(5)]
    mine, theirs = (min(one) * 1000 / count for one in zip(*rounds, strict=True))
    line("a search, wall", mine, theirs, "≤ 1.15")
    together, loop = fastest(
        lambda: store.search(queries, K, columns=[]),
        lambda: [store.search(query, K, columns=[]) for query in queries],
        repeats=3,
    )
    line(f"{len(queries):,} queries as one call, beside a loop", together, loop, "≤ 0.80")
    LOOP.run(client.close())


async def opened(bare):
    return bare.awaited()


def main(rows) -> None:
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
