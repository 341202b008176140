"""Views of a store: what each of them adds."""

import asyncio
import gc
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from types import FunctionType, ModuleType, SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import dkvector as dkv
from dkvector.backends._local import LocalStore
from dkvector.backends._search_engine import EngineStore
from dkvector.backends.exact import ExactStore
from dkvector.backends.faiss import FaissStore
from dkvector.backends.pgvector import PgVectorStore
from dkvector.store import AsyncVectorStore
from dkvector.testing import sample_frame, sample_queries
from dkvector.views import Audited, Cached, Limited, Restricted, cached
from dkvector.views._permissions import EVERYTHING, NEEDS, OPEN
from dkvector.views._view import View

QUERY = sample_queries(1)[0]


async def filled(cls=ExactStore, config=None):
    store = await cls.open(config or {})
    await store.upsert(sample_frame())
    return store


class Counting(View):
    """Counts what comes through."""

    def __init__(self, store) -> None:
        super().__init__(store)
        self.asked = []

    async def _ask(self, asked, answer):
        self.asked.append(asked.operation)
        return await answer()


def contract():
    """The private methods that some backend has in place of the contract's."""
    ours = {name for cls in AsyncVectorStore.__mro__[:-1] for name in vars(cls)}
    made = {name for cls in (LocalStore, ExactStore, FaissStore, PgVectorStore, EngineStore) for name in vars(cls)}
    return {name for name in made & ours if callable(getattr(AsyncVectorStore, name, None)) and not name.endswith("__")}


def test_a_view_passes_on_all_that_a_backend_may_do_its_own_way():
    assert contract() - set(vars(View)) == set()
    assert {"_search", "_scan", "stats", "_while_loading", "aclose"} <= contract()


# --- restricted -------------------------------------------------------------------------------------------------------


def public(cls=AsyncVectorStore):
    """Every public coroutine and stream of a store, and every other public name."""
    members = {name: inspect.getattr_static(cls, name) for name in dir(cls) if name[0] != "_"}
    waits = {name for name, one in members.items() if inspect.iscoroutinefunction(inspect.unwrap(one)) or name in NEEDS}
    waits -= {"open"}
    return waits, set(members) - waits - {"open"}


def test_every_method_has_a_permission_or_is_open():
    assert public()[0] == set(NEEDS) | OPEN


@pytest.mark.parametrize("cls", [Restricted, Audited, Cached, Limited])
def test_every_method_of_a_view_asks_for_permission(cls):
    assert public(cls)[0] == public()[0]
    assert [name for name in public(cls)[0] if not hasattr(getattr(cls, name), "_guarded")] == []


def test_no_other_public_name_leads_anywhere():
    known = {"closed", "dimension", "empty", "encoder", "inline", "known", "last", "metric", "name", "planned"}
    assert public(Restricted)[1] == known | {"can", "schema", "supports", "tuning", "verified", "written"}


@pytest.mark.parametrize("permission", sorted(EVERYTHING))
async def test_what_is_not_permitted_is_refused(permission):
    store = Restricted(await filled(), can=permission)
    for name in sorted(public()[0] - OPEN):
        if NEEDS[name] <= {permission}:
            continue
        with pytest.raises(dkv.AccessDeniedError, match=rf"no {name}\(\): it can {permission}$"):
            getattr(store, name)()


async def test_a_method_that_is_new_is_refused_and_free_for_who_can_do_all():
    class Newer(Restricted):
        async def shuffle(self):
            return "shuffled"

    store = await filled()
    assert await Newer(store).shuffle() == "shuffled"
    with pytest.raises(dkv.AccessDeniedError, match=r"no shuffle\(\)"):
        await Newer(store, can=EVERYTHING - {"manage"}).shuffle()


