"""What a view of a store may be asked for: a method that no permission names is refused wherever anything is."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dkvector.errors import AccessDeniedError, SchemaError, hint

EVERYTHING = frozenset({"search", "read", "vectors", "write", "delete", "manage"})
OPEN = frozenset({"aclose", "count", "engine", "indexes", "refresh"})  # for whoever may do anything
NEEDS: Mapping[str, frozenset[str]] = {
    name: frozenset(needs.split())
    for needs, names in {
        "search": "search explain compile why_not keyword_search search_similar",
        "read": "get scan read stream_read",
        "search read": "find",
        "write": "upsert load create update update_vector stream_write",
        "write manage": "index_vectors",
        "delete": "delete delete_from_index",
        "manage": "add_vector_field backfill build_index drop index_columns stats verify "
        "record_model reembed switch rollback prune versions",
    }.items()
    for name in names.split()
}


def as_permissions(can: str | Iterable[str] | None) -> frozenset[str]:
    """Read what is allowed; None is everything.

    Raises:
        SchemaError: no permission, or one that is not known.
    """
    wanted = EVERYTHING if can is None else frozenset([can] if isinstance(can, str) else can)
    for name in wanted - EVERYTHING:
        raise SchemaError(f"no permission {name!r}; {hint(str(name), sorted(EVERYTHING))}")
    if not wanted:
        raise SchemaError(f"a view that can do nothing is of no use; {hint('', sorted(EVERYTHING))}")
    return wanted


def check(can: frozenset[str], method: str, *, include_vectors: bool = False) -> None:
    """Refuse a call that a view's permissions don't cover.

    Raises:
        AccessDeniedError: names what is allowed.
    """
    if can == EVERYTHING or (method in OPEN and not include_vectors):
        return
    if method not in NEEDS or not NEEDS[method] <= can:
        raise AccessDeniedError(f"this view of the store has no {method}(): it can {listed(can)}")
    if include_vectors and "vectors" not in can:
        raise AccessDeniedError(f"this view of the store gives no vectors: it can {listed(can)}")


def listed(can: frozenset[str]) -> str:
    """List permissions for people."""
    return "do everything" if can == EVERYTHING else ", ".join(sorted(can))


def guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    """Have a method ask for permission.

    What it calls in its turn goes to the view's free twin: `why_not` reads rows for a view that can only search.
    """
    if hasattr(method, "_guarded"):
        return method

    @functools.wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        # by name only, as every method takes it
        check(self.can, method.__name__, include_vectors=bool(kwargs.get("include_vectors")))
        return method(self._twin, *args, **kwargs)

    call._guarded = True  # type: ignore[attr-defined]  # noqa: SLF001 - told to the line above
    return call


class Guarded:
    """Every public coroutine and stream of a class, those to come included, asks for permission."""

    _can: frozenset[str] = EVERYTHING

    @property
    def can(self) -> frozenset[str]:
        """What may be asked for."""
        return self._can

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in dir(cls):
            # as it stands in the class: nothing is bound, and no property runs
            member = inspect.getattr_static(cls, name)
            if name[0] != "_" and (inspect.iscoroutinefunction(member) or inspect.isasyncgenfunction(member)):
                setattr(cls, name, guarded(member))

    @property
    def _twin(self) -> Any:
        """The same view, by the same state, without a guard; it is never given away."""
        if self.can == EVERYTHING:
            return self
        twin = object.__new__(_free(type(self)))  # type: ignore[arg-type]  # a class is hashable
        # one state for both: what the twin sets, the view has
        twin.__dict__ = self.__dict__
        return twin


@functools.cache
def _free(cls: Any) -> type[Any]:
    return type(cls.__name__, (cls,), {"can": EVERYTHING})
