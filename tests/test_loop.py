"""Blocking calls work from plain code, under a running loop, in threads and after a fork, and can be interrupted."""

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest

from dkvector._fork import Lock
from dkvector._loop import LoopThread, _Call, offload, run_inline
from dkvector._memory import Memory
from dkvector.registry import connect


async def thread_of_work():
    return await offload(threading.get_ident)


async def answer(value=42):
    await asyncio.sleep(0)
    return value


def test_inline_work_runs_here():
    assert run_inline(thread_of_work()) == threading.get_ident()


def test_awaited_work_runs_elsewhere_and_leaves_the_loop_free():
    async def both():
        ticks = []

        async def tick():
            while True:
                ticks.append(time.monotonic())
                await asyncio.sleep(0.005)

        ticking = asyncio.create_task(tick())
        where = await offload(lambda: (time.sleep(0.1), threading.get_ident())[1])
        ticking.cancel()
        return where, len(ticks)

    where, ticks = asyncio.run(both())
    assert where != threading.get_ident()
    assert ticks > 3


def test_inline_ends_with_its_call():
    async def after():
        run_inline(thread_of_work())
        return await thread_of_work()

    assert asyncio.run(after()) != threading.get_ident()


def test_offload_passes_arguments_results_and_errors():
    async def call(text):
        return await offload(int, text, base=16)

    assert (run_inline(call("ff")), asyncio.run(call("ff"))) == (255, 255)
    for run in (run_inline, asyncio.run):
        with pytest.raises(ValueError, match="invalid literal"):
            run(call("x"))


def test_inline_must_not_wait():
    with pytest.raises(RuntimeError, match="waited for something"):
        run_inline(answer())


def test_inline_gives_what_was_raised_and_works_again():
    async def stopped():
        await offload({}.popitem)

    with pytest.raises(KeyError):
        run_inline(stopped())
    assert run_inline(thread_of_work()) == threading.get_ident()


def test_the_loop_thread_serves_plain_code_and_threads():
    loop = LoopThread()
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(loop.run, answer(i)) for i in range(50)]
        assert [one.result(5) for one in futures] == list(range(50))
    assert loop.run(answer()) == 42
    assert sum(one.name == "dkvector" for one in threading.enumerate()) >= 1


def test_every_call_meets_the_same_loop():
    async def mine():
        return id(asyncio.get_running_loop()), threading.get_ident()

    loop = LoopThread()
    assert loop.run(mine()) == loop.run(mine())
    assert loop.run(mine())[1] != threading.get_ident()


def test_the_loop_thread_serves_code_under_another_loop():
    loop = LoopThread()

    async def cell():
        return loop.run(answer(7))

    assert asyncio.run(cell()) == 7


def test_a_call_from_inside_its_own_loop_is_an_error_not_a_deadlock():
    loop = LoopThread()

    async def nested():
        return loop.run(answer())

    with pytest.raises(RuntimeError, match="from inside the store's own event loop"):
        loop.run(nested())
    assert loop.run(answer()) == 42


def test_errors_come_through_with_their_type():
    async def fails():
        await asyncio.sleep(0)
        raise KeyError("gone")

    with pytest.raises(KeyError, match="gone"):
        LoopThread().run(fails())


