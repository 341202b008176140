"""Calls that fail: the n-th of all that are counted, before it has done its work or after."""

from dkvector.errors import BackendUnavailableError


class Faults:
    """Counts calls, and has the one at `at` fail; 0 for none.

    Args:
        at: which one, from 1.
        after: it does its work first, as when a connection is lost before the answer comes.
    """

    def __init__(self, at=0, *, after=False) -> None:
        self.at, self.after, self.calls, self.hit = at, after, 0, ""

    def watch(self, thing, names):
        """Count the calls of some coroutine functions and asynchronous generators of an object."""
        for name in names:
            method = getattr(thing, name)
            setattr(thing, name, self._watched(thing, name, method))
        return thing

    def _watched(self, thing, name, method):
        def called(*args, **kwargs):
            due = self._counted(f"{type(thing).__name__}.{name}")
            found = method(*args, **kwargs)
            return self._items(found, due) if hasattr(found, "__aiter__") else self._result(found, due)

        return called

    def _counted(self, name):
        self.calls += 1
        if self.calls == self.at:
            self.hit = name
        return self.calls == self.at

    async def _result(self, coroutine, due):
        if due and not self.after:
            coroutine.close()
            raise BackendUnavailableError(f"{self.hit} was made to fail")
        result = await coroutine
        if due:
            raise BackendUnavailableError(f"{self.hit} was made to fail, after its work")
        return result

    async def _items(self, items, due):
        if due and not self.after:
            raise BackendUnavailableError(f"{self.hit} was made to fail")
        async for one in items:
            yield one
        if due:
            raise BackendUnavailableError(f"{self.hit} was made to fail, after its work")
