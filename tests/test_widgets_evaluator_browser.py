"""Evaluator in JupyterLab, in a browser: started, watched, pointed at, stopped."""

import re

import pytest
from playwright.sync_api import expect

SETUP = """
import threading
import dkvector as dkv
digits = dkv.datasets.load_digits()
"""
MEASURE = (
    SETUP
    + """
evaluator = dkv.widgets.Evaluator(digits, {"faiss": [dkv.Flat(), dkv.IVF(lists=20)], "exact": [dkv.Flat()]},
    sweep={"probes": [1, 2, 4, 8]}, draw=60, metric="l2", name="digits")
evaluator.chosen = ["faiss"]
evaluator
"""
)


@pytest.fixture
def page(clean):
    return clean.open(MEASURE)


def start(page, runs, told=""):
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.get_by_role("grid", name="runs").locator("tbody tr")).to_have_count(runs, timeout=60_000)
    expect(page.get_by_role("status").first).to_have_text(told or f"{runs} runs", timeout=60_000)


def points_of(page):
    return page.get_by_role("listbox", name="recall@10 against").get_by_role("option")


def test_runs_arrive_and_a_click_gives_the_config_and_the_worst_queries(page, clean):
    start(page, 5)
    points = points_of(page)
    expect(points).to_have_count(5)
    recalls = clean.value("evaluator.value['recall'].tolist()")
    shown = page.get_by_role("grid", name="runs").locator("tbody tr td:nth-of-type(3)")
    expect(shown).to_have_text([f"{one:.4f}" for one in recalls])
    page.get_by_role("option", name=re.compile(r"IVF\(lists=20\) probes=4: ")).locator(".dkv-target").click()
    clean.until("evaluator.selection", 3)
    config = page.get_by_label("Config", exact=True)
    expect(config).to_contain_text("'tuning': {'probes': 4}")
    assert clean.value(f"evaluator.config == {config.text_content()}") is True
    worst = page.get_by_role("table", name="worst queries").locator("tbody tr td:first-child")
    expect(worst).to_have_text(clean.value("[str(one) for one in evaluator.worst.index]"))
    assert clean.value("evaluator.worst['recall'].is_monotonic_increasing") is True
    clean.shot("evaluator-light", widget=True)
    code = page.get_by_label("Code", exact=True).text_content()
    same = "['index', 'tuning', 'recall']"
    assert clean.value(f"{code}.runs[{same}].equals(evaluator.value[{same}])") is True
    clean.value("setattr(evaluator, 'selection', 1)")
    expect(points.and_(page.get_by_role("option", selected=True))).to_have_accessible_name(re.compile("probes=1:"))
    try:
        clean.theme("JupyterLab Dark")
        clean.shot("evaluator-dark", widget=True)
    finally:
        clean.theme("JupyterLab Light")


def test_indexes_are_chosen_and_what_can_not_be_read_is_told(page, clean):
    indexes = page.get_by_label("Indexes of faiss")
    expect(indexes).to_have_value("Flat(), IVF(lists=20)")
    indexes.fill("IVF(list=20)")
    expect(page.get_by_role("alert").filter(has_text="IVF has no 'list'")).to_contain_text("did you mean 'lists'?")
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_disabled()
    clean.shot("evaluator-bad-index", widget=True)
    indexes.fill("IVF(lists=[8, 16]), HNSW(quantization='int4')")
    page.get_by_label("ef_search").fill("16")
    page.get_by_role("button", name="add Flat() to exact").click()
    expect(page.get_by_label("exact", exact=True)).to_be_checked()
    page.get_by_label("Indexes of exact").fill("Flat()")
    page.get_by_label("probes").fill("3")
    page.get_by_label("queries").fill("20")
    where = page.get_by_role("combobox", name="Where")
    where.fill("digit = 3")
    expect(page.locator(".dkv-where .dkv-problem")).to_contain_text("^")
    where.fill("digit > 3")
    wanted = (
        "dkv.evaluate(digits, {'faiss': [dkv.IVF(lists=8), dkv.IVF(lists=16), "
        "dkv.HNSW(m=16, quantization='int4')], 'exact': [dkv.Flat()]}, queries=20, "
    )
    expect(page.get_by_label("Code", exact=True)).to_contain_text(wanted)
    start(page, 4, "4 runs, 1 failed")
    page.get_by_role("grid", name="runs").get_by_role("row").filter(has_text="UnsupportedError").click()
    expect(page.get_by_role("region", name="Run", exact=True)).to_contain_text("UnsupportedError: faiss")
    clean.shot("evaluator-failed", widget=True)
    assert clean.value("evaluator.value[['backend', 'index', 'where']].values.tolist()") == [
        ["faiss", "IVF(lists=8)", "digit > 3"],
        ["faiss", "IVF(lists=16)", "digit > 3"],
        ["faiss", "HNSW(m=16, quantization='int4')", "digit > 3"],
        ["exact", "Flat()", "digit > 3"],
    ]


