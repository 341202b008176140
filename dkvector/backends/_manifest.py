"""What counts in a store's folder: the manifest, as text with a checksum of its own. No I/O.

The keys are explained in docs/format.md.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import orjson

from dkvector.errors import SchemaError

FORMAT = 3
READABLE = (1, 2, 3)
MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Stored:
    """A file of the folder.

    Attributes:
        file: its name.
        rows: how many rows it covers.
        bytes: its size.
        crc32: its checksum; None in a temporary store.
        spec: of an index file: what it is.
        bulk: from which byte to which lies what is read through only on demand: vectors, or what Faiss maps.
        rest_crc32: checksum of everything else.
    """

    file: str
    rows: int
    bytes: int
    crc32: int | None
    spec: dict[str, Any] | None = None
    bulk: tuple[int, int] | None = None
    rest_crc32: int | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """Read what JSON keeps."""
        bulk = values.get("bulk")
        # as a tuple, as it was written: a list would make it unequal to that, and no key of a dict
        return cls(**dict(values) | {"bulk": None if bulk is None else (int(bulk[0]), int(bulk[1]))})

    @property
    def rest(self) -> int:
        """Bytes outside the bulk."""
        return self.bytes - (self.bulk[1] - self.bulk[0] if self.bulk else 0)


@dataclass(frozen=True)
class LogFile:
    """The log of a folder: small writes since the manifest.

    Attributes:
        file: its name.
        bytes: its size, which stays.
        salt: a number that its records begin with, and no other log's.
    """

    file: str
    bytes: int
    salt: int


@dataclass(frozen=True)
class Manifest:
    """What counts in the folder.

    Attributes:
        generation: counts the commits.
        vectors: the vector fields.
        segments: the row files, in order.
        dead: the mask of dead rows, where there is one.
        buried: positions of rows that died since the mask was written.
        indexes: field → its index file.
        specs: field → the index that is wanted, whether its file is there or not.
        log: small writes that came later, where there are any.
    """

    generation: int = 0
    vectors: tuple[dict[str, Any], ...] = ()
    segments: tuple[Stored, ...] = ()
    dead: Stored | None = None
    buried: tuple[int, ...] = ()
    indexes: dict[str, Stored] = field(default_factory=dict)
    specs: dict[str, dict[str, Any]] = field(default_factory=dict)
    log: LogFile | None = None

    def to_json(self) -> bytes:
        """Give the text of the file: the checksum comes last.

        Example:
            >>> Manifest.from_json(Manifest(generation=7).to_json(), Path("words")).generation
            7
        """
        values = {"format": FORMAT, **vars(self)}
        return orjson.dumps(values | {"crc32": _checksum(values)}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, text: bytes, where: Path) -> Manifest:
        """Read the text of the file.

        Args:
            text: the file's bytes.
            where: the folder, for messages.

        Raises:
            SchemaError: a format that a later version wrote, or a text that is damaged.
        """
        values = _parsed(text, where)
        try:
            values["segments"] = tuple(Stored.of(one) for one in values["segments"])
            values["dead"] = Stored.of(values["dead"]) if values["dead"] else None
            values["buried"] = tuple(values.get("buried", ()))
            values["log"] = LogFile(**values["log"]) if values.get("log") else None
            values["indexes"] = {name: Stored.of(one) for name, one in values["indexes"].items()}
            return cls(**values | {"vectors": tuple(values["vectors"])})
        except (TypeError, KeyError, AttributeError, ValueError, IndexError) as exc:
            raise _damaged(where, f"{type(exc).__name__}: {exc}") from exc

    def __iter__(self) -> Iterator[Stored]:
        """Give all files that count and do not change."""
        yield from self.segments
        yield from self.indexes.values()
        if self.dead:
            yield self.dead

    @property
    def files(self) -> set[str]:
        """Names of all files that count."""
        return {one.file for one in self} | ({self.log.file} if self.log else set())


def _parsed(text: bytes, where: Path) -> dict[str, Any]:
    try:
        values = orjson.loads(text)
    except ValueError as exc:
        raise _damaged(where, str(exc)) from exc
    if not isinstance(values, dict):
        raise _damaged(where, "no object")
    told, crc = values.get("format"), values.pop("crc32", None)
    if told not in READABLE:
        raise SchemaError(f"{where} was written by another version of dkvector; this one reads format {FORMAT}")
    # format 1 had no checksum of its own
    if crc != (None if told == 1 else _checksum(values)):
        raise _damaged(where, "its checksum is another")
    return {name: value for name, value in values.items() if name != "format"}


def _checksum(values: Mapping[str, Any]) -> int:
    """Compute a CRC-32 of what is said, without the white space."""
    return zlib.crc32(orjson.dumps(values))


def _damaged(where: Path, why: str) -> SchemaError:
    return SchemaError(f"{where / MANIFEST} is damaged: {why}")
