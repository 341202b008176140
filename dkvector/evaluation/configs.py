"""Configs of backends: a setting that was found, as `connect` takes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from dkvector.evaluation.subject import Subject
from dkvector.indexes import HNSW, IVF, IndexSpec, Tuning, spec_dict
from dkvector.registry import Target, read_target


def config_of(target: Target, spec: IndexSpec, tuning: Tuning, subject: Subject) -> dict[str, Any]:
    """Write a setting as a config.

    Args:
        target: a backend's name or a URL; its password is left out, to be found where the driver looks for it.
        spec: the index, nothing left open.
        tuning: the knobs of every search.
        subject: the rows.

    Returns:
        The config. A server's lacks the table, which `connect(config, table=…)` names. Where a backend's config has no
        words for the index, `push(config, index=…)` builds it.
    """
    name, config = read_target(target)
    if "url" in config:
        config["url"] = without_password(config["url"])
    knobs = {key: value for key in ("ef_search", "probes", "candidates") if (value := getattr(tuning, key)) is not None}
    known = WRITERS.get(name, _plain)(spec, subject)
    return {"backend": name, **config, **known, **({"tuning": knobs} if knobs else {})}


def without_password(url: str) -> str:
    """Give a URL without its password and its query.

    Example:
        >>> without_password("postgresql://ann:secret@db.example/words?sslmode=require")
        'postgresql://ann@db.example/words'
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    # a driver may take a password from the query too
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}@{host}" if user else host, query=""))


def _plain(_spec: IndexSpec, _subject: Subject) -> dict[str, Any]:
    return {}


def _faiss(spec: IndexSpec, subject: Subject) -> dict[str, Any]:
    config: dict[str, Any] = {"index_type": {"flat": "Flat", "ivf": "IVF", "hnsw": "HNSW"}[spec.kind]}
    if isinstance(spec, HNSW):
        config |= {"hnsw_m": spec.m, "hnsw_ef_construction": spec.ef_construction}
    elif isinstance(spec, IVF):
        config["ivf_nlist"] = spec.lists
    quantization = getattr(spec, "quantization", None)
    config |= {} if quantization is None else {"quantization": quantization}
    return config | {"metric": subject.metric.value, "dimension": subject.rows.matrix.shape[1]}


def _pgvector(spec: IndexSpec, subject: Subject) -> dict[str, Any]:
    vector: dict[str, Any] = {"dimension": subject.rows.matrix.shape[1], "metric": subject.metric.value}
    if getattr(spec, "quantization", None) is not None:  # its config has no word for that
        return {"vector": vector}
    vector["index_type"] = spec.kind
    if isinstance(spec, HNSW):
        vector |= {"m": spec.m, "ef_construction": spec.ef_construction}
    elif isinstance(spec, IVF):
        vector["lists"] = spec.lists
    return {"vector": vector}


def _search_engine(spec: IndexSpec, subject: Subject) -> dict[str, Any]:
    dimension, metric = subject.rows.matrix.shape[1], subject.metric.value
    return {"vector": {"dimension": dimension, "similarity": metric, "index": spec_dict(spec)}}


WRITERS: dict[str, Callable[[IndexSpec, Subject], dict[str, Any]]] = {
    "faiss": _faiss,
    "pgvector": _pgvector,
    "elasticsearch": _search_engine,
    "opensearch": _search_engine,
}
