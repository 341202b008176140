"""How far a replica is, in a file beside the store's own."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from dkvector.errors import BackendUnavailableError, SchemaError


@dataclass(frozen=True)
class State:
    """How far a replica is.

    Attributes:
        table: the server's number of the table.
        changes: that of the table of its changes.
        position: changes before it are in the replica.
        fields: the vector fields that it has.
        loaded: the first load is complete.
    """

    table: int
    changes: int
    position: int
    fields: tuple[str, ...]
    loaded: bool = False

    def write(self, path: Path) -> None:
        """Replace the file as a whole.

        Raises:
            BackendUnavailableError: the disk can't take it; the old one stays.
        """
        try:
            self._replace(path)
        except OSError as exc:
            raise BackendUnavailableError(f"{path} can't be written: {exc}") from exc

    def _replace(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".fresh")
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file)
            file.flush()
            # on the disk before it takes the old one's place: a crash leaves one of the two whole
            os.fsync(file.fileno())
        fresh.replace(path)

    @classmethod
    def read(cls, path: Path) -> State | None:
        """Read the file; None where there is none.

        Raises:
            SchemaError: it is damaged.
        """
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            return cls(**told | {"fields": tuple(told["fields"])})
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError) as exc:
            raise SchemaError(f"{path} is damaged: remove the folder, and the replica is loaded anew") from exc
