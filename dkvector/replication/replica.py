"""`dkv.replica(source, path)`: a local store that is kept like a table in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dkvector._loop import LOOP
from dkvector.blocking import VectorStore
from dkvector.errors import DkvectorError, UnsupportedError
from dkvector.indexes import IndexSpec, as_spec
from dkvector.registry import Target, connect
from dkvector.replication.keeping import Keeping, Refreshed


class Replica:
    """A local store that is kept like a table in PostgreSQL.

    Attributes:
        store: the local store, which can be searched and read, and not written to.
    """

    def __init__(self, keeping: Keeping, source: VectorStore, target: VectorStore, *, owned: bool) -> None:
        self._keeping, self._source, self._target, self._owned = keeping, source, target, owned
        self.store = target.restricted(can={"search", "read", "vectors"})

    def refresh(self) -> Refreshed:
        """Bring over what has changed until now.

        Returns:
            How many rows were written and deleted by this call.

        Raises:
            BackendUnavailableError: the server can't be reached; the replica stays as it was.
        """
        return LOOP.run(self._keeping.refresh())

    @property
    def following(self) -> bool:
        """Whether changes are brought over as they come."""
        return self._keeping.following

    @property
    def error(self) -> DkvectorError | None:
        """What keeps the replica from following; None while nothing does. A lost connection is made again."""
        return self._keeping.error

    def uninstall(self) -> None:
        """Have the server note changes no longer; every replica of the table ends with it."""
        LOOP.run(self._keeping.stop())
        LOOP.run(self._keeping._feed.uninstall())  # noqa: SLF001 - its own half

    def close(self) -> None:
        """Stop following; the local store stays as it is, and goes on from there when it is opened again."""
        LOOP.run(self._keeping.stop())
        self._target.close()
        if self._owned:
            self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        how = "following" if self.following else f"stopped: {self.error}" if self.error else "not following"
        return f"<Replica of {self._source.name}, {how}: {self._target!r}>"


def replica(
    source: VectorStore | Target,
    path: str | PathLike[str],
    *,
    table: str | None = None,
    on: str | Sequence[str] | None = None,
    index: IndexSpec | str | None = None,
    install: bool = False,
    follow: bool = True,
    encoder: Any = None,
    progress: bool | None = None,
) -> Replica:
    """Keep a local Faiss store like a table in PostgreSQL, for searches that no network waits for.

    Rows are loaded once; from then on only those that have changed. The server's triggers note their keys in a table
    beside, so that nothing is lost while the replica is away, and tell it by NOTIFY. Rows that lack a vector are left
    out. Triggers don't fire for writes by logical replication, nor for writers that have turned them off.

    Args:
        source: a store of pgvector, or its URL or config; a store that is given stays open when the replica is closed.
        path: the folder of the local store.
        table: the table, where the source is a URL.
        on: the vector fields to bring over, all that there are by default; those that come later are left out.
        index: of the local store: "flat", "hnsw", "ivf", or a spec.
        install: let the table's owner have the triggers and the table of changes made, where they are not there.
        follow: bring changes over as they come; otherwise at each `refresh()`.
        encoder: embeds the texts of ``store.search(text=…)``.
        progress: show a bar; None shows one when there is much to load.

    Returns:
        The replica: search its `store`.

    Raises:
        UnsupportedError: a backend that tells of no changes, or changes that are not noted; tells what would note them.
        SchemaError: the folder is the replica of another table.
        BackendUnavailableError: the server can't be reached.

    Example:
        >>> import tempfile
        >>> import pandas as pd
        >>> from dkvector import local
        >>> frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]}, index=["a", "b"])
        >>> with local.postgres() as server, tempfile.TemporaryDirectory() as folder:
        ...     with connect(server.url, table="words") as words:
        ...         _ = words.upsert(frame)
        ...         with replica(words, folder, install=True, follow=False) as near:
        ...             words.delete("a")
        ...             near.refresh()
        ...             near.store.search([1.0, 0.0]).index.tolist()
        1
        Refreshed(written=0, deleted=1)
        ['b']
    """
    owned = not isinstance(source, VectorStore)
    origin = source if isinstance(source, VectorStore) else connect(source, table=table)
    # what is opened here is closed again where the rest fails
    opened = [origin] if owned else []
    try:
        _check(origin)
        opened.append(target := connect("faiss", path=path, encoder=encoder))
        target.store.planned = spec = None if index is None else as_spec(index)
        keeping = Keeping(origin.store, target.store, Path(path).expanduser())
        LOOP.run(keeping.begin([on] if isinstance(on, str) else on, install=install, progress=progress))
        _index(target, spec, progress)
        if follow:
            LOOP.run(keeping.start())
    except BaseException:
        for one in opened:
            one.close()
        raise
    return Replica(keeping, origin, target, owned=owned)


def _check(source: VectorStore) -> None:
    if not hasattr(source.store, "change_feed"):
        raise UnsupportedError(f"{source.name} tells of no changes: a replica is one of a table in PostgreSQL")


def _index(target: VectorStore, spec: IndexSpec | None, progress: bool | None) -> None:
    """Build the index that is wanted, where the store has another."""
    for info in target.store.known.vectors if spec is not None and not target.store.empty else ():
        if target.indexes()[info.name].kind != spec.kind:  # type: ignore[union-attr]  # there is one, or no field
            target.build_index(spec, info.name, progress=progress)  # type: ignore[arg-type]
