"""The map in JupyterLab, in a browser: what is lassoed, clicked and keyed there arrives in Python, and back."""

import math

import pytest
from playwright.sync_api import expect

import dkvector as dkv

SETUP = """
import numpy as np, pandas as pd, dkvector as dkv

def clusters(count, kinds=("north", "east", "south", "west")):
    kind, noise = np.arange(count) % 4, np.random.default_rng(0).normal(0, 0.08, (count, 2))
    x, y = (np.stack([np.sin(kind * np.pi / 2), np.cos(kind * np.pi / 2)], axis=1) + noise).T
    kind = pd.Categorical.from_codes(kind, kinds)
    index = [f"r{row}" for row in range(count)]
    return pd.DataFrame({"x": x, "y": y, "kind": kind, "size": y, "note": "<b id=evil>bold</b>"}, index=index)

view = clusters(COUNT)
map = dkv.widgets.Map(view, color="kind", height=300)
map
"""
API = "[...document.querySelectorAll('.dkv-stage div')].find((one) => one.api).api"


def opened(lab, count=400, more=""):
    page = lab.open(SETUP.replace("COUNT", str(count)).replace("\nmap\n", f"\n{more}\nmap\n"))
    expect(page.locator(".dkv-map[data-ready]")).to_be_visible(timeout=60_000)
    page.locator(".dkv-stage").scroll_into_view_if_needed()
    return page


@pytest.fixture
def page(clean):
    return opened(clean)


def at(page, row):
    """Where a row is on the page, once what stands above the map has stopped growing."""
    place = None
    for _ in range(50):
        before, place = place, place_now(page, row)
        if place == before:
            return place
        page.wait_for_timeout(200)
    pytest.fail(f"row {row} does not come to rest: {before}, {place}")


def place_now(page, row):
    box = page.locator(".dkv-stage canvas").first.bounding_box()
    asked = "(all, row) => all.find((one) => one.api).api.getScreenPosition(row)"
    x, y = page.locator(".dkv-stage div").evaluate_all(asked, row)  # also where a notebook hides it in a shadow root
    return box["x"] + x, box["y"] + y


def stage_button(page, name):
    return page.get_by_role("toolbar", name="Map tools").get_by_role("button", name=name, exact=True)


def lasso(page, round_row, radius):
    """Draw most of a circle: one that ends where it began would be a click."""
    x, y = at(page, round_row)
    stage_button(page, "Lasso").click()
    for step in range(20):
        angle = 2 * math.pi * step / 21
        page.mouse.move(x + radius * math.cos(angle), y + radius * math.sin(angle), steps=2)
        page.wait_for_timeout(20)  # the library reads a lasso at most so often
        if not step:
            page.mouse.down()
    page.mouse.up()


def test_a_lasso_selects_the_same_rows_in_python(page, lab):
    lasso(page, 0, 60)
    north = "view.index[view['kind'] == 'north'].tolist()"
    lab.until(f"map.selection == {north}", wanted=True)
    assert lab.value("map.value['kind'].unique().tolist()") == ["north"]
    expect(page.get_by_role("status").first).to_have_text("400 rows, 100 selected")
    expect(page.get_by_label("Code", exact=True)).to_have_text("view.loc[map.selection]  # 100 rows")
    lab.shot("map-light")
    stage_button(page, "Clear selection (100)").click()
    lab.until("map.selection", [])


def test_a_click_selects_a_row_and_the_pointer_tells_of_it(page, lab):
    x, y = at(page, 6)
    page.mouse.move(x, y)
    lab.until("map.hovered is not None", wanted=True)
    label = lab.value("map.hovered")
    tip = page.get_by_role("tooltip")
    expect(tip.locator("strong")).to_have_text(label)
    expect(tip).to_contain_text("kindsouth")
    expect(tip).to_contain_text("<b id=evil>bold</b>")
    assert page.locator("#evil").count() == 0
    page.mouse.click(x, y)
    lab.until("map.selection == [map.hovered]", wanted=True)


