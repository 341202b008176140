"""Vectors of texts that were embedded lately, kept with the encoder that made them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any
from weakref import finalize

from dkvector._fork import Lock
from dkvector.metrics import Floats

REMEMBERED = 1 << 28  # bytes of vectors kept of each encoder


class Memory:
    """The vectors of texts seen lately, up to so many bytes.

    What a call puts in or takes out is not forgotten before the call ends: a call of more texts than fit keeps the
    first of them, so that the same call, after an interruption, finds them.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._held: OrderedDict[str, Floats] = OrderedDict()
        self._lock = Lock()

    def known(self, texts: Iterable[str]) -> dict[str, Floats]:
        """Give what is known of these texts, and mark it as used last."""
        with self._lock:
            found = {text: self._held[text] for text in texts if text in self._held}
            for text in found:
                self._held.move_to_end(text)
        return found

    def add(self, vectors: dict[str, Floats], using: int) -> None:
        """Remember vectors; the `using` last ones stay whatever happens."""
        with self._lock:
            for text, vector in vectors.items():
                while self._held and self._size + vector.nbytes > self._limit and len(self._held) > using:
                    self._size -= self._held.popitem(last=False)[1].nbytes
                if self._size + vector.nbytes > self._limit:
                    return
                if text not in self._held:
                    # a row of its own: it must not keep its whole batch alive
                    self._held[text] = vector.copy()
                    self._size += vector.nbytes
                    using += 1

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._held.clear()
            self._size = 0


# By the identity of the encoder, as two that are equal need not give equal vectors; an entry goes with its encoder,
# before another object can have its `id`. A model's methods have a memory each.
_MEMORIES: dict[int, dict[Any, Memory]] = {}


def memory_of(call: Callable[..., Any]) -> Memory:
    """Find the memory of an encoder's callable, or make it."""
    owner, method = owner_of(call), getattr(call, "__func__", None)
    try:
        if id(owner) not in _MEMORIES:
            finalize(owner, _MEMORIES.pop, id(owner), None)
            _MEMORIES[id(owner)] = {}
    except TypeError:  # it can't be watched, so that its `id` is no name for it
        return Memory(REMEMBERED)
    # two threads may come at once: both get the memory that stands there first
    return _MEMORIES[id(owner)].setdefault(method, Memory(REMEMBERED))


def owner_of(call: Any) -> Any:
    """Give the model of a bound method, which is another object at every access."""
    return call.__self__ if isinstance(call, MethodType) else call
