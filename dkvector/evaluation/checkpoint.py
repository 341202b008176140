"""Finished runs in a file of JSON lines: what is there is not measured again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from dkvector.errors import SchemaError

START = b'{"key":"'  # of every line
Outcome = dict[str, Any]  # "run": the row; "queries": name → list, one value for each query


class Checkpoint:
    """Runs by the digest of all that they depend on.

    Args:
        path: the file; None keeps nothing.

    Raises:
        SchemaError: a file of something else.
        OSError: a file that can't be written to.
    """

    def __init__(self, path: str | PathLike[str] | None) -> None:
        self.path = None if path is None else Path(path).expanduser()
        self.known: dict[str, Outcome] = {}
        if self.path is not None:
            self._open(self.path)

    def _open(self, path: Path) -> None:
        there = path.exists()
        path.parent.mkdir(parents=True, exist_ok=True)
        # one that can't be written to is to be known before hours of measuring
        path.open("ab").close()
        if there:
            self._read(path)
        else:
            path.unlink()

    def _read(self, path: Path) -> None:
        """Read what is there; the last line may have been cut off with its process."""
        import orjson  # noqa: PLC0415 - who keeps nothing does not wait for it

        lines = path.read_bytes().split(b"\n")
        for number, line in enumerate(lines, 1):
            if not line:
                continue
            try:
                held = orjson.loads(line)
                self.known[held["key"]] = {"run": held["run"], "queries": held["queries"]}
            except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
                # only what began as a line of ours is cut off: any other file stays as it is, and is refused
                if number == len(lines) and line.startswith(START[: len(line)]):
                    os.truncate(path, path.stat().st_size - len(line))
                    return
                raise SchemaError(f"{path} holds no runs of an evaluation: see its line {number}") from exc
        if lines[-1]:  # whole but for its end, after which the next line must not go on
            self._append(path, b"\n")

    def _append(self, path: Path, line: bytes) -> None:
        size = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(line)
        except BaseException:
            # half a line would make the next one unreadable too
            os.truncate(path, size)
            raise

    def add(self, key: str, outcome: Outcome) -> None:
        """Keep a run; it is in the file when this returns."""
        if self.path is None:
            return
        self.known[key] = outcome
        import orjson  # noqa: PLC0415 - likewise

        line = orjson.dumps({"key": key, **outcome}, option=orjson.OPT_SERIALIZE_NUMPY, default=_plain)
        self._append(self.path, line + b"\n")


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)
