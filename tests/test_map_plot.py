"""Pictures of maps: what is drawn is what the map says, and no name lies over another."""

import sys

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_hex, to_rgb

import dkvector as dkv
from dkvector.maps import _colours
from dkvector.maps._labels import Name, write

SEEN_AS = {  # Machado, Oliveira and Fernandes, IEEE TVCG 2009, severity 1
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture
def view():
    """Three clusters of 40, 30 and 20 rows round (0, 0), (10, 0) and (0, 10)."""
    rng = np.random.default_rng(0)
    kind = np.repeat(["a", "b", "c"], [40, 30, 20])
    middle = {"a": (0, 0), "b": (10, 0), "c": (0, 10)}
    at = np.array([middle[one] for one in kind]) + rng.normal(0, 0.7, (90, 2))
    return pd.DataFrame(
        {"x": at[:, 0], "y": at[:, 1], "placed": False, "kind": pd.Categorical(kind), "size": np.linspace(0, 1, 90)},
        index=[f"r{row}" for row in range(90)],
    )


def points(ax):
    return [one for one in ax.collections if isinstance(one, PathCollection)]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def names(ax):
    return {text.get_text(): text for text in ax.texts}


def boxes(ax):
    ax.get_figure().canvas.draw()
    return [text.get_window_extent() for text in ax.texts]


def assert_apart(ax):
    found = boxes(ax)
    assert not [(i, j) for i, one in enumerate(found) for j, other in enumerate(found[:i]) if one.overlaps(other)]


def test_every_row_is_a_point_in_the_colour_of_its_category(view):
    ax = dkv.plot_map(view, "kind")
    (drawn,) = points(ax)
    colours = {
        tuple(at): to_hex(colour) for at, colour in zip(drawn.get_offsets(), drawn.get_facecolors(), strict=True)
    }
    expected = dict(zip("abc", _colours.PALETTE, strict=False))
    assert len(colours) == 90
    assert all(colours[row.x, row.y] == expected[row.kind] for row in view.itertuples())
    assert legend(ax) == ["a", "b", "c"]
    assert [to_hex(one.get_color()) for one in ax.get_legend().get_lines()] == list(expected.values())
    assert ax.get_legend().get_title().get_text() == "kind"


def test_points_are_drawn_mixed(view):
    (drawn,) = points(dkv.plot_map(view, "kind"))
    order = [tuple(at) for at in drawn.get_offsets()]
    assert order != list(zip(view["x"], view["y"], strict=True))


def test_clusters_are_named_at_their_medians(view):
    ax = dkv.plot_map(view, "kind")
    middle = view.groupby("kind", observed=True)[["x", "y"]].median()
    assert set(names(ax)) == {"a", "b", "c"}
    for name, text in names(ax).items():
        assert text.xy == pytest.approx(tuple(middle.loc[name]))


def test_names_of_other_clusters_than_the_colour(view):
    ax = dkv.plot_map(view, "size", labels=view["kind"].astype(str) + "!")
    assert set(names(ax)) == {"a!", "b!", "c!"}
    assert set(names(dkv.plot_map(view, "kind", labels=False))) == set()
    assert set(names(dkv.plot_map(view, "size"))) == set()


def test_names_never_overlap_and_stay_inside(view):
    crowded = view.assign(kind=[f"cluster number {row % 18}" for row in range(90)])
    ax = dkv.plot_map(crowded, "kind", highlight=view.index[:8].tolist(), title="crowded")
    assert len(ax.texts) > 12
    assert_apart(ax)
    frame = ax.get_window_extent()
    assert all(frame.contains(box.x0, box.y0) and frame.contains(box.x1, box.y1) for box in boxes(ax))


def test_a_name_without_room_is_left_out_and_the_first_wins():
    _, ax = plt.subplots(figsize=(1.2, 0.5))
    some = [Name("wide as the axes", 0.5, 0.5, "black"), *[Name(f"other {n}", 0.5, 0.5, "black") for n in range(40)]]
    written = write(ax, some[1:])
    assert 0 < written < 40
    assert "other 0" in names(ax)
    assert_apart(ax)


def test_many_categories_share_a_grey(view):
    many = view.assign(kind=[f"k{min(row // 4, 20)}" for row in range(90)])
    ax = dkv.plot_map(many, "kind")
    assert legend(ax)[-1] == "13 others"
    assert len(legend(ax)) == 9
    grey = [to_hex(one) for one in points(ax)[0].get_facecolors()].count(_colours.GREY)
    largest = many["kind"].value_counts().iloc[:8].sum()
    assert grey == 90 - largest


def test_missing_values_are_grey_and_told(view):
    view.loc["r0", ["kind", "size"]] = [None, np.nan]
    ax = dkv.plot_map(view, "kind")
    assert legend(ax) == ["a", "b", "c", "missing"]
    assert [to_hex(one) for one in points(ax)[0].get_facecolors()].count(_colours.GREY) == 1
    lost, shown = points(dkv.plot_map(view, "size"))
    assert (len(lost.get_offsets()), len(shown.get_offsets())) == (1, 89)


def test_numbers_get_a_colour_bar(view):
    ax = dkv.plot_map(view, "size")
    (drawn,) = [one for one in points(ax) if len(one.get_offsets())]
    values = dict(zip(map(tuple, drawn.get_offsets()), drawn.get_array(), strict=True))
    assert all(values[row.x, row.y] == row.size for row in view[["x", "y", "size"]].itertuples())
    assert drawn.colorbar.ax.get_ylabel() == "size"
    assert ax.get_legend() is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3], False),
        (range(40), True),
        ([0.5, 1], True),
        ([True, False], False),
        (list("ab"), False),
    ],
)
def test_a_quantity_is_told_from_categories(values, expected):
    assert _colours.is_scale(pd.Series(values)) is expected