def test_a_stop_keeps_what_is_finished_and_the_kernel_answers_meanwhile(clean):
    page = clean.open(
        SETUP
        + """
from dkvector.backends.faiss import FaissStore
through, build = threading.Semaphore(1), FaissStore.build_index
async def held(self, *args, **kwargs):
    assert through.acquire(timeout=60)
    return await build(self, *args, **kwargs)
FaissStore.build_index = held
evaluator = dkv.widgets.Evaluator(digits, [dkv.Flat(), dkv.IVF(lists=9), dkv.IVF(lists=8)],
    sweep={"probes": [1]}, draw=20, metric="l2", name="digits")
evaluator"""
    )
    page.get_by_role("button", name="Start", exact=True).press("Enter")
    rows = page.get_by_role("grid", name="runs").locator("tbody tr")
    expect(rows).to_have_count(1, timeout=30_000)
    expect(page.get_by_role("progressbar", name="Runs")).to_be_visible()
    assert clean.value("[evaluator.busy, 6 * 7]") == [True, 42]
    page.get_by_role("button", name="Stop", exact=True).press("Enter")
    expect(page.get_by_role("status").first).to_have_text("1 of 3 runs, stopping after this one")
    clean.value("through.release()")
    expect(page.get_by_role("status").first).to_have_text("2 runs, stopped", timeout=30_000)
    assert clean.value("[evaluator.value['index'].tolist(), evaluator.evaluation.complete]") == [
        ["Flat()", "IVF(lists=9)"],
        False,
    ]
    expect(page.get_by_role("button", name="Start", exact=True)).to_be_enabled()


def test_everything_is_reached_by_keyboard(page, clean):
    page.get_by_role("checkbox", name="faiss", exact=True).focus()
    reached = []
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; return e.closest('.dkv-evaluator') && "
            "(e.getAttribute('aria-label') || e.labels?.[0]?.textContent || e.textContent) }"
        )
        reached.append(focused)
        if focused == "Start":
            break
    assert reached == [
        "Indexes of faiss",
        *(f"add {one} to faiss" for one in ("Flat()", "HNSW(m=16)", "IVF()", 'IVF(quantization="int8")')),
        *("exact", "Indexes of exact", "add Flat() to exact"),
        *("ef_search", "probes", "candidates", "k", "queries", "repeats", "clients", "Where", "Draw", "Start"),
    ]
    page.keyboard.press("Space")
    expect(page.get_by_role("status").first).to_have_text("5 runs", timeout=60_000)
    points = points_of(page)
    points.first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    expect(points.and_(page.get_by_role("option", selected=True))).to_have_count(1)
    expect(page.get_by_role("region", name="Run", exact=True)).to_be_visible()
    page.get_by_role("grid", name="runs").get_by_role("row").nth(1).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    page.keyboard.press("End")
    page.keyboard.press("Space")
    clean.until("evaluator.selection", 4)