async def test_a_view_of_a_restricted_view_can_do_no_more():
    store = Restricted(await filled(), can={"search", "read"}, where="n < 100")
    for view in (Cached(store), Audited(store, print), Limited(store, dkv.RateLimit(1e6)), Restricted(store)):
        assert view.can == {"search", "read"}
        for refused in (lambda view=view: view.delete("id 0001"), lambda view=view: view.upsert(sample_frame(3))):
            with pytest.raises(dkv.AccessDeniedError):
                await refused()
        assert await view.count() == 90
    with pytest.raises(AttributeError):
        store.can = EVERYTHING


async def test_no_public_attribute_is_the_store_or_its_rows():
    inner = await filled()
    view = Restricted(inner, can="search")
    reached = {id(getattr(view, name)) for name in dir(view) if name[0] != "_"}
    assert id(inner) not in reached
    with pytest.raises(AttributeError):
        _ = view.rows


def held(thing):
    """Everything that an object holds, directly or not, but for types, modules and functions."""
    left, seen = [thing], {}
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen[id(one)] = one
        left += gc.get_referents(one)
    return seen.values()


@pytest.mark.parametrize(
    "knobs", [{"where": "n < 50"}, {"can": {"search", "read"}}], ids=["within where", "within rights"]
)
@pytest.mark.parametrize("way", ["search", "keyword", "hybrid"])
async def test_no_answer_holds_the_snapshot_of_all_rows(way, knobs):
    inner = await filled()
    hits = await ASK[way](Restricted(inner, **knobs))
    assert all(one is not inner._rows for one in held(hits))
    assert [one for one in held(hits) if isinstance(one, AsyncVectorStore)] == []


ASK = {
    "search": lambda store: store.search(QUERY, k=300),
    "many": lambda store: store.search(sample_queries(3), k=300),
    "keyword": lambda store: store.keyword_search("plain back slash Neil", on="name", k=300),
    "hybrid": lambda store: store.search(QUERY, text="plain Neil", k=300),
}


@pytest.fixture
async def mine():
    return Restricted(await filled(), where=dkv.col("name").isin(["O'Neil", "under_score"]) & (dkv.col("n") < 150))


@pytest.fixture
def own(frame):
    return set(frame.index[frame["name"].isin(["O'Neil", "under_score"]) & (frame["n"] < 150).fillna(value=False)])


@pytest.fixture
def frame():
    return sample_frame()


@pytest.mark.parametrize("way", ASK)
async def test_only_own_rows_are_found(mine, own, way):
    found = set((await ASK[way](mine)).ids)
    assert found
    assert found <= own
    if way in {"search", "many", "hybrid"}:
        assert found == own


async def test_only_own_rows_are_read(mine, own):
    assert await mine.count() == len(own)
    assert {one async for batch in mine.scan(columns=[]) for one in batch.column(0).to_pylist()} == own
    assert {one.id async for one in mine.stream_read()} == own
    assert {one.id for one in await mine.find(dkv.Query())} == own
    assert {one.id for one, _ in await mine.search_similar(QUERY, k=300)} == own
    label = min(own)
    assert (await mine.get([label], columns=["x"])).column_names == ["key", "x"]
    assert (await mine.read(label)).id == label
    with pytest.raises(dkv.NotFoundError, match=r"'id 0002', 'nobody' \(2 rows\)"):
        await mine.get(["id 0002", label, "nobody"])
    with pytest.raises(dkv.NotFoundError, match=r"in the store: 'id 0002' \(1 row\)"):
        await mine.get([label, "id 0002"])
    assert await mine.read("id 0002") is None
    assert await mine.update("id 0002", dkv.Record({"embedding": QUERY})) is False


async def test_what_others_rows_are_like_is_not_told(mine, own):
    with pytest.raises(dkv.NotFoundError):
        await mine.search(like="id 0002")
    assert (await mine.why_not("id 0002", QUERY)).verdict == "not stored"
    told = await mine.explain(QUERY, k=3)
    assert (told.rows, told.native) == (len(own), {})
    await mine.search(QUERY, k=3)
    assert mine.last.rows is None
    assert "300" not in repr(mine) + mine._repr_html_()
    for refused in (mine.stats, mine.drop):
        with pytest.raises(dkv.AccessDeniedError, match="some of the rows"):
            await refused()


