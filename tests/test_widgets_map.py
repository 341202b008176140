"""The map's model, without a browser: what is selected, ringed, coloured and asked of an explorer."""

import asyncio
import re
import subprocess
import sys
import threading

import numpy as np
import pandas as pd
import pytest
import traitlets

import dkvector as dkv
from dkvector.widgets.asking_frames import FrameAsker

NAMES = ["ant", "bee", "cat", "dog", "elk", "fox"]


@pytest.fixture
def rows():
    """Six rows in two clusters, one of which has no kind."""
    vectors = dkv.VectorArray(np.float32([[1, 0, 0], [1, 0.1, 0], [1, 0, 0.1], [0, 1, 0], [0, 1, 0.1], [0.1, 1, 0]]))
    kind = pd.Categorical(["insect", "insect", "pet", "pet", "wild", None])
    return pd.DataFrame(
        {"kind": kind, "legs": [6, 6, 4, 4, 4, 4], "weight": [1.0, 2.0, np.nan, 4.0, 5.0, 9.0], "v": vectors},
        index=pd.Index(NAMES, name="name"),
    )


@pytest.fixture
def shown(rows):
    return dkv.widgets.Map(rows, method="pca", color="kind")


def lassoed(shown, places):
    """Select as the page does: jupyter-scatter's trait changes."""
    shown.scatter.selection = np.array(places, np.uint32)


def test_a_map_of_a_frame_a_store_and_a_view_is_the_same(rows, shown):
    view = dkv.project(rows, method="pca", columns=["kind", "legs", "weight"])
    pd.testing.assert_frame_equal(shown.view, view)
    with rows.vec.push("exact") as store:
        of_store = dkv.widgets.Map(store, method="pca")
        assert of_store.view[["x", "y"]].round(4).equals(view[["x", "y"]].round(4))
        assert of_store._columns == ["kind", "legs", "weight"]
    pd.testing.assert_frame_equal(dkv.widgets.Map(view).view, view)
    bare = dkv.project(rows, method="pca")
    pd.testing.assert_frame_equal(dkv.widgets.Map(rows, view=bare).view, view)


def test_points_keep_the_shape_of_the_map(shown):
    xy, drawn = shown.view[["x", "y"]].to_numpy(), shown.scatter.points[:, :2]
    factor = np.ptp(xy, axis=0).max() / 2
    np.testing.assert_allclose(np.diff(drawn, axis=0) * factor, np.diff(xy, axis=0), atol=1e-5)
    assert np.abs(drawn).max() == pytest.approx(1)


def test_what_is_selected_in_the_page_arrives_as_labels(shown):
    seen = []
    shown.observe(lambda change: seen.append(change["new"]), "selection")
    lassoed(shown, [4, 0])
    assert shown.selection == ["ant", "elk"]
    assert seen == [["ant", "elk"]]
    assert shown.value.index.tolist() == ["ant", "elk"]
    assert eval(shown.code, {"view": shown.view}).equals(shown.value)  # noqa: S307 - our own code is what is tested
    lassoed(shown, [])
    assert (shown.selection, len(shown.value)) == ([], 0)


def test_what_the_page_selects_is_given_back_to_it_to_write_and_what_python_selects_is_not(rows, shown):
    shown.selection = ["bee"]
    assert shown._noticed == 0
    lassoed(shown, [0])
    assert shown._noticed == 1  # marimo runs the cells that read a widget after the page wrote to it only
    with rows.vec.push("exact") as store:
        explorer = dkv.widgets.Explorer(store, query="ant", by="row", k=2)
        shown.link(explorer)
        lassoed(shown, [1, 2])
    assert (shown._noticed, explorer._noticed) == (2, 1)


def test_the_points_are_a_widget_of_their_own(shown):
    assert shown.get_state("scatter")["scatter"] == f"anywidget:{shown.scatter.model_id}"


