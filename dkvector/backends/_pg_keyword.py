"""Search by words: PostgreSQL's own text search, any of the words, those with more of them first."""

from __future__ import annotations

from typing import Any

import numpy as np

from dkvector.backends._pg_rows import Wanted
from dkvector.backends._pg_table import Table
from dkvector.backends._sql import literal, quoted
from dkvector.requests import KeywordRequest
from dkvector.results import KeywordHits, TableSource

SHORTER = 1  # ranks a text by its words divided by the logarithm of its length
MARKS = "StartSel=**, StopSel=**, MaxFragments=2"
# The words of a text as the language has them, each quoted, joined by "or": no word can become an operator.
ANY = quoted("dkvector words")  # a name that no column of anybody has
QUOTED = "replace(replace(lexeme, E'\\\\', E'\\\\\\\\'), '''', '''''')"
WORDS = f"""SELECT coalesce(string_agg('''' || {QUOTED} || '''', ' | '), '')::tsquery AS {ANY}
FROM unnest(to_tsvector({{language}}, $1::text))"""


def statement(request: KeywordRequest, table: Table, language: str) -> tuple[str, list[Any], Wanted]:
    """Write the statement of a search by words.

    Args:
        request: what is asked.
        table: where.
        language: a text search configuration of the server.

    Returns:
        The statement, its parameters, and what it gives of each row after score and highlight.
    """
    wanted = Wanted(table, request.columns, include_vectors=False)
    made = table.statement()
    made.bind(request.encodable, "text")
    where = made.where(request.where)
    named = f"{literal(language)}::regconfig"
    texts = [table.column(name).select for name in request.on]
    vectors = [words(named, text) for text in texts]
    found = " OR ".join(f"{vector} @@ {ANY}" for vector in vectors)
    aliased = ", ".join(f"{sql} AS {name}" for sql, name in zip(wanted.select, wanted.names(), strict=True))
    keys = [one.test for one in table.keys]
    ordered = ", ".join(f"{key.ordered} AS k{at}" for at, key in enumerate(keys))
    score = f"ts_rank({' || '.join(vectors)}, {ANY}, {SHORTER})"
    document = f"concat_ws(' … ', {', '.join(texts)})"
    order = "score DESC, " + ", ".join(f"k{at}" for at in range(len(keys)))
    inner = (
        f"SELECT {score} AS score, {document} AS document, {ANY}, {aliased}, {ordered} "
        f"FROM {table.sql}, {ANY} AS w({ANY}) WHERE ({found}) AND {where} ORDER BY {order} LIMIT {int(request.k)}"
    )
    marked = f"ts_headline({named}, document, {ANY}, {literal(MARKS)})" if request.highlight else "NULL"
    outer = f"SELECT score, {marked}, {', '.join(wanted.names())} FROM ({inner}) x ORDER BY {order}"
    return f"WITH {ANY} AS ({WORDS.format(language=named)}) {outer}", made.parameters, wanted


def words(language: str, text: str) -> str:
    """Write the words of a text column; an index for keyword search is on the same expression."""
    return f"to_tsvector({language}, coalesce({text}, ''))"


def create_index(table: str, name: str, column: str, language: str) -> str:
    """Write the statement that indexes the words of a text column."""
    return f"CREATE INDEX {quoted(name)} ON {table} USING gin ({words(f'{literal(language)}::regconfig', column)})"


def hits(records: list[Any], wanted: Wanted, *, highlight: bool) -> KeywordHits:
    """Turn records into hits."""
    scores = np.fromiter((record[0] for record in records), np.float32, len(records))
    return KeywordHits(
        TableSource(wanted.rows(records, 2)), scores, [record[1] for record in records] if highlight else None
    )
