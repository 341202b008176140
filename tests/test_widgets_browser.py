"""Explorer in JupyterLab, in a browser: typed at, read from the page and from the kernel, and looked at."""

import inspect
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import expect

import dkvector as dkv

NAMES = ["banana", "bandana", "cabana", "pear", "pea", "peach", "plum", "cherry", "berry", "fig", "lemon", "melon"]


def encode(texts):
    return [[text.lower().count(letter) + 0.01 for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]


def nearest(text, k, names=NAMES, without=()):
    """The k names nearest by cosine, ties by name, as NumPy alone finds them."""
    query, matrix = np.array(encode([text])[0]), np.array(encode(names))
    cosine = matrix @ query / np.linalg.norm(matrix, axis=1) / np.linalg.norm(query)
    order = sorted(zip(-cosine.round(6), names, strict=True))
    return [name for _, name in order if name not in without][:k]


SETUP = f"""
import numpy as np, pandas as pd, dkvector as dkv

names = {NAMES}
{inspect.getsource(encode)}
things = pd.DataFrame({{"kind": ["fruit"] * 12, "length": [len(n) for n in names],
    "note": [f"<b id=evil>{{n}}</b>" for n in names], "two words": ["x"] * 12, "v": encode(names)}},
    index=pd.Index(names, name="name"))
things.loc["bandana", "kind"] = "cloth"
store = things.vec.push("exact", encoder=encode)
"""
EXPLORE = SETUP + "explorer = dkv.widgets.Explorer(store, k=4)\nexplorer"


@pytest.fixture
def page(clean):
    return clean.open(EXPLORE)


def test_code_is_copied_where_a_page_has_no_clipboard_of_its_own(page, lab):
    ask(page, "pear")
    code = page.get_by_label("Code", exact=True)
    expect(code).to_contain_text("text='pear'")
    # as over plain http from another machine
    page.evaluate("() => Object.defineProperty(navigator, 'clipboard', { value: undefined, configurable: true })")
    page.get_by_role("button", name="copy code").click()
    expect(page.get_by_role("button", name="copy code")).to_have_text("copied")
    lab.shot("explorer-copied")
    page.get_by_label("Query").fill("")
    page.keyboard.press("Control+V")
    expect(page.get_by_label("Query")).to_have_value("store.search(text='pear', k=4)")
    page.evaluate("() => { delete navigator.clipboard; }")


def labels(page, grid="results"):
    return page.get_by_role("grid", name=grid).get_by_role("rowheader")


def ask(page, text):
    page.get_by_label("Query").fill(text)


def test_what_is_typed_is_found_on_the_page_and_in_the_value(page, lab):
    ask(page, "banana")
    expect(labels(page)).to_have_text(nearest("banana", 4))
    assert lab.value("explorer.value.index.tolist()") == nearest("banana", 4)
    expect(page.get_by_role("status").first).to_contain_text("4 rows, exact")
    code = page.get_by_label("Code", exact=True)
    expect(code).to_have_text("store.search(text='banana', k=4)")
    assert lab.value(f"{code.text_content()}.equals(explorer.value)") is True
    page.get_by_label("k", exact=True).fill("2")
    expect(labels(page)).to_have_text(nearest("banana", 2))
    lab.shot("explorer-light")


def test_only_what_stands_after_a_pause_is_asked(page, lab):
    lab.value("[seen := [], setattr(store, 'encoder', lambda texts: (seen.extend(texts), encode(texts))[1])]")
    page.get_by_label("Query").evaluate(
        "(box) => ['p', 'pe', 'pea'].forEach((text) => { box.value = text; box.dispatchEvent(new Event('input')); })"
    )
    expect(labels(page)).to_have_text(nearest("pea", 4))
    assert lab.value("seen") == ["pea"]


def test_payload_is_text_and_a_row_opens(page):
    ask(page, "banana")
    expect(labels(page)).to_have_count(4)
    row = page.get_by_role("row", name=re.compile("^all of banana"))
    expect(row).to_contain_text("<b id=evil>banana</b>")
    assert page.locator("#evil").count() == 0
    row.get_by_role("button", name="all of banana").click()
    expect(page.locator(".dkv-detail:visible dd").first).to_have_text(re.compile(r"^-?0\.0000$"))


def test_a_bad_filter_shows_its_message_and_keeps_the_rows(page, lab):
    ask(page, "banana")
    expect(labels(page)).to_have_count(4)
    where = page.get_by_role("combobox", name="Where")
    where.fill("lenght > 6")
    expect(page.locator(".dkv-where .dkv-problem")).to_have_text("no column 'lenght'; did you mean 'length'?")
    expect(where).to_have_attribute("aria-invalid", "true")
    lab.shot("explorer-bad-filter")
    where.fill("length > ")
    expect(page.locator(".dkv-where .dkv-problem")).to_contain_text("^")
    expect(labels(page)).to_have_count(4)
    where.fill("length > 6")
    expect(labels(page)).to_have_text(["bandana"])
    expect(page.locator(".dkv-where .dkv-problem")).to_have_text("")
    assert lab.value("explorer.where") == "length > 6"


def test_columns_are_completed_by_keyboard(page, lab):
    where = page.get_by_role("combobox", name="Where")
    where.press_sequentially("two")
    offered = page.get_by_role("listbox", name="Columns").get_by_role("option")
    expect(offered).to_have_text(["two wordsstr"])
    lab.shot("explorer-completion")
    where.press("ArrowDown")
    where.press("Enter")
    expect(where).to_have_value("`two words` ")
    where.press_sequentially("== 'x' and le")
    where.press("ArrowDown")
    where.press("Tab")
    expect(where).to_have_value("`two words` == 'x' and length ")
    where.press_sequentially("== 'kin")
    expect(offered).to_have_count(0)


def test_a_row_is_picked_by_keyboard(page, lab):
    page.get_by_label("Search by").select_option("row")
    query = page.get_by_role("combobox", name="Query")
    query.press_sequentially("AN")
    offered = page.get_by_role("listbox", name="Rows").get_by_role("option")
    expect(offered).to_have_text(["banana", "cabana", "bandana"])
    lab.shot("explorer-rows")
    query.press("ArrowUp")
    query.press("Enter")
    expect(query).to_have_value("bandana")
    expect(labels(page)).to_have_text(nearest("bandana", 4, without=["bandana"]))
    expect(offered).to_have_count(0)
    assert lab.value("explorer.code") == "store.search(like='bandana', k=4)"


def test_everything_is_reached_by_keyboard(page, lab):
    page.get_by_label("Search by").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("pear")
    page.keyboard.press("Enter")
    expect(labels(page)).to_have_text(nearest("pear", 4))
    reached = []
    for _ in range(20):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "() => { const e = document.activeElement; return e.closest('.dkv-explorer') && "
            "(e.labels?.[0]?.textContent || e.getAttribute('aria-label') || e.getAttribute('role') || e.textContent) }"
        )
        if focused is None:
            break
        reached.append(focused)
    assert reached == [
        *("k", "Where", "Compare with", "Metric", "row", "all of pear"),
        *("more like pear", "less like pear", "right: pear", "wrong: pear", "copy code"),
    ]
    page.get_by_role("row", name=re.compile("^all of pear")).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Space")
    lab.until("explorer.selection", ["pea"])
    page.keyboard.press("ArrowRight")
    expect(page.locator(".dkv-detail:visible")).to_contain_text("fruit")
    page.keyboard.press("-")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("+")
    lab.until("explorer.relevance.values.tolist()", [["pear", "pea", False], ["pear", "pear", True]])
    expect(page.get_by_role("button", name="right: pear", exact=True)).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("m")
    expect(page.get_by_label("Query")).to_have_value("pea")
    expect(page.get_by_label("Search by")).to_have_value("row")
    expect(labels(page)).to_have_text(nearest("pea", 4, without=["pea"]))
    page.keyboard.press("l")
    expect(page.get_by_role("button", name="no longer less like peach")).to_be_visible()
    assert "peach" not in lab.value("explorer.value.index.tolist()")
    assert lab.value("explorer.code.startswith('store.search(dkv.Blend(like=')") is True
    assert page.locator(".jp-Cell.jp-mod-selected").get_attribute("class").find("jp-MarkdownCell") == -1
    page.get_by_role("button", name="no longer less like peach").press("Enter")
    lab.until("explorer.less", [])