def test_what_is_selected_in_python_arrives_in_the_page_in_any_form(rows, shown):
    for given, places in (
        (["dog", "bee"], [1, 3]),
        (rows.index[[2]], [2]),
        (rows["legs"] == 6, [0, 1]),
        (rows.vec.search(like="ant", k=2), [1, 2]),
        (None, []),
    ):
        shown.selection = given
        assert shown.scatter.selection.tolist() == places
        assert shown._chosen == len(places)
    with pytest.raises(dkv.NotFoundError, match=r"not on the map: 'cow' \(1 row\)"):
        shown.selection = ["cow", "ant"]
    with pytest.raises(traitlets.TraitError, match="row labels"):
        shown.selection = "ant"
    assert shown.selection == []


def test_hits_are_ringed_and_those_elsewhere_counted(rows, shown):
    shown.highlight = rows.vec.search(like="ant", k=2)
    assert shown._rings == [(1, "bee"), (2, "cat")]
    shown.highlight = ["fox", "cow"]
    assert shown._rings == [(5, "fox")]
    assert shown.status == "6 rows, 1 of 2 highlighted"
    assert shown.code == "dkv.plot_map(view, 'kind', highlight=['fox', 'cow'])"


def test_only_missed_edges_between_rows_of_the_map_are_drawn(shown):
    edges = pd.DataFrame({"query": ["ant", "bee", "cat"], "found": [True, False, False]}, index=["bee", "dog", "cow"])
    shown.missed = edges
    assert np.frombuffer(shown._edges, np.int32).tolist() == [3, 1]
    assert shown.status == "6 rows, 1 missed edges"
    shown.missed = None
    assert shown._edges == b""
    with pytest.raises(dkv.SchemaError, match="ann_edges"):
        shown.missed = edges.drop(columns="found")


def test_colours_are_the_categories_own_or_a_scale(shown):
    codes = shown.scatter.points[:, 2].astype(int)
    assert codes.tolist() == [0, 0, 1, 1, 2, 3]
    assert [name for name, _ in shown._legend["items"]] == ["insect", "pet", "wild", "missing"]
    shown.color = "weight"
    assert shown.scatter.points[:, 2].astype(int).tolist() == [0, 8, 64, 24, 32, 63]
    assert (shown._legend["low"], shown._legend["high"]) == ("1", "9")
    shown.color = ""
    assert shown.scatter.color_by is None
    with pytest.raises(dkv.NotFoundError, match="did you mean 'kind'"):
        shown.color = "kinds"
    assert shown.color == ""


def test_a_row_under_the_pointer_is_told(shown):
    shown.scatter.hovering = 3
    assert shown.hovered == "dog"
    assert shown._hover == {"at": 3, "label": "dog", "facts": [("kind", "pet"), ("legs", "4"), ("weight", "4")]}
    shown.scatter.hovering = None
    assert (shown.hovered, shown._hover) == (None, {"at": -1})


@pytest.mark.parametrize(
    "index",
    [
        pd.MultiIndex.from_product([["a", "b"], [1, 2, 3]], names=["part", "number"]),
        pd.date_range("2024-05-01", periods=6, name="day"),
        pd.Index([10, 20, 30, 40, 50, 60], name="id"),
    ],
)
def test_labels_of_any_kind_are_selected_and_written_as_code(rows, index):
    shown = dkv.widgets.Map(rows.set_index(index), method="pca")
    lassoed(shown, [1, 4])
    assert shown.selection == [index[1], index[4]]
    assert eval(shown.code, {"view": shown.view, "pd": pd}).equals(shown.value)  # noqa: S307
    shown.selection = shown.view.index[2:3]
    assert shown.scatter.selection.tolist() == [2]
    shown.highlight = list(index[:2])
    assert [at for at, _ in shown._rings] == [0, 1]


def test_no_rows_and_no_data_are_refused(rows):
    with pytest.raises(dkv.SchemaError, match="no rows"):
        dkv.widgets.Map(rows, where="legs > 8", method="pca")
    with pytest.raises(dkv.SchemaError, match="not of list"):
        dkv.widgets.Map([1, 2])
    with pytest.raises(dkv.NotFoundError, match="'fox'"):
        dkv.widgets.Map(rows.drop(index="fox"), view=dkv.project(rows, method="pca"))