def test_what_python_selects_rings_and_colours_is_shown(page, lab):
    for name, value in (("selection", ["r1", "r2"]), ("highlight", ["r5", "r9"]), ("color", "size")):
        lab.value(f"setattr(map, {name!r}, {value!r})")
    expect(stage_button(page, "Clear selection (2)")).to_be_visible()
    assert page.evaluate(f"() => [...{API}.get('selectedPoints')]") == [1, 2]
    legend = page.get_by_role("group", name="Legend")
    expect(legend).to_contain_text("2 highlighted")
    expect(legend).to_contain_text("size")
    expect(page.get_by_label("Colour")).to_have_value("size")
    ringed = page.evaluate(
        f"""() => {{ const [x, y] = {API}.getScreenPosition(5), over = document.querySelector('.dkv-over');
        return over.getContext('2d').getImageData(Math.round(x + 6), Math.round(y), 1, 1).data[3]; }}"""
    )
    assert ringed > 100
    page.get_by_label("Colour").select_option("kind")
    lab.until("map.color", "kind")
    expect(legend).to_contain_text("north")


def test_everything_is_reached_by_keyboard(page, lab):
    stage = page.get_by_role("application", name="Map of 400 rows")
    page.get_by_label("Colour").focus()
    reached = []
    for _ in range(8):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.textContent"))
    assert reached[:7] == ["Move", "Lasso", "+", "\N{MINUS SIGN}", "Fit", "Zoom to rows", "Select view"]
    expect(stage).to_be_focused()
    before = page.evaluate(f"() => [...{API}.get('cameraView')]")
    page.keyboard.press("+")
    page.keyboard.press("ArrowUp")
    after = page.evaluate(f"() => [...{API}.get('cameraView')]")
    assert after[0] == pytest.approx(1.25 * before[0])
    assert after[13] == pytest.approx(1.25 * before[13] - 0.2)
    page.keyboard.press("0")
    assert page.evaluate(f"() => [...{API}.get('cameraView')]") == pytest.approx(before)
    page.wait_for_function(f"() => {API}.get('pointsInView').length === 400")  # which follows the camera
    page.keyboard.press("v")
    lab.until("len(map.selection)", 400)
    page.keyboard.press("Escape")
    lab.until("map.selection", [])
    lab.value("setattr(map, 'highlight', ['r0'])")
    expect(page.get_by_role("group", name="Legend")).to_contain_text("1 highlighted")
    page.keyboard.press("z")  # brings the row under the cross, once the camera rests
    at(page, 0)
    page.keyboard.press("+")
    lab.until("map.hovered", "r0")
    page.keyboard.press("Enter")
    lab.until("map.selection", ["r0"])
    page.keyboard.press("Enter")
    lab.until("map.selection", [])


def test_rings_edges_and_points_take_the_colours_of_the_theme(clean):
    edges = "map.missed = pd.DataFrame({'query': view.index[:40], 'found': False}, index=view.index[41:81])"
    page = opened(clean, more=f"map.highlight = ['r0', 'r1', 'r2']\n{edges}")
    expect(page.get_by_role("group", name="Legend")).to_contain_text("40 missed edges")
    try:
        clean.theme("JupyterLab Dark")
        page.wait_for_function(f"() => {API}.get('backgroundColor')[0] < 0.3", timeout=15_000)
        clean.shot("map-dark")
    finally:
        clean.theme("JupyterLab Light")
    page.wait_for_function(f"() => {API}.get('backgroundColor')[0] > 0.9", timeout=15_000)


def test_many_points_are_thinned_while_they_move_and_the_selection_stays(clean):
    page = opened(clean, count=120_000)
    clean.value("setattr(map, 'selection', ['r1', 'r119999'])")
    expect(stage_button(page, "Clear selection (2)")).to_be_visible()
    page.evaluate(
        f"() => {{ const api = {API}; window.seen = []; "
        "api.subscribe('view', () => setTimeout(() => window.seen.push(api.get('isPointsFiltered')))); }"
    )
    stage_button(page, "+").click()
    page.wait_for_function("() => window.seen.includes(true)")
    page.wait_for_function(f"() => !{API}.get('isPointsFiltered')", timeout=15_000)
    assert page.evaluate(f"() => [...{API}.get('selectedPoints')]") == [1, 119_999]
    assert clean.value("map.selection") == ["r1", "r119999"]