def test_what_python_sets_is_shown_and_an_error_too(page, lab):
    ask(page, "fig")
    expect(labels(page)).to_have_count(4)
    lab.value("[setattr(explorer, 'query', 'plum'), setattr(explorer, 'selection', ['lemon', 'plum'])]")
    expect(labels(page).first).to_have_text("plum")
    expect(page.get_by_label("Query")).to_have_value("plum")
    expect(page.locator("tr[aria-selected=true] th")).to_have_text(["plum", "lemon"])
    page.get_by_label("Search by").select_option("row")
    ask(page, "nobody")
    expect(page.locator(".dkv-error")).to_contain_text("NotFoundError: not in the store: 'nobody'")
    expect(labels(page).first).to_have_text("lemon")
    page.get_by_label("Search by").select_option("vector")
    ask(page, "[1, 2]")
    expect(page.locator(".dkv-error")).to_contain_text("2 dimensions, expected 26")


def marked(rows, others, mark):
    return [row if row in others else f"{row} {mark}" for row in rows]


def test_side_by_side_marks_what_differs_in_light_and_dark(clean):
    lab = clean
    page = lab.open(
        SETUP + "other = things.drop(index='cabana').vec.push('exact', encoder=encode)\n"
        "explorer = dkv.widgets.Explorer(store, query='banana', k=3, against=other, compare='other')\nexplorer"
    )
    ours = nearest("banana", 3, without=["cabana"])
    assert "cabana" in nearest("banana", 3)
    expect(labels(page, "this search")).to_have_text(marked(nearest("banana", 3), ours, "extra"))
    expect(labels(page, "beside")).to_have_text(marked(ours, nearest("banana", 3), "missing"))
    page.get_by_role("row", name=re.compile("^all of banana")).first.click()
    lab.shot("explorer-beside-light")
    try:
        lab.theme("JupyterLab Dark")
        lab.shot("explorer-beside-dark")
        dark = contrast(page)
    finally:
        lab.theme("JupyterLab Light")
    assert min(dark, contrast(page)) > 4.5


