"""Bulk writes: pieces in flight beside each other, few at a time; what was refused for want of room is sent again."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dkvector.backends._documents import Piece
from dkvector.backends._wire import BUSY, TOO_LARGE, Wire, WireError, meant
from dkvector.errors import BackendUnavailableError, DkvectorError

_CREATED = 201
_REFUSED = 300
_MISSING = 404
_FULL = {BUSY, 503}
_SHOWN = 300  # characters of a reason
_BLOCKED = (
    "{}: {} A process copies the index, for build_index() or prune(): write again when it is done. Where none does, "
    "it was killed: the same call again makes the copy, and takes the block back; or set index.blocks.write to null"
)
_GONE = "{}: {}: another process has replaced or dropped the index; write again what was not stored"


@dataclass(frozen=True)
class Effort:
    """How hard a write may press.

    Args:
        bytes: of one request, more or less.
        in_flight: requests beside each other.
        retries: how often a row is sent again that the engine had no room for.
        pause: seconds before the first of them; each next one waits twice as long, up to `longest`.
        longest: seconds.
        patience: seconds after which rows are not sent again, however few their retries were.
        answer: seconds that the engine may take for one request: it holds them up while it merges graphs.
    """

    bytes: int = 4 << 20
    in_flight: int = 4
    retries: int = 10
    pause: float = 0.1
    longest: float = 10.0
    patience: float = 60.0
    answer: float = 300.0


@dataclass
class Tally:
    """What became of the rows.

    Attributes:
        created: rows that were new.
        replaced: rows that were there.
        missing: rows to delete that were not there.
        failed: row → why it is not stored.
        lost: the error that ended the write early.
    """

    created: int = 0
    replaced: int = 0
    missing: int = 0
    failed: dict[int, str] = field(default_factory=dict)
    lost: DkvectorError | None = None


@dataclass
class Bulk:
    """One bulk write.

    Args:
        wire: the client.
        path: of the requests.
        params: of every request.
        effort: how hard to press.
        done: told of rows that are stored.
    """

    wire: Wire
    path: str
    params: Mapping[str, Any]
    effort: Effort
    done: Callable[[int], object]
    tally: Tally = field(default_factory=Tally)
    refusal: str = ""  # why rows were to be sent again, last

    async def run(self, pieces: Iterable[Piece], total: int) -> Tally:
        """Write pieces.

        A piece is only encoded when there is room for it, so that memory holds those in flight and no more.

        Args:
            pieces: what to write, made while it goes, in the order of the rows.
            total: how many rows there are.

        Returns:
            What became of every row: none is passed over in silence.
        """
        flying: set[asyncio.Task[None]] = set()
        left = 0
        try:
            for piece in pieces:
                while len(flying) >= self.effort.in_flight:
                    landed, flying = await asyncio.wait(flying, return_when=asyncio.FIRST_COMPLETED)
                    _check(landed)
                if self.tally.lost is not None:
                    break
                flying.add(asyncio.create_task(self._store(piece)))
                # rows from here on were not even sent, and are told as lost where the write ends early
                left = piece.rows[-1] + 1
                # let it leave before the next one is encoded
                await asyncio.sleep(0)
            _check(flying and (await asyncio.wait(flying))[0])
        finally:
            for task in flying:
                task.cancel()
        if self.tally.lost is not None:
            self._lose(range(left, total), self.tally.lost)
        return self.tally

    def _lose(self, rows: Sequence[int], error: DkvectorError) -> None:
        # the first: what goes wrong after it mostly follows from it
        self.tally.lost = self.tally.lost or error
        self.tally.failed.update(dict.fromkeys(rows, str(error)[:_SHOWN]))

    async def _store(self, piece: Piece) -> None:
        """Send a piece, and again what the engine had no room for, until all of it is stored or refused."""
        left, end = piece, time.monotonic() + self.effort.patience
        for tries in range(self.effort.retries + 1):
            if tries:
                if time.monotonic() > end:
                    break
                wait = min(self.effort.longest, self.effort.pause * 2 ** (tries - 1))
                await asyncio.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - so that writers don't come back together
            try:
                answer = await self.wire.send(
                    "POST", self.path, left.body, params=self.params, patience=self.effort.answer
                )
                again = self._counted(left, answer)
            except WireError as exc:
                # the engine's limit of a request, or that of a proxy before it, is below ours
                if exc.status == TOO_LARGE and len(left.rows) > 1:
                    half = len(left.rows) // 2
                    await self._store(left.only(range(half)))
                    return await self._store(left.only(range(half, len(left.rows))))
                if exc.status not in _FULL:
                    return self._lose(left.rows, meant(exc, self.wire.engine))
                self.refusal = str(exc)
                again = list(range(len(left.rows)))
            except BackendUnavailableError as exc:
                # no answer tells what became of the rows: to write them again is safe, but the caller's to decide
                return self._lose(left.rows, exc)
            if not again:
                return None
            left = left.only(again)
        return self._lose(left.rows, BackendUnavailableError(f"{self.wire.engine} stores no more: {self.refusal}"))

    def _counted(self, piece: Piece, answer: Any) -> list[int]:
        """Count what became of each row.

        Returns:
            Places in the piece of those to send again.
        """
        again, stored = [], 0
        for place, item in enumerate(answer["items"]):
            (told,) = item.values()
            status = told["status"]
            if status < _REFUSED:
                stored += 1
                self.tally.created += status == _CREATED
                self.tally.replaced += status != _CREATED
            elif _is_gone(told):
                # so it is for every other row
                self._lose(piece.rows, BackendUnavailableError(_GONE.format(self.wire.engine, _reason(told))))
                return []
            elif status == _MISSING:
                self.tally.missing += 1
            elif _is_blocked(told):
                # so is every other row
                self._lose(piece.rows, BackendUnavailableError(_BLOCKED.format(self.wire.engine, _reason(told))))
                return []
            elif status in _FULL:
                self.refusal = _reason(told)
                again.append(place)
            else:
                self.tally.failed[piece.rows[place]] = _reason(told)
        self.done(stored)
        return again


def _check(landed: Iterable[asyncio.Task[None]]) -> None:
    for task in landed:
        # what is not an answer of the engine is a bug, and must be seen
        task.result()


def _is_blocked(told: Any) -> bool:
    """Tell whether an index takes no writes: a copy of it is being made, or was cut off."""
    error = told.get("error") or {}
    return error.get("type") == "cluster_block_exception" and "index write (api)" in str(error.get("reason"))


def _is_gone(told: Any) -> bool:
    """Tell whether the index is not there: another process has replaced or dropped it just now."""
    return (told.get("error") or {}).get("type") == "index_not_found_exception"


def _reason(told: Any) -> str:
    error = told.get("error") or {}
    # the innermost tells what is wrong with the value, those around it only with which document
    while isinstance(error.get("caused_by"), dict):
        error = error["caused_by"]
    return str(error.get("reason") or f"status {told['status']}")[:_SHOWN]