def test_categories_without_an_order_can_be_drawn(view):
    mixed = view.assign(kind=pd.Series([1, "one", (2,)] * 30, index=view.index, dtype=object))
    assert sorted(legend(dkv.plot_map(mixed, "kind"))) == ["(2,)", "1", "one"]


def test_a_series_is_aligned_by_label(view):
    shuffled = view["kind"].sample(frac=1, random_state=0)
    one, other = (points(dkv.plot_map(view, by))[0].get_facecolors() for by in ("kind", shuffled))
    assert (one == other).all()
    with pytest.raises(dkv.NotFoundError, match="lacks rows"):
        dkv.plot_map(view, view["kind"].head(3))
    with pytest.raises(dkv.NotFoundError, match="kind"):
        dkv.plot_map(view, "kinds")
    with pytest.raises(dkv.SchemaError, match="list"):
        dkv.plot_map(view, ["kind"])


def test_hits_are_ringed_and_named(view):
    hits = pd.DataFrame({"rank": [1, 2], "distance": [0.1, 0.2]}, index=["r3", "r50"])
    ax = dkv.plot_map(view, "kind", highlight=hits)
    ring = points(ax)[-1]
    assert ring.get_offsets().tolist() == view.loc[["r3", "r50"], ["x", "y"]].to_numpy().tolist()
    assert {"r3", "r50"} <= set(names(ax))
    assert legend(ax)[-1] == "2 hits"
    assert_apart(ax)
    at = ax.transData.transform(ring.get_offsets())
    assert not [box for box in boxes(ax) for x, y in at if box.contains(x, y)]


def test_hits_beside_the_map_are_counted(view):
    assert legend(dkv.plot_map(view, highlight=["r1", "elsewhere"])) == ["1 of 2 highlighted"]
    assert legend(dkv.plot_map(view, highlight="r1")) == ["1 highlighted"]
    with pytest.raises(dkv.NotFoundError, match="not on the map: 'elsewhere'"):
        dkv.plot_map(view, highlight=["elsewhere"])


def test_a_filter_leaves_out_rows_their_rings_and_their_edges(view):
    edges = pd.DataFrame({"query": ["r50", "r50"], "found": [False, False]}, index=["r51", "r1"])
    axes = dkv.plot_map(view, view["kind"], highlight=["r1", "r41"], missed=edges, where="kind == 'b' and size > 0.45")
    kept = view[(view["kind"] == "b") & (view["size"] > 0.45)]
    drawn = axes.collections[0].get_offsets()
    assert sorted(map(tuple, np.round(drawn, 9))) == sorted(map(tuple, kept[["x", "y"]].to_numpy().round(9)))
    assert "1 of 2 highlighted" in legend(axes)
    assert [len(one.get_segments()) for one in axes.collections if isinstance(one, LineCollection)] == [1]
    with pytest.raises(dkv.FilterError, match="did you mean 'kind'"):
        dkv.plot_map(view, where="kin == 'b'")


