"""Explorer and Map in Notebook 7 and in marimo, in a browser: what was seen in JupyterLab is to be seen there."""

import browser
import pytest
from playwright.sync_api import expect
from test_widgets_browser import SETUP as THINGS
from test_widgets_browser import ask, labels, nearest
from test_widgets_map_browser import SETUP as VIEW
from test_widgets_map_browser import lasso

CELLS = [
    THINGS + "\ndef found(widget):\n    return getattr(widget, 'widget', widget).value.index.tolist()\n",
    VIEW.replace("import numpy as np, pandas as pd, dkvector as dkv", "").partition("map =")[0].replace("COUNT", "400"),
    "map = wrap(dkv.widgets.Map(view, color='kind', height=300))\nmap",
    "explorer = wrap(dkv.widgets.Explorer(store, k=4))\nexplorer",
]
NORTH = [f"r{row}" for row in range(0, 400, 4)]


@pytest.fixture(scope="module", params=["notebook", "marimo"])
def shown(request, jupyter, tmp_path_factory):
    """Give both widgets on one page."""
    if request.param == "notebook":
        opened = browser.notebook(jupyter, "wrap = lambda widget: widget", *CELLS)
    else:  # a cell runs again only for what was wrapped
        cells, watched = ["wrap = mo.ui.anywidget", *CELLS], ["map.selection", "found(explorer)"]
        opened = browser.marimo(tmp_path_factory.mktemp("marimo"), cells, watched)
    with opened as made:
        expect(made.page.locator(".dkv-map[data-ready]")).to_be_visible(timeout=60_000)
        yield made
        made.shot(f"{request.param}-light")
    assert made.errors == []
    assert made.outside == []


def test_what_is_typed_is_found_on_the_page_and_in_the_value(shown):
    ask(shown.page, "banana")
    expect(labels(shown.page)).to_have_text(nearest("banana", 4))
    shown.until("found(explorer)", nearest("banana", 4))
    shown.page.get_by_role("button", name="more like cabana").click()
    expect(shown.page.get_by_label("Query")).to_have_value("cabana")
    shown.until("found(explorer)", nearest("cabana", 4, without=["cabana"]))


def test_a_lasso_selects_the_same_rows_in_python(shown):
    shown.page.locator(".dkv-tools").evaluate("(bar) => bar.scrollIntoView()")
    lasso(shown.page, 0, 60)
    expect(shown.page.locator(".dkv-map").get_by_role("status")).to_have_text("400 rows, 100 selected")
    shown.until("map.selection", NORTH)


def test_the_colours_of_vs_code_go_before_those_that_ipywidgets_brings_along(shown):
    paint = "(name) => document.documentElement.style.setProperty('--vscode-editor-background', name)"
    shown.page.evaluate(paint, "rgb(1, 2, 3)")
    expect(shown.page.locator(".dkv-explorer")).to_have_css("background-color", "rgb(1, 2, 3)")
    shown.page.evaluate(paint, "")