async def test_a_filter_can_not_widen_the_views_own(mine, own):
    for where in ("n >= 0 or n < 0 or n.isna()", dkv.col("name") != "O'Neil", {"name": ["plain", "O'Neil"]}):
        assert {one for batch in [await mine.search(QUERY, k=300, where=where)] for one in batch.ids} <= own
    assert await mine.delete(where="n >= 0") == len(own)
    assert await mine._inner.count() == 300 - len(own)


async def test_rows_of_others_are_neither_written_nor_deleted(mine, frame, own):
    inner = mine._inner
    before = (await inner.get(frame.index, include_vectors=True)).to_pydict()
    with pytest.raises(dkv.AccessDeniedError, match=r"not rows of this view.*'id 0000', 'id 0002'"):
        await mine.upsert(frame.head(4))
    taken = frame.loc[["id 0000", "id 0001"]].assign(name="O'Neil", n=pd.array([1, 1], "Int64"))
    with pytest.raises(dkv.AccessDeniedError, match=r"not this view's: 'id 0000' \(1 row\); nothing written"):
        await mine.upsert(taken)
    with pytest.raises(dkv.AccessDeniedError, match="replace all"):
        await mine.upsert(frame.loc[["id 0001"]], mode="replace")
    assert await mine.delete(["id 0000", "nobody"]) == 0
    assert (await inner.get(frame.index, include_vectors=True)).to_pydict() == before
    assert (await mine.upsert(frame.loc[sorted(own)])).replaced == len(own)
    new = frame.loc[["id 0001"]].set_axis(pd.Index(["new"], name="key"))
    assert (await mine.load(new, resume=True)).inserted == 1
    assert await inner.count() == 301


async def test_a_row_that_lacks_the_columns_is_not_the_views():
    store = Restricted(await ExactStore.open({}), where="team == 'red'")
    with pytest.raises(dkv.AccessDeniedError, match="not rows of this view"):
        await store.upsert(sample_frame(3))
    assert (await store.upsert(sample_frame(3).assign(team="red"))).inserted == 3
    assert await store.count() == 3


async def test_vectors_come_only_to_who_may_have_them():
    store = Restricted(await filled(), can={"search", "read"})
    for asking in (
        lambda: store.search(QUERY, include_vectors=True),
        lambda: store.get("id 0001", include_vectors=True),
        lambda: store.scan(include_vectors=True),
    ):
        with pytest.raises(dkv.AccessDeniedError, match="gives no vectors"):
            asking()
    assert "embedding" not in (await store.search_similar(QUERY, k=1))[0][0]
    assert "embedding" not in await store.read("id 0001")
    assert [one async for one in store.stream_read() if "embedding" in one] == []
    assert len((await store.search(like="id 0001", k=3)).ids) == 3
    assert (await store.why_not("id 0001", QUERY)).verdict == "too far"


async def test_vectors_leave_a_store_only_when_asked_for():
    store = await filled()
    searched = [await store.search(QUERY), await store.keyword_search("plain"), await store.search(QUERY, text="plain")]
    tables = [one.rows for one in searched] + [await store.get("id 0001")] + [one async for one in store.scan()]
    assert all("embedding" not in one.column_names for one in tables)


async def test_an_encoder_of_its_user_gains_nothing():
    store = Restricted(await filled(), can="search", where="n < 50")
    seen = []

    def encoder(texts):
        try:
            store.upsert(sample_frame(1))
        except dkv.AccessDeniedError as exc:
            seen.append(exc)
        return np.ones((len(texts), 16))

    store.encoder = encoder
    await store.search(text="a")
    assert len(seen) == 1


async def test_closing_the_view_leaves_the_store_open():
    inner = await filled()
    view = Restricted(inner, can="search")
    await view.aclose()
    with pytest.raises(dkv.BackendUnavailableError):
        await view.search(QUERY)
    assert await inner.count() == 300