def test_knobs_are_set_and_what_an_index_misses_is_marked(clean):
    page = clean.open(
        "import dkvector as dkv\ndigits = dkv.datasets.load_digits()\n"
        "store = digits.vec.push('faiss', index=dkv.IVF(lists=50), metric='l2')\n"
        "explorer = dkv.widgets.Explorer(store, query=7, k=12, tuning={'probes': 50}, compare='exact')\nexplorer"
    )
    matrix = np.stack(dkv.datasets.load_digits()["embedding"].tolist()).astype("f8")
    far = np.linalg.norm(matrix - matrix[7], axis=1)
    true = [int(one) for one in np.lexsort((np.arange(len(far)), far.round(5))) if one != 7][:12]
    expect(labels(page, "beside")).to_have_text([str(one) for one in true])
    expect(page.locator(".dkv-mark")).to_have_count(0)
    page.get_by_label("probes").fill("1")
    page.get_by_label("probes").press("Enter")
    clean.until("explorer.tuning", {"probes": 1})
    found = clean.value("store.search(like=7, k=12, tuning={'probes': 1}).index.tolist()")
    assert 0 < len(set(found) & set(true)) < 12
    expect(labels(page, "this search")).to_have_text([f"{one}{'' if one in true else ' extra'}" for one in found])
    expect(labels(page, "beside")).to_have_text([f"{one}{'' if one in found else ' missing'}" for one in true])
    clean.shot("explorer-missed", widget=True)


def test_a_notebook_merely_opened_shows_what_was_found(clean):
    page = clean.look(Path(__file__).parents[1] / "notebooks" / "08_widgets.ipynb")
    table = page.get_by_role("table").filter(has_text="the coldest season of the year").first
    expect(table.get_by_role("row")).to_have_count(6)
    expect(page.get_by_role("img", name="recall against queries a second")).to_be_attached()
    expect(page.get_by_text("widget model not found")).to_have_count(0)
    clean.shot("opened")


def contrast(page):
    """Contrast of a cell's text with the ground, as WCAG 2 measures it."""
    colours = page.evaluate(
        "() => { const e = document.querySelector('.dkv-explorer'); const s = getComputedStyle(e.querySelector('td'));"
        "return [s.color, getComputedStyle(e).backgroundColor]; }"
    )
    light = sorted(luminance([int(one) for one in re.findall(r"\d+", colour)[:3]]) for colour in colours)
    return (light[1] + 0.05) / (light[0] + 0.05)


def luminance(rgb):
    linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
