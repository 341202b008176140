"""Search by words: the query, and its hits in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dkvector.backends._dialect import MOST
from dkvector.backends._documents import table, wanted
from dkvector.backends._engine_exact import ordered
from dkvector.backends._engine_reader import Hit, Reader
from dkvector.backends._layout import Layout
from dkvector.backends._querydsl import Query
from dkvector.requests import KeywordRequest
from dkvector.results import KeywordHits, TableSource


def keyword_body(request: KeywordRequest, reader: Reader) -> dict[str, Any]:
    """Write a search by words: rows with more of them rank first, whichever column has them."""
    layout, where = reader.layout, reader.query(request.where)
    paths = [layout.paths[name] for name in request.on]
    # cross_fields: by default a row ranks by its best column alone
    text = request.encodable
    words: Query = {"multi_match": {"query": text, "fields": paths, "type": "cross_fields", "operator": "or"}}
    if len(paths) == 1:
        words = {"match": {paths[0]: {"query": text}}}
    body: dict[str, Any] = {
        "query": {"bool": {"must": [words], **({} if where is None else {"filter": [where]})}},
        "size": min(request.k, MOST),
        "track_total_hits": False,
        "_source": reader.dialect.source(wanted(layout, request.columns, vectors=False), vectors=False),
    }
    return body | ({"highlight": {"fields": {path: {} for path in paths}}} if request.highlight else {})


def marked(found: Sequence[Hit], request: KeywordRequest, layout: Layout) -> KeywordHits:
    """Put hits in order, ties by id, and join the fragments that show the words."""
    scores = np.array([hit.score for hit in found], np.float32)
    order = np.lexsort((ordered([hit.name for hit in found], layout), -scores))
    hits = [found[at] for at in order]
    rows = table(layout, [hit.name for hit in hits], [hit.source for hit in hits], request.columns, vectors=False)
    shown = [" … ".join(one for parts in hit.highlight.values() for one in parts) for hit in hits]
    return KeywordHits(TableSource(rows), scores[order], shown if request.highlight else None)