def test_map_and_explorer_show_what_the_other_found(clean):
    page = opened(
        clean,
        more="rows = view.assign(v=dkv.VectorArray(view[['x', 'y']].to_numpy('f4')))\n"
        "store = rows.vec.push('exact')\n"
        "explorer = dkv.widgets.Explorer(store, query='r0', by='row', k=3)\n"
        "link = map.link(explorer)\ndisplay(explorer)",
    )
    hits = clean.value("explorer.value.index.tolist()")
    assert clean.value("map.highlight") == hits
    x, y = at(page, 2)
    page.mouse.move(x, y)
    clean.until("map.hovered", "r2")  # a click selects what the pointer was seen on
    page.mouse.click(x, y)
    clean.until("map.selection == [explorer.query]", wanted=True)
    clean.until("map.highlight == explorer.value.index.tolist()", wanted=True)
    lasso(page, 0, 60)
    clean.until("explorer.where.startswith('ids(')", wanted=True)
    clean.until("set(explorer.value['kind']) == {'north'}", wanted=True)
    clean.shot("map-linked")


ASKED = """rows = view.assign(v=dkv.VectorArray(view[['x', 'y']].to_numpy('f4')))
map = dkv.widgets.Map(rows, view=view, color='kind', height=300, k=5, data_name='rows')"""


def test_neighbours_of_what_is_typed_are_ringed_and_a_filter_hides_the_other_rows(clean):
    page = opened(clean, more=ASKED)
    asked, where = page.get_by_label("Neighbours of"), page.get_by_label("Where")
    status = page.get_by_role("status").first
    asked.fill("r0")
    clean.until("map.highlight == ['r0', *rows.vec.search(like='r0', k=5).index]", wanted=True)
    expect(page.get_by_role("group", name="Legend")).to_contain_text("6 highlighted")
    where.fill("kin == 'north'")
    expect(page.get_by_role("alert").filter(has_text="no column 'kin'; did you mean 'kind'?")).to_be_visible()
    expect(where).to_have_attribute("aria-invalid", "true")
    expect(status).to_have_text("400 rows, 6 highlighted")
    where.fill("kind == 'south'")
    expect(status).to_have_text("100 of 400 rows, 6 highlighted")
    south = "rows.vec.search(like='r0', k=5, where=\"kind == 'south'\").index"
    clean.until(f"map.highlight == ['r0', *{south}]", wanted=True)
    assert page.evaluate(f"() => {API}.get('filteredPoints').length") == 100
    expect(page.get_by_label("Code", exact=True)).to_have_text(
        "dkv.plot_map(view, 'kind', highlight=['r0', *rows.vec.search(like='r0', k=5, "
        "where=\"kind == 'south'\").index], where=\"kind == 'south'\")"
    )
    page.mouse.move(*at(page, 4))  # of the north, which is hidden
    lasso(page, 0, 60)
    assert clean.value("(map.hovered, map.selection)") == [None, []]
    stage_button(page, "Select view").click()
    clean.until("map.value['kind'].value_counts()['south'] == len(map.value) == 100", wanted=True)
    clean.shot("map-asked-light", widget=True)
    try:
        clean.theme("JupyterLab Dark")
        clean.shot("map-asked-dark", widget=True)
    finally:
        clean.theme("JupyterLab Light")
    asked.fill("nobody")
    expect(page.locator(".dkv-error")).to_contain_text("NotFoundError: no row 'nobody' to search like")
    where.fill("")
    expect(status).to_have_text("400 rows, 6 highlighted, 100 selected")
    assert page.evaluate(f"() => [{API}.get('isPointsFiltered'), {API}.get('selectedPoints').length]") == [False, 100]