def test_labels_that_are_there_twice_are_refused(rows):
    with pytest.raises(dkv.DuplicateIdError, match=r"'ant' \(1 row\)"):
        dkv.widgets.Map(pd.concat([rows, rows.head(1)]), method="pca")


def test_a_picture_stands_in_its_place(shown):
    data, _ = shown._repr_mimebundle_()
    assert data["text/plain"] == "<Map: 6 rows; colour kind>"
    assert data["image/png"].startswith("iVBOR")
    assert "application/vnd.jupyter.widget-view+json" in data


@pytest.fixture
def linked(rows, shown):
    with rows.vec.push("exact") as store:
        explorer = dkv.widgets.Explorer(store, query="ant", by="row", k=2)
        yield shown, explorer, shown.link(explorer)


def test_what_the_explorer_finds_is_ringed(linked):
    shown, explorer, _ = linked
    assert shown.highlight == ["bee", "cat"]
    explorer.query = "dog"
    assert shown.highlight == explorer.value.index.tolist() == ["elk", "fox"]


def test_a_row_that_is_selected_is_asked_for(linked):
    shown, explorer, _ = linked
    lassoed(shown, [4])
    assert (explorer.query, explorer.where) == ("elk", "")
    assert shown.highlight == explorer.value.index.tolist()


def test_several_rows_are_the_filter_beside_the_one_that_was_typed(linked):
    shown, explorer, link = linked
    explorer.where = "legs == 4"
    lassoed(shown, [1, 4, 5])
    assert explorer.where == "(legs == 4) and ids(['bee', 'elk', 'fox'])"
    assert set(explorer.value.index) == {"elk", "fox"}
    lassoed(shown, [1, 2])
    assert explorer.where == "(legs == 4) and ids(['bee', 'cat'])"
    explorer.where = "legs == 6"  # typed over ours
    lassoed(shown, [0, 1])
    assert explorer.where == "(legs == 6) and ids(['ant', 'bee'])"
    lassoed(shown, [])
    assert explorer.where == "legs == 6"
    lassoed(shown, [0, 1])
    link.end()
    assert explorer.where == "legs == 6"
    lassoed(shown, [2, 3])
    assert explorer.where == "legs == 6"


def test_more_rows_than_a_filter_names_are_told(shown, rows, monkeypatch):
    monkeypatch.setattr("dkvector.widgets.linked.MOST", 3)
    with rows.vec.push("exact") as store:
        explorer = dkv.widgets.Explorer(store, query="ant", by="row", k=2)
        shown.link(explorer)
        lassoed(shown, [0, 1, 2, 3])
        assert explorer.where == ""
        assert re.search("at most 3 rows, and 4 are selected", shown.error)
        lassoed(shown, [0, 1])
        assert shown.error == ""


