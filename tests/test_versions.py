"""Changing the model: a failure at any step loses nothing, and what was begun is gone on with."""

import subprocess
import sys
import textwrap
import threading

import numpy as np
import pandas as pd
import pytest
from faults import Faults
from scans import telling

import dkvector as dkv
from dkvector.backends import _disk, _folder
from dkvector.errors import BackendUnavailableError
from dkvector.probes import ALIKE, Probes
from dkvector.testing.versions import FIRST, OTHER, SECOND
from dkvector.vector_info import VectorInfo, serving

STEPS = [
    "_add_vector_field",
    "_redescribe",
    "_lacking",
    "_fill",
    "_count_lacking",
    "_indexes",
    "_build_index",
    "_drop_vector_fields",
]
TEXTS = [f"text {at}" for at in range(60)]


def frame():
    return pd.DataFrame({"text": TEXTS, "embedding": list(FIRST(TEXTS))}, index=[f"id {at:02}" for at in range(60)])


async def opened(kind, where):
    if kind == "exact":
        return await dkv.VectorStoreFactory.create("exact", {})
    if kind == "pgvector":
        return await dkv.VectorStoreFactory.create("pgvector", {"url": where[0], "table": where[1]})
    return await dkv.VectorStoreFactory.create("faiss", {"index_path": str(where), "index_type": "hnsw"})


async def change(store):
    """Change the model for good."""
    await store.reembed(SECOND, "v2", text="text", batch_size=7, progress=False)
    await store.switch("v2")
    await store.rollback()
    await store.switch("v2")
    await store.prune()


async def gone_on(store):
    """Go on with a change that was cut off anywhere."""
    if [one.name for one in store.known.vectors] == ["embedding_v2"]:
        return
    await store.reembed(SECOND, "v2", text="text", batch_size=7, progress=False)
    await store.switch("v2")
    await store.prune()


async def check_serves(store):
    """Every row is found by what serves, whichever it is, and by nothing else."""
    info = store.known.vector()
    query = (FIRST if info.name == "embedding" else SECOND)(["text 33"])[0]
    hits = await store.search(query, k=100, tuning=dkv.Tuning(exact=True))
    assert (len(hits.ids), hits.ids[0]) == (60, "id 33")
    assert hits.distances[0] == pytest.approx(0, abs=1e-6)


async def check_changed(store):
    assert [one.name for one in store.known.vectors] == ["embedding_v2"]
    assert (await store.versions())["lacking"].tolist() == [0]
    table = await store.get([f"id {at:02}" for at in range(60)], include_vectors=True)
    assert table.column("text").to_pylist() == TEXTS
    made = np.array(table.column("embedding_v2").to_pylist(), np.float32)
    np.testing.assert_array_equal(made, SECOND(TEXTS))
    await check_serves(store)


def where_of(kind, tmp_path, request, at):
    if kind == "pgvector":
        return request.getfixturevalue("postgres_url"), f"v_{at}_{id(request)}"
    return tmp_path / f"{at}"


@pytest.mark.parametrize("after", [False, True], ids=["before its work", "after its work"])
@pytest.mark.parametrize("kind", ["exact", "faiss", "pgvector"])
async def test_a_failure_at_any_step_loses_nothing_and_is_gone_on_with(kind, after, tmp_path, request):
    hits = set()
    for at in range(1, 200):
        where = where_of(kind, tmp_path, request, at)
        store = await opened(kind, where)
        await store.upsert(frame())
        faults = Faults(at, after=after)
        faults.watch(store, STEPS)
        try:
            await change(store)
        except BackendUnavailableError:
            hits.add(faults.hit.partition(".")[2])
        faults.at = 0
        if kind != "exact":
            await store.aclose()
            store = await opened(kind, where)
        await check_serves(store)
        await gone_on(store)
        await check_changed(store)
        if kind == "pgvector":
            await store.drop()
        await store.aclose()
        if not faults.hit:
            assert hits == set(STEPS) - (set() if kind == "faiss" else {"_build_index"})
            return
    pytest.fail("it never ran through")


