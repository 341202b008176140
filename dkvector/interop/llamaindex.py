"""LlamaIndex's `BasePydanticVectorStore` over any store of ours."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from dkvector.blocking import VectorStore, blocking
from dkvector.diversity import mmr
from dkvector.errors import SchemaError, UnsupportedError, VectorError
from dkvector.filters import And, Filter, Ids, IsIn, as_filter
from dkvector.fusion import RRF, Fusion, Weighted
from dkvector.interop._documents import (
    columns_of,
    hits_of,
    keys,
    refuse,
    rows_by_id,
    there,
    told,
    without_vectors,
    write,
)
from dkvector.interop._extra import needs
from dkvector.interop._metadata import REF, Reader, check_names, filterable
from dkvector.results import Hits
from dkvector.store import AsyncVectorStore
from dkvector.vectors import to_matrix

with needs("llama-index-core", "llamaindex"):
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.schema import BaseNode, MetadataMode, TextNode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.types import VectorStoreQueryMode as Modes
    from llama_index.core.vector_stores.utils import metadata_dict_to_node, node_to_metadata_dict

CONTENT, TYPE, NODE = "_node_content", "_node_type", "node_id"
_OPTIONS = ("where", "tuning", "fusion", "mmr_threshold", "mmr_prefetch_factor", "mmr_prefetch_k")
_WORDS = (Modes.TEXT_SEARCH, Modes.SPARSE)
_MODES = (Modes.DEFAULT, Modes.MMR, Modes.HYBRID, *_WORDS)

worded = blocking(AsyncVectorStore.keyword_search)


class DkvectorVectorStore(BasePydanticVectorStore):
    """A store as LlamaIndex has it: nodes with metadata, found by their embeddings.

    A node comes back whole. Metadata that are single values, or lists of them, become columns of the store too, one
    type each, so that every backend filters by them, before the neighbours are taken; a filter by what no node has is
    an error. Rows that came otherwise, by `df.vec.push` say, are text nodes.

    Args:
        store: the store, which may be empty: what `dkv.connect` or `df.vec.push` gave.
        text: the column that holds the nodes' text.
        field: the vector field, where there are several, or what it is called in an empty store.

    Modes of a query: DEFAULT; MMR; HYBRID, fused by `Weighted(alpha)`, or by `RRF()` where there is no alpha;
    TEXT_SEARCH and SPARSE, ranked by the words alone. The coroutines run the blocking methods on a thread.

    Example:
        >>> from dkvector.registry import connect
        >>> nodes = DkvectorVectorStore(connect("exact"))
        >>> nodes.add([TextNode(text="a wolf", id_="w", embedding=[1.0, 0.0], metadata={"page": 1})])
        ['w']
        >>> nodes.query(VectorStoreQuery(query_embedding=[0.9, 0.1], similarity_top_k=1)).nodes[0].metadata
        {'page': 1}
    """

    # LlamaIndex asks for these: texts are here, and metadata may be nested
    stores_text: bool = True
    flat_metadata: bool = False
    text: str = "text"
    field: str | None = None
    _store: VectorStore = PrivateAttr()

    def __init__(self, store: VectorStore, *, text: str = "text", field: str | None = None) -> None:
        super().__init__(text=text, field=field)  # type: ignore[call-arg]  # pydantic's, of our own fields
        # not before pydantic has made room for private attributes
        self._store = store

    @classmethod
    def class_name(cls) -> str:
        """Name the class, as LlamaIndex does where it writes one down."""
        return "DkvectorVectorStore"

    @property
    def client(self) -> VectorStore:
        """The store."""
        return self._store

    @property
    def _empty(self) -> bool:
        return self._store.store.empty

    def _field(self) -> str:
        return (self.field or "embedding") if self._empty else self._store.store.known.vector(self.field).name

    def add(self, nodes: Sequence[BaseNode], **add_kwargs: Any) -> list[str]:
        """Write nodes; those of known ids are replaced.

        Args:
            nodes: with their embeddings.
            add_kwargs: none is known.

        Returns:
            Their ids.

        Raises:
            VectorError: nodes without an embedding, or with one that can't be used; nothing is written.
            SchemaError: metadata of a type that the store has not; likewise.
            DuplicateIdError: an id twice; likewise.
        """
        refuse(add_kwargs, ())
        if not nodes:
            return []
        if bare := [node.node_id for node in nodes if node.embedding is None]:
            raise VectorError.at_rows("no embedding", bare, way_out="embed the nodes first, as a VectorStoreIndex does")
        check_names([node.metadata for node in nodes], [self.text, CONTENT, TYPE, REF])
        columns = columns_of([filterable(node.metadata) for node in nodes])
        ours = {self.text: [node.get_content(MetadataMode.NONE) for node in nodes]}
        ours |= columns_of([_written(node) for node in nodes])
        vectors = [node.embedding for node in nodes]
        ids = [node.node_id for node in nodes]
        return write(self._store, ids, ours | columns, vectors, self._field(), called=NODE)

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document; an unknown one is passed over."""
        refuse(delete_kwargs, ())
        if not self._empty and REF in self._store.store.known.payload.names:
            self._store.delete(where={REF: ref_doc_id})

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Delete nodes by id, by their metadata, or by both; unknown ids are passed over.

        Raises:
            SchemaError: neither is given: `clear()` removes all.
        """
        refuse(delete_kwargs, ())
        if node_ids is None and filters is None:
            raise SchemaError("delete_nodes needs ids or filters; clear() removes all nodes")
        if not self._empty:
            self._store.delete(where=self._where(filters, node_ids))

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Give nodes by id, in the order of the ids, by their metadata, or by both; all of them without either."""
        if self._empty:
            return []
        if node_ids is not None and filters is None:
            return self._nodes(there(self._store, node_ids))
        where = self._where(filters, node_ids)
        ids = [frame.index.tolist() for frame in self._store.scan(where, columns=[])]
        return [node for some in ids for node in self._nodes(rows_by_id(self._store, some))]

    def clear(self) -> None:
        """Delete all nodes."""
        if not self._empty:
            self._store.drop()

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Find nodes.

        Args:
            query: with the embedding, the words, the filters and the mode.
            kwargs: `where`, any filter of ours beside the query's; `tuning`; `fusion` of a hybrid search;
                `mmr_threshold`, `mmr_prefetch_factor` (4) or `mmr_prefetch_k` of an MMR search.

        Returns:
            Nodes, their ids and their scores: the larger, the better.

        Raises:
            UnsupportedError: a mode that there is not, or that the backend has not.
            FilterError: a filter that can't be read, or that names what no node has.
            SchemaError: no embedding, or no words, where the mode takes them.
        """
        refuse(kwargs, _OPTIONS)
        if query.mode not in _MODES:
            raise UnsupportedError.lacking("dkvector", "query mode", query.mode, [mode.value for mode in _MODES])
        if query.output_fields is not None:
            raise UnsupportedError("output_fields: nodes come whole")
        if self._empty:
            return VectorStoreQueryResult(nodes=[], similarities=[], ids=[])
        if query.mode in _WORDS:
            return self._by_words(query, kwargs)
        hits = self._hits(query, kwargs)
        chosen = self._diverse(hits, query, kwargs) if query.mode == Modes.MMR else np.arange(len(hits.distances))
        return self._result(hits.rows.take(pa.array(chosen)), hits.scores[chosen])

    def _hits(self, query: VectorStoreQuery, options: Mapping[str, Any]) -> Hits:
        if query.query_embedding is None:
            raise SchemaError(f"a query of mode {query.mode.value!r} takes query_embedding")
        hybrid, diverse = query.mode == Modes.HYBRID, query.mode == Modes.MMR
        k = (query.hybrid_top_k or query.similarity_top_k) if hybrid else query.similarity_top_k
        return hits_of(
            self._store,
            np.asarray(query.query_embedding, np.float32),
            _prefetched(k, options) if diverse else k,
            text=_words(query) if hybrid else None,
            field=self.field or query.embedding_field,
            where=self._asked(query, options),
            tuning=options.get("tuning"),
            include_vectors=diverse,
            fusion=_fusion(query, options) if hybrid else None,
            text_on=self.text if hybrid else None,
        )

    def _diverse(self, hits: Hits, query: VectorStoreQuery, options: Mapping[str, Any]) -> Any:
        vectors = to_matrix(hits.rows.column(self._store.store.known.vector(self.field or query.embedding_field).name))
        threshold = options.get("mmr_threshold", query.mmr_threshold)
        balance = 0.5 if threshold is None else threshold
        return mmr(query.query_embedding, vectors[0], query.similarity_top_k, balance=balance, metric=hits.metric)  # type: ignore[arg-type]

    def _by_words(self, query: VectorStoreQuery, options: Mapping[str, Any]) -> VectorStoreQueryResult:
        k = query.sparse_top_k or query.similarity_top_k
        hits = worded(self._store, _words(query), k, on=self.text, where=self._asked(query, options))
        return self._result(hits.rows, hits.scores)

    def _asked(self, query: VectorStoreQuery, options: Mapping[str, Any]) -> Filter | None:
        """Put all that restricts a query together; an empty list of ids, which every index gives, restricts nothing."""
        where = [as_filter(options.get("where")), self._where(query.filters, query.node_ids or None)]
        documents = [IsIn(REF, tuple(query.doc_ids))] if query.doc_ids else []
        given = [one for one in (*where, *documents) if one is not None]
        return And(tuple(given)) if given else None

    def _where(self, filters: MetadataFilters | None, node_ids: list[str] | None) -> Filter | None:
        known, terms = self._store.store.known, list[Filter]()
        if filters is not None:
            terms.append(Reader(known.payload, self._values).where(filters))
        if node_ids is not None:
            terms.append(Ids(tuple(keys(known, node_ids).to_pylist())))
        return And(tuple(terms)) if terms else None

    def _values(self, column: str) -> set[Any]:
        return {value for frame in self._store.scan(None, [column]) for value in frame[column]}

    def _nodes(self, rows: pa.Table) -> list[BaseNode]:
        rows = without_vectors(rows, self._store.store.known, self.text)
        return [self._node(row, rows.column_names[0]) for row in rows.to_pylist()]

    def _node(self, row: Mapping[str, Any], label: str) -> BaseNode:
        if row.get(CONTENT) is not None:
            return metadata_dict_to_node({CONTENT: row[CONTENT], TYPE: row[TYPE]}, text=row[self.text])
        metadata = told(row, [label, self.text, CONTENT, TYPE, REF])
        return TextNode(id_=str(row[label]), text=row[self.text] or "", metadata=metadata)

    def _result(self, rows: pa.Table, scores: Any) -> VectorStoreQueryResult:
        nodes = self._nodes(rows)
        return VectorStoreQueryResult(nodes, scores.tolist(), [node.node_id for node in nodes])

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Do what `add` does, on a thread."""
        return await asyncio.to_thread(self.add, nodes, **kwargs)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Do what `delete` does, on a thread."""
        await asyncio.to_thread(self.delete, ref_doc_id, **delete_kwargs)

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Do what `delete_nodes` does, on a thread."""
        await asyncio.to_thread(self.delete_nodes, node_ids, filters, **delete_kwargs)

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """Do what `get_nodes` does, on a thread."""
        return await asyncio.to_thread(self.get_nodes, node_ids, filters)

    async def aclear(self) -> None:
        """Do what `clear` does, on a thread."""
        await asyncio.to_thread(self.clear)

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """Do what `query` does, on a thread."""
        return await asyncio.to_thread(self.query, query, **kwargs)


def _written(node: BaseNode) -> dict[str, Any]:
    """Give what brings a node back, but for its text."""
    # the text has a column of its own
    whole = node_to_metadata_dict(node, remove_text=True)
    return {CONTENT: whole[CONTENT], TYPE: whole[TYPE], REF: node.ref_doc_id}


def _words(query: VectorStoreQuery) -> str:
    if query.query_str is None:
        raise SchemaError(f"a query of mode {query.mode.value!r} takes query_str")
    return query.query_str


def _fusion(query: VectorStoreQuery, options: Mapping[str, Any]) -> Fusion:
    given: Fusion | None = options.get("fusion")
    if given is not None:
        return given
    window = max(RRF().window, query.similarity_top_k, query.sparse_top_k or 0)
    return RRF(window=window) if query.alpha is None else Weighted(query.alpha, window=window)


def _prefetched(k: int, options: Mapping[str, Any]) -> int:
    """Count the candidates that diverse nodes are chosen from."""
    given: int | None = options.get("mmr_prefetch_k")
    return max(k, round(k * float(options.get("mmr_prefetch_factor", 4))) if given is None else given)