def test_without_jupyter_scatter_the_extra_is_named():
    code = (
        "import sys; sys.modules['jscatter'] = None; import dkvector as dkv; "
        "dkv.widgets.Map(dkv.datasets.load_digits().head(50), method='pca')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603 - this Python, our own code
    assert "MissingExtraError: this needs jupyter-scatter" in run.stderr
    assert "dkvector[widgets]" in run.stderr


def test_neighbours_of_a_row_are_ringed_after_it_the_nearest_first(rows, shown):
    shown.query, shown.k = "ant", 2
    assert shown.highlight == ["ant", *rows.vec.search(like="ant", k=2).index] == ["ant", "bee", "cat"]
    assert shown._rings == [(0, "ant"), (1, "bee"), (2, "cat")]
    assert shown.status == "6 rows, 3 highlighted"
    code = "dkv.plot_map(view, 'kind', highlight=['ant', *data.vec.search(like='ant', k=2).index])"
    assert shown.code == code
    ringed = code.partition("highlight=")[2][:-1]
    assert eval(ringed, {"data": rows}) == shown.highlight  # noqa: S307 - our own code is what is tested
    shown.query = ""
    assert (shown.highlight, shown.status) == ([], "6 rows")


def test_texts_and_vectors_are_asked_too(rows):
    shown = dkv.widgets.Map(rows, method="pca", encoder=lambda texts: [[0, 1, 0]] * len(texts), k=2, query="a pet")
    assert shown.by == "text"
    assert shown.highlight == ["dog", "elk"]
    assert "data.vec.search(text='a pet', encoder=encoder, k=2)" in shown.code
    shown.by, shown.query = "vector", "[1, 0, 0]"
    assert shown.highlight == ["ant", "bee"]
    assert dkv.widgets.Map(rows, method="pca", query=[0, 1, 0], k=1).highlight == ["dog"]


def test_a_filter_hides_rows_and_finds_no_neighbour_among_them(rows, shown):
    shown.missed = pd.DataFrame({"query": ["ant", "elk"], "found": [False, False]}, index=["dog", "dog"])
    shown.selection = ["bee", "elk"]
    shown.query, shown.k, shown.where = "ant", 2, "legs == 4"
    assert np.frombuffer(shown._kept, np.uint32).tolist() == [2, 3, 4, 5]
    assert shown.highlight == ["ant", *rows.vec.search(like="ant", k=2, where="legs == 4").index]
    assert [at for at, _ in shown._rings] == [0, *(rows.index.get_loc(one) for one in shown.highlight[1:])]
    assert np.frombuffer(shown._edges, np.int32).tolist() == [3, 4]
    assert shown.status == "4 of 6 rows, 3 highlighted, 1 missed edges, 2 selected"
    assert shown.selection == ["bee", "elk"]
    shown.selection = []
    assert shown.code.endswith(", missed=edges, where='legs == 4')")
    shown.query, shown.highlight = "", ["bee", "fox"]
    assert shown._rings == [(5, "fox")]
    shown.where = ""
    assert shown._kept is None
    assert shown.status == "6 rows, 2 highlighted, 2 missed edges"


def test_the_first_filter_also_limits_what_is_laid_out(rows):
    shown = dkv.widgets.Map(rows, where={"legs": 4}, columns=["kind"], method="pca", query="dog", k=5)
    assert shown.where == "legs == 4"
    assert shown.view.index.tolist() == ["cat", "dog", "elk", "fox"]
    assert set(shown.highlight) == {"cat", "dog", "elk", "fox"}
    shown.where = ""
    assert len(shown.view) == 4
    assert set(shown.highlight) == set(NAMES)
    assert shown.status == "4 rows, 4 of 6 highlighted"


def test_what_cannot_be_asked_is_told_and_what_is_shown_stays(rows, shown):
    shown.query, shown.k = "ant", 2
    shown.where = "leg == 4"
    assert shown.where_error == "no column 'leg'; did you mean 'legs'?"
    assert (shown._kept, shown.highlight, shown.error) == (None, ["ant", "bee", "cat"], "")
    shown.where = "legs == 'four'"
    assert "legs" in shown.where_error
    shown.where, shown.query = "", "cow"
    error = "NotFoundError: no row 'cow' to search like"
    assert shown.error == error
    shown.selection = ["bee"]
    assert (shown.error, shown.highlight) == (error, ["ant", "bee", "cat"])
    with pytest.raises(dkv.NotFoundError, match="cow"):
        shown.run()
    shown.query = "dog"
    assert (shown.error, shown.run().index.tolist()) == ("", shown.highlight[1:])
    broken = rows.assign(v=[np.full(3, np.nan), *rows["v"].iloc[1:]])
    of_broken = dkv.widgets.Map(broken, view=shown.view, query="dog")
    assert of_broken.error.startswith("VectorError")


def test_a_map_without_its_rows_is_filtered_and_not_asked(rows, shown):
    bare = dkv.widgets.Map(shown.view)
    assert bare._choices["ways"] == []
    bare.where = "kind == 'pet' and name != 'dog'"
    assert np.frombuffer(bare._kept, np.uint32).tolist() == [2]
    bare.query = "ant"
    assert bare.error.startswith("SchemaError: this map came without its vectors")
    with pytest.raises(dkv.SchemaError, match="Map"):
        bare.run()
    assert dkv.widgets.Map(rows, view=shown.view, query="ant", k=1).highlight == ["ant", "bee"]


def test_neighbours_are_measured_as_on_the_map(rows):
    two = rows.assign(w=dkv.VectorArray(np.float32([[9, 0], [1, 0], [0, 1], [8, 0], [0, 2], [5, 0]])))
    shown = dkv.widgets.Map(two, on="w", metric="euclidean", method="pca", query="bee", k=2, data_name="two")
    expected = two.vec.search(like="bee", k=2, on="w", metric="euclidean").index.tolist()
    assert shown.highlight[1:] == expected == ["cat", "elk"]
    assert "two.vec.search(like='bee', k=2, on='w', metric='euclidean')" in shown.code
    with two.vec.push("exact") as store:
        of_store = dkv.widgets.Map(store, on="w", metric="euclidean", method="pca", query="bee", k=2)
        ringed = of_store.code.partition("highlight=")[2][:-1]
        assert eval(ringed, {"store": store}) == of_store.highlight == shown.highlight  # noqa: S307


def test_rows_ringed_by_hand_take_the_place_of_what_was_found(shown):
    shown.query, shown.k = "ant", 2
    shown.highlight = ["fox"]
    assert shown.code == "dkv.plot_map(view, 'kind', highlight=['fox'])"
    shown.query = ""
    assert shown.highlight == ["fox"]
    shown._told(None, {"do": "complete", "label": "O"}, [])
    assert shown._offered == {"begun": "O", "labels": ["dog", "fox"]}


async def test_the_loop_stays_free_while_the_rows_are_asked(shown, monkeypatch):
    gate, answer = threading.Event(), FrameAsker.frame
    monkeypatch.setattr(FrameAsker, "frame", lambda asker, question: gate.wait(10) and answer(asker, question))
    shown.k = 2
    shown.query = "ant"
    await asyncio.sleep(0)
    lassoed(shown, [4])  # which tells what is shown, and must not wait
    assert (shown.busy, shown.selection) == (True, ["elk"])
    shown.query = "dog"
    gate.set()
    await shown._latest._task
    assert shown.highlight == ["dog", "elk", "fox"]
    gate.clear()
    threading.Timer(0.05, gate.set).start()
    shown.query = "ant"
    assert shown.busy
    assert shown.highlight == ["ant", "bee", "cat"]  # who reads waits
    gate.clear()
    shown.query = "dog"
    await asyncio.sleep(0)
    shown.highlight = ["fox"]
    gate.set()
    await asyncio.sleep(0.05)
    assert (shown.highlight, shown.busy) == (["fox"], False)


def test_enter_asks_the_same_again(shown, monkeypatch):
    asked, answer = [], FrameAsker.frame
    monkeypatch.setattr(FrameAsker, "frame", lambda asker, question: asked.append(question) or answer(asker, question))
    shown.query = "ant"
    shown.k = 10
    assert len(asked) == 1
    shown._told(None, {"do": "ask"}, [])
    assert len(asked) == 2
    assert shown._noticed == 1


def test_an_explorer_that_was_untied_is_not_told_of_the_map(linked):
    shown, explorer, link = linked
    lassoed(shown, [0, 1])
    noticed = explorer._noticed
    link.end()
    lassoed(shown, [2, 3])
    assert (explorer._noticed, shown._noticed) == (noticed, 2)


def test_what_is_told_of_a_row_keeps_its_type():
    numbers = pd.DataFrame({"x": [0.0, 1.0], "y": [1.0, 0.0], "code": [12_345_678, 2]})
    shown = dkv.widgets.Map(numbers)
    shown.scatter.hovering = 0
    assert shown._hover["facts"] == [("code", "12345678")]


@pytest.fixture
def dated(rows):
    """The rows under labels of two parts, of which one is a time."""
    days = pd.date_range("2024-05-01", periods=3, tz="UTC")
    return rows.set_axis(pd.MultiIndex.from_product([days, [1.5, 2]], names=["day", "part"]))


def test_labels_of_several_parts_are_asked_selected_and_drawn(dated):
    shown, label = dkv.widgets.Map(dated, method="pca", k=2), dated.index[1]
    shown.query = str(label)
    assert (shown.error, shown.highlight) == ("", [label, *dated.vec.search(like=label, k=2).index])
    names = {"data": dated, "pd": pd}
    assert eval(shown.code.partition("highlight=")[2][:-1], names) == shown.highlight  # noqa: S307 - our own code
    shown.where = "day >= '2024-05-03T00:00:00+00:00'"
    assert (shown.where_error, set(shown.highlight[1:])) == ("", set(dated.index[4:]))
    lassoed(shown, [0, 2])
    assert shown.selection == [dated.index[0], dated.index[2]]
    assert eval(shown.code, {"view": shown.view, "pd": pd}).equals(shown.value)  # noqa: S307
    assert "image/png" in shown._repr_mimebundle_()[0]
    shown.query = "('2024-05-09', 2)"
    assert shown.error.startswith("NotFoundError: no row")
    shown.query = "2024-05-01"
    assert re.search(r"no row '2024-05-01'; labels are \(timestamp\[\w+, tz=UTC\], double\)", shown.error)


def test_a_part_of_a_label_selects_nothing(dated):
    shown = dkv.widgets.Map(dated, method="pca")
    for label in (dated.index[0][0], (dated.index[0][0],), "2024-05"):
        with pytest.raises(dkv.NotFoundError, match="not on the map"):
            shown.selection = [label]
    assert (shown.selection, len(shown.value)) == ([], 0)


def test_labels_are_selected_as_the_map_has_them(rows):
    shown = dkv.widgets.Map(rows.set_axis(pd.date_range("2024-05-01", periods=6)), method="pca")
    for given in (["2024-05-02", "2024-05-04"], [np.datetime64("2024-05-02"), np.datetime64("2024-05-04")]):
        shown.selection = given
        assert shown.selection == [pd.Timestamp("2024-05-02"), pd.Timestamp("2024-05-04")]


def test_labels_that_no_filter_holds_are_told(rows, dated):
    shown = dkv.widgets.Map(dated, method="pca")
    with rows.vec.push("exact") as store:
        explorer = dkv.widgets.Explorer(store, query="[1, 0, 0]", by="vector", where="legs == 4")
        shown.link(explorer)
        lassoed(shown, [0, 1])
        assert "FilterError: a filter can't hold" in shown.error
        assert explorer.where == "legs == 4"


def test_columns_that_only_the_map_has_are_filtered_by_too(rows, shown):
    view = shown.view.assign(cluster=[0, 0, 1, 1, 0, 0])
    own = dkv.widgets.Map(rows, view=view, query="ant", k=2, where="cluster == 1")
    assert (own.error, own.where_error, own.highlight) == ("", "", ["ant", "cat", "dog"])
    ringed = own.code.partition("highlight=")[2].rpartition(", where='cluster == 1')")[0]
    assert eval(ringed, {"data": rows, "view": view}) == own.highlight  # noqa: S307 - our own code


@pytest.mark.parametrize("as_given", [list, str], ids=["lists", "texts"])
def test_columns_and_vectors_of_any_kind_are_asked(rows, as_given):
    odd = pd.DataFrame({0: rows["legs"], 1: [as_given(one.tolist()) for one in rows["v"]]}, index=rows.index)
    shown = dkv.widgets.Map(odd, method="pca", query="ant", k=2, where="`0` > 4")
    assert (shown.error, shown.highlight) == ("", ["ant", "bee"])


def test_values_without_colours_are_refused_by_name(rows):
    odd = rows.assign(tags=[["a"], None, ["b"], [], ["a", "b"], None])
    with pytest.raises(dkv.SchemaError, match="'tags' can't be told apart by colours"):
        dkv.widgets.Map(odd, method="pca", color="tags")
    shown = dkv.widgets.Map(odd, method="pca", color="kind")
    with pytest.raises(dkv.SchemaError, match="'tags'"):
        shown.color = "tags"
    assert (shown.color, shown._legend["title"]) == ("kind", "kind")