@pytest.fixture
def interruptible():
    """Have SIGINT raise, also where the tests run in the background of a shell, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_cancels_the_work():
    loop, state = LoopThread(), []
    done = threading.Event()

    async def query():
        state.append("began")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            state.append("cancelled")
            done.set()
            raise

    def interrupt():
        while not state:
            time.sleep(0.001)
        time.sleep(0.02)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(query())
    thread.join()
    assert done.wait(5)
    assert state == ["began", "cancelled"]
    assert loop.run(answer()) == 42


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_what_would_end_a_loop_is_its_caller_s_and_the_loop_goes_on(kind):
    """An encoder that is interrupted in its worker, a progress bar that exits, in the call itself or beside it."""
    loop, thread = LoopThread(), []

    def stopped():
        raise kind("enough")

    async def working():
        thread.append(threading.current_thread())
        await offload(stopped)

    async def aside():
        await asyncio.gather(working(), asyncio.sleep(0.01))

    for work in (working, aside):
        with pytest.raises(kind):
            loop.run(work())
    asyncio_loop = loop._loop
    asyncio_loop.call_soon_threadsafe(stopped)
    assert loop.run(answer()) == 42
    assert {one.is_alive() for one in thread} == {True}
    assert loop._loop is asyncio_loop


def test_a_loop_whose_thread_is_gone_is_made_anew():
    loop = LoopThread()
    assert loop.run(answer(1)) == 1
    loop._loop.call_soon_threadsafe(loop._loop.close)  # refused, for it runs
    loop._loop.call_soon_threadsafe(setattr, loop._loop, "run_forever", loop._loop.close)
    loop._loop.call_soon_threadsafe(loop._loop.stop)
    loop._thread.join(5)
    assert loop.run(answer(2)) == 2


def test_an_interrupt_before_the_work_began_leaves_nothing_waiting():
    """Warnings are errors here: a coroutine that nobody awaits would tell."""
    loop, began, busy = LoopThread(), [], threading.Event()

    async def work():
        began.append(1)

    loop.run(answer())
    never_handed_over = _Call(work(), loop._loop)
    loop._loop.call_soon_threadsafe(never_handed_over._cancel)
    loop._loop.call_soon_threadsafe(busy.wait, 5)
    handed_over = _Call(work(), loop._loop)
    loop._loop.call_soon_threadsafe(handed_over._start)
    loop._loop.call_soon_threadsafe(handed_over._cancel)
    busy.set()
    assert loop.run(answer()) == 42
    del never_handed_over, handed_over
    gc.collect()
    assert began == []


def test_an_error_that_was_raised_keeps_nothing_alive():
    class Big:
        pass

    async def fails(one):
        raise ValueError(f"no {type(one).__name__}")

    big = Big()
    alive = weakref.ref(big)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no Big"):
            LoopThread().run(fails(big))
        del big
        deadline = time.monotonic() + 5
        while alive() is not None and time.monotonic() < deadline:
            time.sleep(0.01)
        assert alive() is None
    finally:
        gc.enable()


def in_a_child(work):
    """Run work in a forked child, and give what it prints."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads, which are the point here
        pid = os.fork()
    if pid == 0:
        try:
            os.write(write, str(work()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    return said


def test_a_forked_child_gets_a_loop_of_its_own():
    loop = LoopThread()
    assert loop.run(answer(1)) == 1

    def child():
        result = []
        thread = threading.Thread(target=lambda: result.append(loop.run(answer(5))), daemon=True)
        thread.start()
        thread.join(5)
        return result

    assert in_a_child(child) == "[5]"
    assert loop.run(answer(2)) == 2


@pytest.fixture(params=["exact", "faiss"])
def store(request):
    with connect(request.param) as store:
        store.upsert(pd.DataFrame({"n": range(200), "v": list(np.eye(200, 8, dtype="f4") + 1)}))
        yield store


class Held:
    """Something locked by a thread that is not the one which forks."""

    def __init__(self, lock) -> None:
        self.lock, self.locked, self.free = lock, threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.hold)

    def hold(self):
        with self.lock:
            self.locked.set()
            self.free.wait()

    def __enter__(self) -> None:
        self.thread.start()
        self.locked.wait()

    def __exit__(self, *_: object) -> None:
        self.free.set()
        self.thread.join()


def in_time(work):
    """Do what may wait for ever, and tell whether it came to an end."""
    result = []
    thread = threading.Thread(target=lambda: result.append(work()), daemon=True)
    thread.start()
    thread.join(20)
    return result


def test_a_forked_child_waits_for_no_thread_of_its_parent():
    frame = pd.DataFrame({"v": [[1.0, 0.0], [0.0, 1.0]]})
    loop, store, words = LoopThread(), connect("exact"), Memory(1000)
    store.upsert(frame)

    def child():
        added = in_time(lambda: store.upsert(frame.set_axis([2, 3])).inserted)
        known = in_time(lambda: words.known(["a"]))
        return added, in_time(lambda: loop.run(answer(5))), known

    with Held(loop._lock), Held(store.store._writing), Held(words._lock):
        assert in_a_child(child) == "([2], [5], [{}])"
    assert store.upsert(frame.set_axis([4, 5])).inserted == 2  # in the parent nothing has changed
    assert len(store) == 4


def test_a_lock_that_the_forking_thread_holds_stays_its_own():
    lock = Lock()

    def child():
        with lock:
            return in_time(lambda: lock._inner.acquire(blocking=False))

    with lock:
        assert in_a_child(child) == "[False]"
    assert in_time(lambda: lock._inner.acquire(blocking=False)) == [True]


def test_a_forked_child_searches(store):
    query = np.arange(1.0, 9)
    expected = store.search(query, k=3).index.tolist()

    def child():
        return store.search(query, k=3).index.tolist()

    assert in_a_child(child) == str(expected)


def test_a_store_works_under_a_running_loop(store):
    async def cell():
        store.upsert(pd.DataFrame({"n": [999], "v": [np.full(8, 5.0)]}, index=[999]))
        assert sum(len(batch) for batch in store.scan(batch_size=30)) == 201
        return store.search(np.full(8, 5.0), k=1, where="n > 500").index.tolist(), store.count()

    assert asyncio.run(cell()) == ([999], 201)


def test_a_scan_that_is_given_up_leaves_nothing_behind(store):
    batches = store.scan(batch_size=10)
    assert len(next(batches)) == 10
    del batches
    gc.collect()  # warnings are errors here: nothing was left waiting
    assert store.count() == 200


def test_threads_that_search_see_whole_commits(store):
    """Each commit moves all rows at once: a search that mixed two would see two generations."""
    generations, stop, seen = 25, threading.Event(), []
    base = np.float32(np.random.default_rng(0).standard_normal((40, 8)))
    schema = pd.DataFrame({"generation": 0, "v": list(base)})
    store.upsert(schema, mode="replace")

    def search():
        while not stop.is_set():
            found = store.search(base[:3], k=40, where="generation >= 0")
            assert len(found) == 120
            assert found.groupby("query").generation.nunique().tolist() == [1, 1, 1]
            assert sorted(found.index[:40]) == list(range(40))
            seen.append(found.generation.iloc[0])

    with ThreadPoolExecutor(4) as pool:
        searches = [pool.submit(search) for _ in range(4)]
        for generation in range(1, generations):
            store.upsert(schema.assign(generation=generation))
            time.sleep(0.002)
        stop.set()
        for one in searches:
            one.result(20)
    assert len(set(seen)) > 3
    assert store.to_frame().generation.unique().tolist() == [generations - 1]


def test_threads_that_write_lose_nothing(store):
    def write(thread):
        for i in range(5):
            ids = 1000 * (thread + 1) + np.arange(3) + 10 * i
            store.upsert(pd.DataFrame({"n": thread, f"only{thread}": 1.0, "v": [np.ones(8)] * 3}, index=ids))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    frame = store.to_frame()
    assert len(frame) == 200 + 4 * 5 * 3
    assert [int(frame[f"only{thread}"].notna().sum()) for thread in range(4)] == [15] * 4
