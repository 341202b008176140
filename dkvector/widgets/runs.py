"""Runs as the front end draws them, and what there is to tell of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dkvector.evaluation.configs import config_of
from dkvector.evaluation.report import Evaluation
from dkvector.evaluation.subject import Subject
from dkvector.plotting import COLOURS
from dkvector.plotting.runs import SPEEDS
from dkvector.widgets.candidates import Candidate
from dkvector.widgets.page import cell
from dkvector.widgets.specs import read_knobs, read_specs

WORST = 10  # queries shown of a run


@dataclass(frozen=True)
class Chosen:
    """What there is to tell of one run.

    Attributes:
        config: what `connect` takes; empty where the run failed.
        worst: the queries that lose most neighbours in it.
    """

    config: dict[str, Any]
    worst: pd.DataFrame


def drawn(found: Evaluation, y: str = "qps") -> dict[str, Any]:
    """Turn runs into what the front end draws.

    Args:
        found: the runs so far.
        y: the column that recall is drawn against.

    Returns:
        `rows`, each with `run`, `name`, `series` (a place in `series`), `recall`, `low`, `high`, `y`, `best` (whether
        no other run beats it), `cells` and `error`; `series` (name, colour); `x` and `y`, what the axes are called.
    """
    runs = found.runs
    best = set(found.frontier(y=y, each=("k", "where", "backend", "index")).index)
    several = len(runs["backend"].unique()) > 1
    names = [_series(run, several=several) for _, run in runs.iterrows()]
    series = list(dict.fromkeys(names))
    rows = [
        {
            "run": int(str(at)),
            "name": " ".join(filter(None, (name, run["tuning"]))),
            "knob": run["tuning"].partition("=")[2] if run["tuning"].count("=") == 1 else run["tuning"],
            "series": series.index(name),
            "recall": _number(run["recall"]),
            "low": _number(run["recall_low"]),
            "high": _number(run["recall_high"]),
            "y": _number(run[y]),
            "best": at in best,
            "error": run["error"],
            "cells": _cells(run, y),
        }
        for (at, run), name in zip(runs.iterrows(), names, strict=True)
    ]
    colours = [(name, COLOURS[at % len(COLOURS)]) for at, name in enumerate(series)]
    k = runs["k"].iloc[0] if len(runs) else ""
    return {"rows": rows, "series": colours, "x": f"recall@{k}", "y": SPEEDS[y], "heads": HEADS}


HEADS = ["index", "knobs", "recall", "interval", "p50 ms", "queries/s", "build s", "index MB", "plan"]


def _cells(run: pd.Series, y: str) -> list[str]:
    return [
        f"{run['backend']} {run['index']}",
        run["tuning"],
        _digits(run["recall"], 4),
        f"{_digits(run['recall_low'], 3)} to {_digits(run['recall_high'], 3)}" if run["error"] == "" else "",
        _digits(run["p50_ms"], 3),
        _digits(run[y], 0),
        _digits(run["build_s"], 2),
        _digits(run["index_bytes"] / 1e6, 2),
        run["plan"],
    ]


def _series(run: pd.Series, *, several: bool) -> str:
    return f"{run['backend']} {run['index']}" if several else str(run["index"] or run["backend"])


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def _digits(value: Any, digits: int) -> str:
    return f"{value:,.{digits}f}" if np.isfinite(value) else ""


def chosen(found: Evaluation, run: int, candidates: Sequence[Candidate], subject: Subject) -> Chosen:
    """Tell of one run how to open a store like it, and what it is bad at.

    Args:
        found: the runs so far.
        run: which.
        candidates: what was measured.
        subject: the rows.
    """
    row = found.runs.loc[run]
    if row["error"]:
        return Chosen({}, found.queries.head(0))
    (one,) = [each for each in candidates if each.label == row["backend"]]
    target = one.target if one.store is None else one.store.name
    (spec,) = read_specs(str(row["index"]))
    config = config_of(target, spec, read_knobs(str(row["tuning"])), subject)
    return Chosen(config, found.hardest(WORST, run=run).drop(columns=["worst", "runs"]))


def told(found: Evaluation, run: int, one: Chosen) -> dict[str, Any]:
    """Turn that into what the front end shows: texts."""
    row, worst = found.runs.loc[run], one.worst
    names = [str(name) for name in worst.columns]
    rows = [
        [cell(label), *(cell(value) for value in values)]
        for label, values in zip(worst.index, _rows(worst), strict=True)
    ]
    return {
        "run": run,
        "name": f"{row['backend']} {row['index']} {row['tuning']}".strip(),
        "error": row["error"],
        "config": repr(one.config) if one.config else "",
        "heads": ["query", *names],
        "rows": rows,
    }


def _rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    return list(zip(*(frame.iloc[:, at] for at in range(frame.shape[1])), strict=True))
