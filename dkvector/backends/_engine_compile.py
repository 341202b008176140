"""What a search would send to a search engine: the request, and its body as JSON."""

from __future__ import annotations

from typing import Any

import orjson

from dkvector.backends._engine_keyword import keyword_body
from dkvector.backends._engine_reader import Reader
from dkvector.backends._engine_search import Search
from dkvector.compiled import Statement
from dkvector.requests import KeywordRequest


def compiled(search: Search) -> Statement:
    """Tell what a search near vectors would send first."""
    if not len(search.request.queries):
        return Statement("nothing to search for", "")
    plan, body = search.first()
    return Statement(plan, _sent(search.reader, body), (search.request.queries,))


def compiled_words(reader: Reader, request: KeywordRequest) -> Statement:
    """Tell what a search by words would send."""
    return Statement("BM25", _sent(reader, keyword_body(request, reader)))


def _sent(reader: Reader, body: Any) -> str:
    return f"POST {reader.path}/_search\n{orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()}"