@pytest.mark.parametrize("way", ["drop", "stats", "verify", "engine", "refresh", "indexes"])
async def test_a_closed_view_leads_nowhere(way):
    inner = await filled()
    view = Restricted(inner)
    await view.aclose()
    with pytest.raises(dkv.BackendUnavailableError, match="closed"):
        await getattr(view, way)()
    assert await inner.count() == 300


async def test_files_of_all_rows_are_not_told_through_a_filter(tmp_path):
    store = await filled(FaissStore, {"index_path": str(tmp_path / "s")})
    assert (await Restricted(store).verify())["rows"].sum() == 300
    with pytest.raises(dkv.AccessDeniedError, match="can't verify them all"):
        await Restricted(store, where="n < 50").verify()
    await store.aclose()


@pytest.mark.parametrize("cls", [Restricted, Cached], ids=lambda cls: cls.__name__)
async def test_a_view_knows_which_encoder_made_the_vectors_that_serve(cls):
    store = await filled()
    view = cls(store)
    await store.reembed(dkv.Encoder(lambda texts: [[1.0, len(one)] for one in texts], model="new"), "v2", text="name")
    await store.switch("v2", incomplete=True)
    assert len((await view.search(text="plain", k=3)).ids) == 3


async def test_permissions_and_filters_that_are_none():
    store = await filled()
    with pytest.raises(dkv.SchemaError, match="did you mean 'search'"):
        Restricted(store, can="serch")
    with pytest.raises(dkv.SchemaError, match="can do nothing"):
        Restricted(store, can=())
    with pytest.raises(dkv.FilterError, match="nope"):
        Restricted(store, where="nope == 1")


# --- cached -----------------------------------------------------------------------------------------------------------


@pytest.fixture(params=[ExactStore, FaissStore])
async def counted(request):
    inner = Counting(await filled(request.param))
    yield inner
    await inner.aclose()


async def test_the_same_question_is_asked_once(counted):
    store = Cached(counted)
    first, again = [(await store.search(QUERY, k=5, include_vectors=True)).to_frame() for _ in range(2)]
    pd.testing.assert_frame_equal(first, again)
    assert counted.asked == ["search"]
    assert store.last.native["cache"] == "answered before"
    assert [(await store.keyword_search("plain")).to_frame().shape for _ in range(2)] == [(10, 7)] * 2
    assert [(await store.get("id 0001", include_vectors=True)).num_rows for _ in range(2)] == [1, 1]
    assert [await store.count("n > 5") for _ in range(2)] == [267, 267]
    assert counted.asked == ["search", "keyword", "get", "count"]
    assert (await store.stats())[["cache_hits", "cache_misses"]].tolist() == [4, 4]


@pytest.mark.parametrize(
    "other",
    [
        {"k": 4},
        {"where": "n > 5"},
        {"where": "n > 5.5"},
        {"columns": ["n"]},
        {"include_vectors": True},
        {"tuning": {"exact": True}},
    ],
    ids=str,
)
async def test_another_question_is_another(counted, other):
    store = Cached(counted)
    await store.search(QUERY, k=5)
    await store.search(QUERY, **{"k": 5} | other)
    await store.search(QUERY[None], k=5)
    await store.search(-QUERY, k=5)
    assert counted.asked == ["search"] * 4


async def test_labels_are_those_of_the_question(counted):
    store = Cached(counted)
    found = [
        (await store.search(pd.DataFrame({"v": list(sample_queries(2))}, index=index)["v"], k=1)).queries.tolist()
        for index in (["a", "b"], ["c", "d"])
    ]
    assert found == [["a", "b"], ["c", "d"]]
    assert counted.asked == ["search"]


async def test_what_a_reader_does_to_an_answer_stays_with_them(counted):
    store = Cached(counted)
    hits = await store.search(QUERY, k=5)
    kept = hits.to_frame().copy(deep=True)
    hits.distances[:] = 7
    (await store.search(QUERY, k=5)).distances[:] = 7
    pd.testing.assert_frame_equal((await store.search(QUERY, k=5)).to_frame(), kept)