def test_what_is_asked_is_reached_by_keyboard(clean):
    page = opened(clean, more=ASKED)
    page.get_by_label("Search by").focus()
    reached = []
    for _ in range(4):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("() => document.activeElement.labels[0].textContent"))
    assert reached == ["Neighbours of", "k", "Where", "Colour"]
    page.get_by_label("Neighbours of").focus()
    page.keyboard.type("r39")
    expect(page.get_by_role("listbox", name="Rows").get_by_role("option")).to_have_count(10)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    clean.until("map.query", "r390")
    clean.until("map.highlight[0]", "r390")


def test_a_filter_holds_while_many_points_move(clean):
    page = opened(clean, count=160_000)
    clean.value("setattr(map, 'where', \"kind != 'north'\")")
    page.wait_for_function(f"() => {API}.get('filteredPoints').length === 120000")
    page.evaluate(
        f"() => {{ const api = {API}; window.seen = []; const note = () => {{ const some = api.get('filteredPoints'); "
        "window.seen.push(some.every((at) => at % 4 !== 0) ? some.length : -1); }; "
        "api.subscribe('view', () => setTimeout(note)); }"
    )
    stage_button(page, "+").click()
    page.wait_for_function("() => window.seen.includes(60000)")
    page.wait_for_function(f"() => {API}.get('filteredPoints').length === 120000")
    clean.value("setattr(map, 'where', \"kind in ['south', 'east']\")")
    page.wait_for_function(f"() => {API}.get('filteredPoints').length === 80000")
    page.evaluate("() => { window.seen = []; }")
    stage_button(page, "+").click()
    page.wait_for_function("() => window.seen.length")
    page.wait_for_timeout(300)
    assert set(page.evaluate("() => window.seen")) == {80_000}  # so few need no thinning


OLDER = """async ([source, state]) => {
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const model = { get: (name) => state[name], on() {}, off() {}, set() {}, save_changes() {}, send() {} };
  const el = document.createElement("div");
  widget.render({ model, el });
  await new Promise((done) => setTimeout(done));
  return el.querySelector(".dkv-stage [role=alert]").textContent;
}"""


def test_a_front_end_that_shows_no_widget_inside_another_says_what_to_update(clean):
    state = {"_choices": {"ways": [], "columns": []}, "_name": "Map of 1 rows", "code": "", "where": ""}
    told = clean.page.evaluate(OLDER, [dkv.widgets.Map._esm, state])
    assert "update anywidget to 0.11 or newer" in told


def test_labels_of_several_parts_are_offered_asked_and_lassoed(clean):
    page = opened(
        clean,
        more="parts = pd.MultiIndex.from_arrays([view['kind'], range(len(view))], names=['side', 'no'])\n"
        "rows = view.assign(v=dkv.VectorArray(view[['x', 'y']].to_numpy('f4'))).set_index(parts)\n"
        "map = dkv.widgets.Map(rows, view=view.set_index(parts), color='kind', height=300, k=3, data_name='rows')",
    )
    asked = page.get_by_label("Neighbours of")
    asked.fill("h', 1")
    expect(page.get_by_role("listbox", name="Rows").get_by_role("option").first).to_contain_text("('north', 12)")
    asked.fill("('north', 0)")
    clean.until("map.highlight == [('north', 0), *rows.vec.search(like=('north', 0), k=3).index]", wanted=True)
    page.get_by_label("Where").fill("no < 200 and side == 'north'")
    expect(page.get_by_role("status").first).to_have_text("50 of 400 rows, 4 highlighted")
    page.mouse.move(*at(page, 0))
    clean.until("list(map.hovered or ())", wanted=["north", 0])
    lasso(page, 0, 60)
    clean.until("len(map.selection) > 0 and {one[0] for one in map.selection} == {'north'}", wanted=True)
    clean.shot("map-parts", widget=True)