async def test_a_disk_that_fails_at_any_step_loses_nothing(tmp_path, monkeypatch):
    parts = [(_disk, "write"), (_disk, "flush_all"), (_disk, "flush"), (_folder, "write_rows")]
    calls, due = [0], [0]

    def failing(real):
        def called(*args):
            calls[0] += 1
            if calls[0] == due[0]:
                raise OSError(28, "No space left on device")
            return real(*args)

        return called

    for module, name in parts:
        monkeypatch.setattr(module, name, failing(getattr(module, name)))
    hit = 0
    for at in range(1, 400, 3):
        due[0] = 0
        store = await opened("faiss", tmp_path / f"{at}")
        await store.upsert(frame())
        calls[0], due[0] = 0, at
        try:
            await change(store)
        except BackendUnavailableError:
            hit += 1
        done, due[0] = calls[0] < at, 0
        await store.aclose()
        store = await opened("faiss", tmp_path / f"{at}")
        await store.verify()
        await check_serves(store)
        await gone_on(store)
        await check_changed(store)
        await store.aclose()
        if done:
            break
    assert done
    assert hit > 20


KILLED = """
    import os, sys
    import pandas as pd
    import dkvector as dkv
    from dkvector.testing.versions import SECOND

    batches = 0

    def killed(texts):
        global batches
        batches += 1
        if batches == int(sys.argv[2]):
            os._exit(9)
        return SECOND(texts)

    store = dkv.connect("faiss", path=sys.argv[1])
    store.reembed(killed, "v2", text="text", batch_size=2)
    store.switch("v2")
"""


def test_a_process_that_is_killed_is_gone_on_with_and_makes_no_vector_twice(tmp_path):
    frame().vec.push("faiss", path=tmp_path / "rows").close()
    run = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "rows"), "16"]
    assert subprocess.run(run, check=False).returncode == 9  # noqa: S603 - our own code
    seen = []

    def counted(texts):
        seen.extend(texts)
        return SECOND(texts)

    with dkv.connect("faiss", path=tmp_path / "rows") as store:
        before = store.versions().loc["embedding_v2", "lacking"]
        assert 0 < before < 60
        assert store.reembed(counted, "v2", text="text").filled == before
        again = len(set(seen)) - len(set(store.schema.vector("embedding_v2").probes.texts) & set(seen))
        assert before - 4 <= again <= before
        assert store.switch("v2").name == "embedding_v2"
        assert store.search(SECOND(["text 8"])[0], k=1).index.tolist() == ["id 08"]


def test_a_reader_sees_the_one_or_the_other(tmp_path):
    with frame().vec.push("faiss", path=tmp_path / "rows") as writer:
        reader = dkv.connect("faiss", path=tmp_path / "rows")
        writer.reembed(SECOND, "v2", text="text")
        assert reader.search(FIRST(["text 5"])[0], k=1).index.tolist() == ["id 05"]
        assert reader.refresh()
        assert reader.schema.vector().name == "embedding"
        writer.switch("v2")
        assert reader.search(FIRST(["text 5"])[0], k=1).index.tolist() == ["id 05"]
        writer.prune()
        assert reader.search(FIRST(["text 5"])[0], k=1).index.tolist() == ["id 05"]
        assert reader.refresh()
        assert reader.search(SECOND(["text 5"])[0], k=1).index.tolist() == ["id 05"]
        reader.close()


def test_rows_without_text_are_told_and_gone_without(tmp_path):
    rows = frame().assign(text=[None, "", *TEXTS[2:]])
    with rows.vec.push("faiss", path=tmp_path / "rows") as store:
        done = store.reembed(SECOND, "v2", text="text")
        assert (done.filled, done.lacking) == (58, 2)
        with pytest.raises(dkv.SchemaError, match="2 rows have no vector"):
            store.switch("v2")
        store.switch("v2", incomplete=True)
        store.build_index("hnsw")
        assert len(store.search(SECOND(["a"])[0], k=60)) == 58
        store.prune()
    with dkv.connect("faiss", path=tmp_path / "rows") as again:
        assert len(again.search(SECOND(["a"])[0], k=60)) == 58
        assert again.to_frame()["embedding_v2"].isna().sum() == 2
        again.delete(["id 05"])
        found = again.search(SECOND(["a"])[0], k=60, include_vectors=True)
        assert (len(found), found["embedding_v2"].isna().sum()) == (57, 0)


def test_a_field_may_be_added_to_a_log_of_small_writes(tmp_path):
    rows = frame()
    with rows.vec.push("faiss", path=tmp_path / "rows") as store:
        for at in range(5):
            store.upsert(rows.iloc[[at]].rename(index=lambda label: f"new {label}"))
        store.reembed(SECOND, "v2", text="text")
        for at in range(5):
            store.upsert(rows.iloc[[at]].rename(index=lambda label: f"newer {label}"))
        assert store.versions()["lacking"].tolist() == [0, 5]
    with dkv.connect("faiss", path=tmp_path / "rows") as again:
        assert (len(again), again.versions()["lacking"].tolist()) == (70, [0, 5])
        assert len(again.search(SECOND(["a"])[0], k=100, field="embedding_v2")) == 65