@pytest.mark.parametrize("past", [False, True], ids=["through the view", "past it"])
async def test_a_write_is_seen_at_once(counted, past):
    store = Cached(counted)
    writer = counted._inner if past else store
    await store.search(QUERY, k=1)
    await writer.upsert(sample_frame(1).set_axis(pd.Index(["new"], name="key")).assign(embedding=[QUERY]))
    assert list((await store.search(QUERY, k=1)).ids) == ["new"]
    await writer.delete("new")
    assert list((await store.search(QUERY, k=1)).ids) != ["new"]


async def test_an_answer_that_a_write_overtook_is_not_kept():
    inner = await filled()
    going, written = asyncio.Event(), asyncio.Event()

    class Slow(View):
        def _snapshot(self):
            return None  # as of a server

        async def _ask(self, asked, answer):
            made = await answer()
            if asked.operation == "search" and not written.is_set():
                going.set()
                await written.wait()
            return made

    store = Cached(Slow(inner))
    early = asyncio.create_task(store.search(QUERY, k=1))
    await going.wait()
    await store.upsert(sample_frame(1).set_axis(pd.Index(["new"], name="key")).assign(embedding=[QUERY]))
    written.set()
    assert list((await early).ids) != ["new"]
    assert list((await store.search(QUERY, k=1)).ids) == ["new"]


async def test_what_is_shown_at_the_end_of_a_load_is_seen():
    class Later(View):
        """As a search engine: what a load writes is shown when it is over."""

        hidden = 0

        def _snapshot(self):
            return None

        @asynccontextmanager
        async def _while_loading(self):
            self.hidden = 1
            yield
            self.hidden = 0

        async def _count(self, where):
            return await self._inner._count(where) - self.hidden

    store = Cached(Later(await filled()))

    async def rows():
        yield sample_frame(1).set_axis(pd.Index(["new"], name="key"))
        assert await store.count() == 300  # asked after the last write, and kept

    await store.stream_write(rows())
    assert await store.count() == 301


async def test_the_cache_is_bounded_in_bytes(counted):
    store = Cached(counted, 50_000)
    for at in range(40):
        await store.search(QUERY + at, k=20, include_vectors=True)
    assert 20_000 < (await store.stats())["cache_bytes"] <= 50_000
    await store.search(sample_queries(200), k=100, include_vectors=True)  # larger than all of it
    assert (await store.stats())["cache_bytes"] <= 50_000


async def test_a_cache_keeps_no_snapshot_alive():
    import weakref

    inner = await filled()
    store = Cached(inner)
    await store.search(QUERY)
    rows = weakref.ref(inner._rows)
    await inner.upsert(sample_frame(5))
    gc.collect()
    assert rows() is None


async def test_old_answers_go_after_a_time(monkeypatch):
    inner = Counting(await filled())
    now = [0.0]
    monkeypatch.setattr(cached, "time", SimpleNamespace(monotonic=lambda: now[0]))
    store = Cached(inner, seconds=60)
    await store.search(QUERY)
    now[0] = 59
    await store.search(QUERY)
    now[0] = 61
    await store.search(QUERY)
    assert inner.asked == ["search", "search"]


async def test_a_reader_sees_another_process_after_refresh(tmp_path):
    writer = await filled(FaissStore, {"index_path": str(tmp_path / "s")})
    await writer.aclose()
    reader = Cached(await FaissStore.open({"index_path": str(tmp_path / "s")}))
    writer = await FaissStore.open({"index_path": str(tmp_path / "s")})
    assert await reader.count() == 300
    await writer.delete("id 0001")
    assert await reader.count() == 300
    assert await reader.refresh()
    assert await reader.count() == 299
    await writer.aclose()
    await reader.aclose()


# --- limited ----------------------------------------------------------------------------------------------------------


