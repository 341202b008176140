"""LangChain's `VectorStore` over any store of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import numpy as np
import pyarrow as pa

from dkvector.blocking import VectorStore
from dkvector.diversity import mmr
from dkvector.encoders import Encoder, needed
from dkvector.errors import SchemaError, UnsupportedError
from dkvector.interop._documents import columns_of, hits_of, keys, refuse, there, told, without_vectors, write
from dkvector.interop._extra import needs
from dkvector.metrics import DistanceMetric
from dkvector.registry import connect
from dkvector.results import Hits
from dkvector.vectors import to_matrix

with needs("langchain-core", "langchain"):
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore as LangChainStore

_SEARCHES = ("filter", "tuning", "fusion", "text_on")  # keywords of a search, beside LangChain's own
Scored = list[tuple[Document, float]]


class DkvectorVectorStore(LangChainStore):
    """A store as LangChain has it: texts with metadata, found by their embeddings.

    Metadata become columns of the store, one type each, so that every backend can filter by them; a value None is
    the same as none. Rows that came otherwise, by `df.vec.push` say, are documents too.

    Args:
        store: the store, which may be empty: what `dkv.connect` or `df.vec.push` gave.
        embedding: what embeds texts; the store's own encoder by default.
        text: the column that holds the documents' text.
        field: the vector field, where there are several, or what it is called in an empty store.

    Every search takes `filter` (any `where` of ours, applied before the neighbours are taken) and `tuning`; those by
    text also `fusion` and `text_on`, for a hybrid search. The coroutines run the blocking methods on a thread.

    Example:
        >>> from langchain_core.embeddings import DeterministicFakeEmbedding
        >>> documents = DkvectorVectorStore(connect("exact"), DeterministicFakeEmbedding(size=8))
        >>> documents.add_texts(["a wolf", "a bridge"], [{"page": 1}, {"page": 2}], ids=["w", "b"])
        ['w', 'b']
        >>> documents.similarity_search("a wolf", k=1, filter="page > 1")
        [Document(id='b', metadata={'page': 2}, page_content='a bridge')]
    """

    def __init__(
        self, store: VectorStore, embedding: Embeddings | None = None, *, text: str = "text", field: str | None = None
    ) -> None:
        self.store, self.text, self.field = store, text, field
        self._embedding = embedding

    @property
    def embeddings(self) -> Embeddings:
        """What embeds texts.

        Raises:
            SchemaError: there is none, and the store has no encoder either.
        """
        return self._embedding or _Encoding(needed(self.store.encoder, "DkvectorVectorStore(store, embedding)"))

    @classmethod
    def from_texts(  # type: ignore[override]  # of its own arguments, in place of any
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        store: VectorStore | None = None,
        text: str = "text",
        field: str | None = None,
    ) -> Self:
        """Write texts to a store, an exact one in memory by default."""
        made = cls(connect("exact") if store is None else store, embedding, text=text, field=field)
        made.add_texts(texts, metadatas, ids=ids)
        return made

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: Sequence[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        **kwargs: Any,  # LangChain's signature
    ) -> list[str]:
        """Embed and write texts; those of known ids are replaced.

        Args:
            texts: `n` texts.
            metadatas: one dict each.
            ids: one each; None gets a random one.
            kwargs: none is known.

        Returns:
            The ids.

        Raises:
            SchemaError: not as many ids or metadata as texts; metadata of a type that the store has not.
            DuplicateIdError: an id twice.
        """
        refuse(kwargs, ())
        texts = list(texts)
        for name, given in (("metadatas", metadatas), ("ids", ids)):
            if given is not None and len(given) != len(texts):
                raise SchemaError(f"{len(given)} {name} for {len(texts)} texts")
        if not texts:
            return []
        columns = columns_of(metadatas or [])
        if self.text in columns:
            raise SchemaError(f"{self.text!r} holds the texts: no metadata can be called so; text=… names another")
        vectors = self.embeddings.embed_documents(texts)
        return write(self.store, ids or [None] * len(texts), {self.text: texts, **columns}, vectors, self._field())

    def _field(self) -> str:
        if self.store.store.empty:
            return self.field or "embedding"
        return self.store.store.known.vector(self.field).name

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> bool:
        """Delete documents by id; all of them without ids, LangChain's rule. Unknown ids are passed over."""
        refuse(kwargs, ())
        if self.store.store.empty:
            return True
        if ids is None:
            self.store.drop()
        else:
            self.store.delete(keys(self.store.schema, ids).to_pylist())
        return True

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Give those documents that are there, in the order of the ids."""
        return [] if self.store.store.empty else self._documents(there(self.store, ids))

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        """Find the k documents nearest to a text; `kwargs` are those of the class."""
        return [document for document, _ in self.similarity_search_with_score(query, k, **kwargs)]

    def similarity_search_with_score(self, query: str, k: int = 4, **kwargs: Any) -> Scored:
        """Find the k documents nearest to a text, with our score: the larger, the better."""
        words = query if {"fusion", "text_on"} & {*kwargs} else None
        return self._found(self.embeddings.embed_query(query), k, kwargs, words)

    def similarity_search_by_vector(self, embedding: list[float], k: int = 4, **kwargs: Any) -> list[Document]:
        """Find the k documents nearest to a vector."""
        return [document for document, _ in self._found(embedding, k, kwargs, None)]

    def max_marginal_relevance_search(
        self, query: str, k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Choose k of the `fetch_k` documents nearest to a text, near it and unlike each other: see `mmr`."""
        embedding = self.embeddings.embed_query(query)
        return self.max_marginal_relevance_search_by_vector(embedding, k, fetch_k, lambda_mult, **kwargs)

    def max_marginal_relevance_search_by_vector(
        self, embedding: list[float], k: int = 4, fetch_k: int = 20, lambda_mult: float = 0.5, **kwargs: Any
    ) -> list[Document]:
        """Choose k of the `fetch_k` documents nearest to a vector, near it and unlike each other: see `mmr`."""
        if self.store.store.empty:
            return []
        hits = self._hits(embedding, max(k, fetch_k), kwargs, None, include_vectors=True)
        vectors = to_matrix(hits.rows.column(self._field()))[0]
        chosen = mmr(embedding, vectors, k, balance=lambda_mult, metric=hits.metric)
        return self._documents(hits.rows.take(pa.array(chosen)))

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """Give what turns our scores into LangChain's relevance, in [0, 1]."""
        metric = DistanceMetric.COSINE if self.store.store.empty else self.store.store.known.vector(self.field).metric
        if metric is DistanceMetric.DOT_PRODUCT:
            raise UnsupportedError("inner products have no scale, so no relevance in [0, 1]: ask for scores instead")
        return lambda score: min(max(score, 0.0), 1.0)

    def _found(self, embedding: Any, k: int, kwargs: dict[str, Any], words: str | None) -> Scored:
        if self.store.store.empty:
            refuse(kwargs, _SEARCHES)
            return []
        hits = self._hits(embedding, k, kwargs, words)
        return list(zip(self._documents(hits.rows), hits.scores.tolist(), strict=True))

    def _hits(
        self, embedding: Any, k: int, kwargs: dict[str, Any], words: str | None, *, include_vectors: bool = False
    ) -> Hits:
        # the others are of a hybrid search
        refuse(kwargs, _SEARCHES if words is not None else _SEARCHES[:2])
        return hits_of(
            self.store,
            np.asarray(embedding, np.float32),
            k,
            text=words,
            field=self.field,
            where=kwargs.get("filter"),
            tuning=kwargs.get("tuning"),
            include_vectors=include_vectors,
            fusion=kwargs.get("fusion"),
            # the documents' text, and not whatever text their metadata hold
            text_on=kwargs.get("text_on", self.text) if words is not None else None,
        )

    def _documents(self, rows: pa.Table) -> list[Document]:
        rows = without_vectors(rows, self.store.store.known, self.text)
        label = rows.column_names[0]
        return [
            Document(row[self.text] or "", id=str(row[label]), metadata=told(row, [label, self.text]))
            for row in rows.to_pylist()
        ]


class _Encoding(Embeddings):
    """An encoder of ours, as LangChain has it."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self.encoder.encode(texts).tolist()
        return vectors

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]