def test_several_text_columns_and_a_name_of_its_own():
    rows = frame().assign(more=["x", *[None] * 59])
    with rows.vec.push("exact") as store:
        with pytest.raises(dkv.SchemaError, match=r"name that to embed as text=…; there are \['text', 'more'\]"):
            store.reembed(SECOND, "v2")
        done = store.reembed(SECOND, "v2", text=["text", "more"], name="other")
        assert done.field.name == "other"
        assert store.search(SECOND(["text 0\nx"])[0], k=1, field="other").index.tolist() == ["id 00"]
        with pytest.raises(dkv.SchemaError, match="not the model"):
            store.reembed(lambda texts: OTHER(texts).repeat(2, axis=1)[:, :12], "v2", text="text")


def test_parity_of_two_fields_of_one_store():
    with frame().vec.push("exact") as store:
        store.reembed(SECOND, "v2", text="text")
        asked = {"v1": FIRST(TEXTS[:20]), "v2": SECOND(TEXTS[:20])}
        fields = {"v1": "embedding", "v2": "embedding_v2"}
        told = dkv.parity({"v1": store, "v2": store}, asked, k=1, fields=fields)
        assert told.frame["overlap"].iloc[0] == 1.0
        wide = dkv.parity({"v1": store, "v2": store}, asked, k=10, fields=fields)
        assert wide.frame["overlap"].iloc[0] < 0.5
        with pytest.raises(dkv.NotFoundError, match="no store 'v3'"):
            dkv.parity({"v1": store, "v2": store}, asked, fields={"v3": "embedding"})


def test_the_last_whose_turn_it_was_serves():
    one, two = VectorInfo("v", 2), VectorInfo("v_2", 3, of="v", turn=None)
    assert serving([one, two]) == (one,)
    later = VectorInfo("v_3", 3, of="v", turn=2)
    assert serving([later, one, two, VectorInfo("w", 1)]) == (later, VectorInfo("w", 1))
    for info in (one, two, later, VectorInfo("p", 2, probes=Probes.of(["a"], np.float32([[1, 2]])), partial=True)):
        back = VectorInfo.from_dict(info.to_dict())
        assert (back, back.probes, back.partial, back.turn) == (info, info.probes, info.partial, info.turn)
    assert set(one.to_dict()) == {"name", "dimensions", "metric", "dtype", "model", "version"}


@pytest.mark.parametrize(
    ("how", "alike"),
    [
        (lambda made: made.astype(np.float16).astype(np.float32), True),
        (lambda made: made * 7, True),
        (lambda made: made + np.random.default_rng(0).normal(0, 0.01, made.shape), True),
        (lambda made: made @ np.linalg.qr(np.random.default_rng(0).standard_normal((8, 8)))[0], False),
        (lambda made: np.roll(made, 1, axis=1), False),
        (lambda made: made + np.random.default_rng(0).normal(0, 0.5, made.shape), False),
        (lambda made: made[:, :7], False),
        (lambda made: -made, False),
    ],
    ids=["half precision", "longer", "noise of 1 %", "rotated", "permuted", "noise of half", "cut", "mirrored"],
)
def test_a_model_is_known_by_what_it_makes(how, alike):
    kept = Probes.of(TEXTS[:4], FIRST(TEXTS[:4]))
    assert (kept.least(how(FIRST(TEXTS[:4])).astype(np.float32)) >= ALIKE) is alike


def test_probes_need_a_direction():
    with pytest.raises(dkv.VectorError, match="zero vector for every probe"):
        Probes.of(["a"], np.zeros((1, 3), np.float32))
    assert Probes.of(["a", "b"], np.float32([[0, 0], [3, 4]])).texts == ("b",)


async def test_a_model_is_proved_beside_the_loop_and_the_scan_for_it_is_closed():
    closed, threads = [], set()

    def encoder(texts):
        threads.add(threading.get_ident())
        return [[1.0, len(text)] for text in texts]

    store = await telling(closed).open({})
    texts = pd.Series(["a", "bb"] * 300)
    await store.upsert(pd.DataFrame({"t": texts, "v": encoder(texts)}))
    threads.clear()
    await store.record_model(encoder, text="t")
    assert closed == [True]
    assert threads
    assert threading.get_ident() not in threads
