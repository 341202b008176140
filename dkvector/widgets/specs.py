"""Indexes and knobs as they are typed: `HNSW(m=[8, 16]), IVF()`. Read with `ast`, never evaluated."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import product
from typing import Any

from dkvector.errors import SchemaError, hint
from dkvector.evaluation.settings import told
from dkvector.indexes import SPECS, IndexSpec, Tuning, as_spec


def read_specs(text: str) -> list[IndexSpec]:
    """Read indexes; a list of values is a grid.

    Args:
        text: indexes such as ``Flat(), HNSW(m=[8, 16], quantization=[None, "int8"])``.

    Returns:
        The indexes, each once.

    Raises:
        SchemaError: points at the place, or names the nearest index or knob.

    Example:
        >>> [told(one) for one in read_specs("flat, IVF(lists=[50, 100])")]
        ['Flat()', 'IVF(lists=50)', 'IVF(lists=100)']
    """
    if not text.strip():
        return []
    nodes = _parsed(text)
    return list(dict.fromkeys(spec for node in nodes for spec in _grid(node, text)))


def read_knobs(text: str) -> Tuning:
    """Read search-time knobs as runs tell them.

    Example:
        >>> read_knobs("ef_search=64, rescore=False").ef_search
        64
    """
    (call,) = _parsed(f"Tuning({text})")
    assert isinstance(call, ast.Call)  # noqa: S101 - it was written as one in the line above
    return Tuning.of({name: values[0] for name, values in _knobs(call, text).items()})


def written(specs: list[IndexSpec], prefix: str = "") -> str:
    """Write indexes as they would be typed, or as code.

    Example:
        >>> written(read_specs("hnsw(M=32)".lower()), "dkv.")
        'dkv.HNSW(m=32)'
    """
    return ", ".join(prefix + told(one) for one in specs)


def _parsed(text: str) -> list[ast.expr]:
    try:
        body = ast.parse(f"[{text.strip()}]", mode="eval").body
    except SyntaxError as exc:
        # counted from 1, and from the bracket before the text
        raise _at(text, (exc.offset or 2) - 2, "an index is written as HNSW(m=16)") from exc
    if not isinstance(body, ast.List):
        raise _at(text, 0, "indexes are written as HNSW(m=16), IVF()")
    return body.elts


def _grid(node: ast.expr, text: str) -> Iterator[IndexSpec]:
    call = node if isinstance(node, ast.Call) else ast.Call(func=node, args=[], keywords=[])
    name = _name(call.func, text).lower()
    if name not in SPECS:
        raise _at(text, node.col_offset - 1, f"no index {name!r}; {hint(name, SPECS)}")
    if call.args:
        raise _at(text, call.args[0].col_offset - 1, f"knobs have names: {_example(name)}")
    knobs = _knobs(call, text)
    for values in product(*knobs.values()):
        try:
            yield as_spec({"kind": name, **dict(zip(knobs, values, strict=True))})
        except SchemaError as exc:
            raise _at(text, node.col_offset - 1, str(exc)) from exc


def _example(name: str) -> str:
    known = [one.name for one in fields(SPECS[name])]
    return f"{SPECS[name].__name__}({known[0]}=…)"


def _name(node: ast.expr, text: str) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="dkv"), attr=name) | ast.Constant(value=str(name)):
            return name
    raise _at(text, node.col_offset - 1, "an index is written as HNSW(m=16)")


def _knobs(call: ast.Call, text: str) -> Mapping[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in call.keywords:
        try:
            value = ast.literal_eval(one.value)
        except ValueError as exc:
            raise _at(text, one.value.col_offset - 1, "a knob is a number, a text, or a list of them") from exc
        found[str(one.arg)] = list(value) if isinstance(value, list | tuple) else [value]
    return found


def _at(text: str, place: int, problem: str) -> SchemaError:
    """Point at a place of what was typed."""
    shown = text.strip()
    return SchemaError(f"{problem}\n  {shown}\n  {' ' * min(max(place, 0), len(shown))}^")