def test_placed_rows_are_highlighted_where_they_lie(view):
    new = pd.DataFrame({"x": [5.0], "y": [5.0], "placed": [True]}, index=["query"])
    ax = dkv.plot_map(view, highlight=new)
    assert points(ax)[-1].get_offsets().tolist() == [[5, 5]]
    assert "query" in names(ax)


def test_missed_edges_are_drawn_between_their_rows(view):
    edges = pd.DataFrame(
        {"query": ["r0", "r0", "r1", "r2"], "found": [True, False, False, False]}, index=["r1", "r2", "r3", "gone"]
    )
    ax = dkv.plot_map(view, "kind", missed=edges)
    (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
    drawn = {tuple(sorted(map(tuple, line))) for line in lines.get_segments()}
    at = {label: (row.x, row.y) for label, row in view.iterrows()}
    assert drawn == {tuple(sorted([at["r2"], at["r0"]])), tuple(sorted([at["r3"], at["r1"]]))}
    assert legend(ax)[-1] == "2 missed edges"
    with pytest.raises(dkv.SchemaError, match="ann_edges"):
        dkv.plot_map(view, missed=view)


def test_it_draws_on_the_axes_given_and_gives_them_back(view):
    figure, (left, right) = plt.subplots(1, 2)
    assert dkv.plot_map(view, "kind", ax=right, title="right") is right
    assert not left.collections
    assert right.get_title() == "right"
    assert figure.axes == [left, right]


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_nothing_is_swallowed_by_the_background(view, style):
    with plt.style.context(style):
        ax = dkv.plot_map(
            view, "kind", highlight=["r1"], missed=pd.DataFrame({"query": ["r0"], "found": [False]}, ["r9"])
        )
        back = np.array(to_rgb(ax.get_facecolor()))
        (lines,) = [one for one in ax.collections if isinstance(one, LineCollection)]
        shown = [*_colours.PALETTE, _colours.GREY, *(text.get_color() for text in ax.texts)]
        shown += [tuple(lines.get_colors()[0]), tuple(points(ax)[-1].get_edgecolors()[0])]
        assert min(contrast(to_rgb(one), back) for one in shown) > 1.5
        assert min(contrast(to_rgb(text.get_color()), back) for text in ax.texts) > 4.5


def linear(rgb):
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """The contrast of two colours as WCAG 2 has it."""
    light, dark = sorted((linear(np.asarray(rgb)) @ [0.2126, 0.7152, 0.0722] for rgb in (one, other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("kind", SEEN_AS)
def test_the_colour_blind_tell_the_first_colours_apart(kind):
    seen = np.array(
        [np.clip(np.array(SEEN_AS[kind]) @ linear(np.array(to_rgb(one))), 0, 1) for one in _colours.PALETTE]
    )
    lab = np.cbrt(seen @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.6300]]))
    lab = lab @ np.array([[0.2105, 1.9780, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])  # Oklab
    apart = np.linalg.norm(lab[:, None] - lab, axis=2)
    assert apart[np.triu_indices(8, 1)].min() > 0.05


def test_an_empty_map_and_a_single_row_can_be_drawn(view):
    assert not len(points(dkv.plot_map(view.head(0), "kind"))[0].get_offsets())
    assert len(points(dkv.plot_map(view.head(1), "kind"))[0].get_offsets()) == 1


def test_what_is_no_map_is_refused(view):
    with pytest.raises(dkv.SchemaError, match="x and y"):
        dkv.plot_map(view.drop(columns="y"))


def test_the_extra_is_named(view, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(dkv.MissingExtraError, match=r"dkvector\[plot\]"):
        dkv.plot_map(view)


def test_it_can_be_saved_in_every_form(view, tmp_path):
    figure = dkv.plot_map(view, "kind", highlight=["r1"]).get_figure()
    for form in ("png", "pdf", "svg"):
        figure.savefig(tmp_path / f"map.{form}")
        assert (tmp_path / f"map.{form}").stat().st_size > 1000