class Virtual(asyncio.SelectorEventLoop):
    """A loop whose clock runs ahead to the next timer in place of a wait."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        select = self._selector.select

        def jump(timeout):
            self.now += timeout or 1e-6  # a clock that stands still would have the limiter wait for a rounding error
            return select(0 if timeout else timeout)

        self._selector.select = jump

    def time(self):
        return self.now


class Instant(ExactStore):
    """Answers without a thread, which no virtual clock waits for."""

    async def _count(self, where):  # noqa: ARG002
        return 7

    async def _scan(self, *asked, include_vectors):  # noqa: ARG002
        for _ in range(5):
            yield sample_frame(1)

    schema = object()


def after(count, limit, asking):
    """Run some questions, and tell when the last of them was answered."""

    async def run():
        store = Limited(Instant(), limit)
        await asyncio.gather(*(asking(store) for _ in range(count)))
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Virtual) as runner:
        return runner.run(run())


@pytest.mark.parametrize(
    ("count", "limit", "seconds"),
    [
        (10, dkv.RateLimit(10), 0),
        (30, dkv.RateLimit(10), 2),
        (30, dkv.RateLimit(10, burst=1), 2.9),
        (3, dkv.RateLimit(0.5), 4),
    ],
)
def test_questions_wait_for_their_turn(count, limit, seconds):
    assert after(count, limit, lambda store: store.count()) == pytest.approx(seconds, abs=0.01)


def test_loops_in_turn_wait_each_for_its_own_turn():
    store = Limited(Instant(), dkv.RateLimit(1, burst=1))

    async def asked():
        await store.count()
        return asyncio.get_running_loop().time()

    with asyncio.Runner(loop_factory=Virtual) as one, asyncio.Runner(loop_factory=Virtual) as other:
        answered = [runner.run(asked()) for _ in range(3) for runner in (one, other)]
    assert answered == pytest.approx([0, 0, 1, 1, 2, 2], abs=0.01)


def test_a_limiter_goes_when_its_loop_is_over():
    store = Limited(Instant(), dkv.RateLimit(1))
    for _ in range(3):
        asyncio.run(store.count())
    assert len(store._limiters) == 1


def test_loops_of_several_threads_begin_at_once(monkeypatch):
    make, both = dkv.RateLimit.limiter, threading.Barrier(2)

    def meet():
        with suppress(threading.BrokenBarrierError):
            both.wait(0.2)  # for the other thread to come as far, unless it has to wait for this one

    def meeting(limit):
        meet()
        return make(limit)

    class Meeting(Limited):
        def __setattr__(self, name, value) -> None:
            super().__setattr__(name, value)
            if name == "_limiters" and value:
                meet()

    store = Meeting(Instant(), dkv.RateLimit(1e6))
    monkeypatch.setattr(dkv.RateLimit, "limiter", meeting)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(lambda _: asyncio.run(store.count()), range(2))) == [7, 7]


def test_each_batch_of_a_scan_is_a_question():
    async def scanned(store):
        return [one async for one in store._scan(None, [], 1, include_vectors=False)]

    assert after(1, dkv.RateLimit(1), scanned) == pytest.approx(5, abs=0.01)  # and one to learn that there are no more


@pytest.mark.parametrize("knobs", [{"per_second": 0}, {"per_second": -1}, {"per_second": 5, "burst": 0.5}])
def test_a_rate_that_is_none(knobs):
    with pytest.raises(dkv.SchemaError, match="must be"):
        dkv.RateLimit(**knobs)


def test_a_limited_store_in_this_process_waits_on_the_loop():
    with sample_frame().vec.push("exact") as store:
        limited = store.limited(dkv.RateLimit(per_second=500, burst=1))
        assert [limited.count() for _ in range(3)] == [300] * 3


# --- audited ----------------------------------------------------------------------------------------------------------


async def test_every_question_is_told():
    events = []
    store = Audited(await ExactStore.open({}), events.append)
    frame = sample_frame()
    await store.upsert(frame)
    await store.search(sample_queries(2), k=3, where="n > 5")
    await store.keyword_search("plain", k=4)
    await store.get(["id 0001"])
    _ = [one async for one in store.scan(batch_size=100)]
    await store.delete(["id 0001", "nobody"])
    await store.count()
    told = [(one.operation, one.k, one.queries, one.where, one.rows, one.error) for one in events]
    assert told == [
        ("upsert", None, None, None, 300, None),
        ("search", 3, 2, "n > 5", 6, None),
        ("keyword", 4, 1, None, 4, None),
        ("get", None, None, None, 1, None),
        ("scan", None, None, None, 300, None),
        ("delete", None, None, None, 1, None),
        ("count", None, None, None, 299, None),
    ]
    assert events[0].ids.tolist() == frame.index.tolist()
    await store.upsert(frame.head(3))  # one that is new by now, and two that are replaced
    assert events[-1].rows == 3
    assert events[3].ids.tolist() == ["id 0001"]
    assert all(one.seconds > 0 for one in events)


async def test_failures_are_told_by_the_name_of_their_error():
    events = []
    store = Audited(await filled(), events.append)
    with pytest.raises(dkv.NotFoundError):
        await store.get("nobody")
    with pytest.raises(dkv.DuplicateIdError):
        await store.upsert(sample_frame(3), mode="insert")
    assert [(one.operation, one.rows, one.error) for one in events] == [
        ("get", None, "NotFoundError"),
        ("upsert", None, "DuplicateIdError"),
    ]


async def test_a_stream_that_is_left_is_told():
    events = []
    store = Audited(await filled(), events.append)
    stream = store.scan(batch_size=7)
    await anext(stream)
    await stream.aclose()
    assert [(one.operation, one.rows, one.error) for one in events] == [("scan", 7, None)]


async def test_no_vector_is_told():
    events = []
    store = Audited(await filled(), events.append)
    await store.search(QUERY, include_vectors=True)
    await store.upsert(sample_frame(2))
    for event in events:
        assert "embedding" not in repr(event)
        assert not any(isinstance(value, np.ndarray) for value in vars(event).values())


async def test_a_hook_that_fails_is_not_passed_over():
    def fail(_):
        raise OSError("disk full")

    inner = await filled()
    with pytest.raises(OSError, match="disk full"):
        await Audited(inner, fail).delete("id 0001")
    assert await inner.count() == 299


def test_connect_puts_them_together():
    events = []
    with dkv.connect("exact", limit=dkv.RateLimit(1e6), cache="1MB", audit=events.append) as store:
        store.upsert(sample_frame())
        for _ in range(3):
            store.search(QUERY)
        assert store.stats()[["cache_hits", "cache_misses"]].tolist() == [2, 1]
        assert [one.operation for one in events] == ["upsert", "search", "search", "search", "stats"]
    assert events[-1].operation == "close"


def test_the_blocking_views():
    events = []
    with sample_frame().vec.push("exact") as store:
        mine = store.restricted(can={"search", "read"}, where="n < 100")
        assert (len(mine), len(store)) == (90, 300)
        assert len(mine.to_frame(include_vectors=False)) == 90
        with pytest.raises(dkv.AccessDeniedError):
            mine.delete("id 0001")
        with pytest.raises(dkv.AccessDeniedError):
            mine.to_frame()
        assert len(store.cached().search(QUERY)) == len(store.audited(events.append).search(QUERY)) == 10
        store.audit = events.append
        store.search(QUERY)
        assert [one.operation for one in events] == ["search"] * 2
        assert store.audit == events.append


@pytest.mark.parametrize(("package", "extra"), [("cachetools", "cache"), ("aiolimiter", "limit")])
def test_a_missing_package_names_its_extra(monkeypatch, package, extra):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    options = {"cache": {"cache": "1MB"}, "limit": {"limit": dkv.RateLimit(1)}}[extra]
    with pytest.raises(dkv.MissingExtraError, match=rf"dkvector\[{extra}\]"):
        dkv.connect("exact", **options)
