"""Pictures show the figures of their frames, with names that can be read, on the axes they are given."""

import subprocess
import sys
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_rgb
from matplotlib.text import Text

import dkvector as dkv
from dkvector import plotting
from dkvector.evaluation.report import COLUMNS, COUNTS, TEXTS, Evaluation
from dkvector.plotting import _style


def runs_of(*rows):
    """Runs as an evaluation has them, with what is not given left unknown."""
    given = pd.DataFrame(list(rows)).reindex(columns=list(COLUMNS))
    texts = {name: given[name].astype(object).fillna("").astype("str") for name in TEXTS}
    counts = {name: given[name].fillna(10).astype("int64") for name in COUNTS}
    return given.assign(**texts, **counts)


def sweep(index, *points, knob="ef_search", **more):
    return [
        {
            "backend": "faiss",
            "index": index,
            "tuning": f"{knob}={2**at}",
            "recall": recall,
            "recall_low": recall - 0.01,
            "recall_high": min(1, recall + 0.01),
            "qps": qps,
            "index_used": 1.0,
            "selectivity": 1.0,
            **more,
        }
        for at, (recall, qps) in enumerate(points)
    ]


RUNS = runs_of(
    *sweep("HNSW(m=16)", (0.7, 900), (0.9, 700), (0.85, 600), (0.99, 300), build_s=6.0, index_bytes=3e7),
    *sweep("IVF(lists=9)", (0.6, 950), (0.97, 310), knob="probes", build_s=0.5, index_bytes=2e7),
    *sweep("HNSW(m=16)", (1.0, 100), where="depth > 4", selectivity=0.01),
    {"backend": "faiss", "index": "Flat()", "recall": 1.0, "recall_low": 1.0, "recall_high": 1.0, "qps": 90},
    {"backend": "nosuch", "index": "Flat()", "error": "gone"},
)
QUERIES = pd.DataFrame({"run": np.repeat(np.arange(len(RUNS)), 50)}).assign(
    query=np.tile(np.arange(50), len(RUNS)), latency_ms=np.random.default_rng(0).lognormal(0, 1, 50 * len(RUNS))
)
FORMS = pd.DataFrame(
    {
        "form": ["float32", "int8", "16 dims", "pq"],
        "family": ["float32", "codes", "dimensions", "codes"],
        "bytes_per_vector": [256.0, 64.0, 64.0, 16.0],
        "recall": [1.0, 0.98, 0.3, 0.7],
        "recall_rescored": [1.0, 1.0, 0.6, 0.95],
        "k": 10,
    }
)
SLICES = pd.DataFrame(
    {
        "index": "IVF()",
        "tuning": "probes=4",
        "k": 10,
        "kind": ["a", "b", "c"],
        "queries": [10, 20, 70],
        "recall": [0.9, 0.8, 0.99],
        "recall_low": [0.8, 0.7, 0.98],
        "recall_high": [0.95, 0.9, 1.0],
    }
)
DEPTHS = pd.DataFrame(
    {"pair": ["a / b"] * 3 + ["a / c"] * 3, "depth": [1, 2, 3] * 2, "overlap": [1, 0.9, 0.8, 1, 1, 1]}
)
PLOTS = {
    "frontier": lambda ax: plotting.plot_frontier(RUNS, ax),
    "selectivity": lambda ax: plotting.plot_selectivity(RUNS, ax),
    "latency": lambda ax: plotting.plot_latency(RUNS, QUERIES, ax),
    "builds": lambda ax: plotting.plot_builds(RUNS, ax),
    "slices": lambda ax: plotting.plot_slices(SLICES, "kind", ax),
    "shrink": lambda ax: plotting.plot_shrink(FORMS, ax),
    "parity": lambda ax: plotting.plot_parity(DEPTHS, ax),
}


@pytest.fixture(autouse=True)
def _closed():
    yield
    plt.close("all")


@pytest.fixture(params=PLOTS)
def plot(request):
    return PLOTS[request.param]


def notes(ax):
    return [one for one in ax.texts if one.get_text()]


def lines(ax, colour):
    return [one for one in ax.lines if one.get_color() == colour and len(one.get_xdata()) > 1]


def test_it_is_drawn_on_the_axes_that_are_given_and_on_new_ones(plot):
    _, (one, other) = plt.subplots(1, 2)
    assert plot(one) is one
    assert not other.has_data()
    assert plot(None).figure is not one.figure


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_what_is_written_stands_apart_inside_the_picture_and_against_its_background(plot, style):
    with plt.style.context(style):
        ax = plot(None)
        ax.figure.draw_without_rendering()
        boxes = [(one.get_text(), Text.get_window_extent(one)) for one in notes(ax)]
        for (first, box), (second, other) in combinations(boxes, 2):
            shared = box.intersection(box, other)
            assert shared is None or shared.width < 1 or shared.height < 2, f"{first!r} covers {second!r}"
        for text, box in boxes:
            assert ax.figure.bbox.x0 - 1 <= box.x0, text
            assert box.x1 <= ax.figure.bbox.x1 + 1, text
        paper = np.array(to_rgb(ax.figure.get_facecolor()))
        for one in notes(ax):
            assert np.abs(np.array(to_rgb(one.get_color())) - paper).max() > 0.4, one.get_text()


def test_the_frontier_is_a_line_and_what_is_beaten_is_faint():
    ax = plotting.plot_frontier(RUNS)
    graph = lines(ax, _style.COLOURS[0])
    best = next(one for one in graph if one.get_alpha() is None)
    assert list(zip(best.get_xdata(), best.get_ydata(), strict=True)) == [(0.7, 900), (0.9, 700), (0.99, 300)]
    faint = [one for one in ax.lines if one.get_alpha() == _style.FAINT and len(one.get_xdata())]
    assert [(one.get_xdata().tolist(), one.get_ydata().tolist()) for one in faint] == [([0.85], [600])]
    written = [one.get_text() for one in notes(ax)]
    assert {"HNSW(m=16) by ef_search", "IVF(lists=9) by probes", "Flat()", "1", "8"} <= set(written)
    assert "4" not in written  # the third value of the knob is beaten
    assert ax.get_yscale() == "log"
    assert ax.get_xlabel() == "recall@10"


def test_points_that_lie_apart_are_all_named():
    sizes = [1536, 768, 384, 192, 96, 48, 24, 12]
    forms = pd.DataFrame({"form": [f"form {size}" for size in sizes], "bytes_per_vector": np.float64(sizes)})
    measured = {"recall": np.linspace(0.3, 0.9, 8), "recall_rescored": np.linspace(0.4, 1, 8)}
    ax = plotting.plot_shrink(forms.assign(family="codes", k=10, **measured))
    assert [one.get_text() for one in notes(ax)] == forms["form"].tolist()
    curve = sweep("HNSW(m=16)", (0.3, 900), (0.6, 500), (0.9, 200), (0.99, 50))
    assert {"1", "2", "4"} <= {one.get_text() for one in notes(plotting.plot_frontier(runs_of(*curve)))}


@pytest.mark.parametrize("speed", [0.37, 100.0, 543.3449560884062])
def test_one_run_alone_has_room_above_and_below(speed):
    low, high = plotting.plot_frontier(runs_of({**sweep("Flat()", (1.0, speed))[0], "tuning": ""})).get_ylim()
    assert low < 0.9 * speed < 1.1 * speed < high


def test_a_filter_is_chosen_by_its_name_and_the_speed_by_its_column():
    ax = plotting.plot_frontier(RUNS, where="depth > 4")
    assert ax.get_title() == "where depth > 4"
    assert [one.get_text() for one in notes(ax)] == ["HNSW(m=16)"]
    with pytest.raises(dkv.NotFoundError, match="no filter 'depth'"):
        plotting.plot_frontier(RUNS, where="depth")
    with pytest.raises(dkv.SchemaError, match="no run has a qps_batch"):
        plotting.plot_frontier(RUNS, y="qps_batch")


def test_an_index_that_was_not_used_is_named_so():
    runs = runs_of(*sweep("HNSW(m=16)", (1.0, 10), index_used=0.0), *sweep("IVF()", (0.9, 10)))
    written = [one.get_text() for one in notes(plotting.plot_frontier(runs))]
    assert "HNSW(m=16) — index not used" in written
    assert "IVF()" in written


def test_several_backends_are_told_apart():
    runs = runs_of(*sweep("HNSW(m=16)", (0.9, 10)), *sweep("HNSW(m=16)", (0.8, 20), backend="pgvector"))
    written = {one.get_text() for one in notes(plotting.plot_frontier(runs))}
    assert written == {"faiss HNSW(m=16)", "pgvector HNSW(m=16)"}
    colours = {one.get_color() for one in plotting.plot_frontier(runs).lines if one.get_alpha() is None}
    assert len(colours) == 2


def test_latencies_are_quantiles_of_the_queries():
    ax = plotting.plot_latency(RUNS, QUERIES, runs_shown=[0, 3])
    times = QUERIES.loc[QUERIES["run"] == 3, "latency_ms"].quantile([0.05, 0.25, 0.5, 0.75, 0.95]).to_numpy()
    row = [one for one in ax.lines if 1 in np.atleast_1d(one.get_ydata())]
    np.testing.assert_allclose(np.concatenate([np.atleast_1d(one.get_xdata()) for one in row]), times[[0, 4, 1, 3, 2]])
    assert [one.get_text() for one in ax.get_yticklabels()] == ["HNSW(m=16) ef_search=1", "HNSW(m=16) ef_search=8"]


def test_slices_are_the_worst_first_with_the_mean_of_all():
    ax = plotting.plot_slices(SLICES, "kind")
    assert [one.get_text() for one in ax.get_yticklabels()] == ["b", "a", "c"]
    assert "all 0.943" in [one.get_text() for one in notes(ax)]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]


def test_the_mean_of_all_leaves_out_groups_of_unknown_recall():
    unknown = pd.concat([SLICES, SLICES.head(1).assign(kind="d", queries=900, recall=np.nan)], ignore_index=True)
    assert "all 0.943" in [one.get_text() for one in notes(plotting.plot_slices(unknown, "kind"))]


def test_shares_are_drawn_by_index_and_tuning_over_all_filters():
    runs = runs_of(*(sweep("IVF()", (0.9 - share / 2, 10), selectivity=share)[0] for share in (0.01, 0.5, 0.1)))
    ax = plotting.plot_selectivity(runs)
    assert ax.lines[0].get_xdata().tolist() == [0.01, 0.1, 0.5]
    assert [one.get_text() for one in notes(ax)] == ["IVF() ef_search=1"]


def test_what_can_not_be_drawn_is_said():
    with pytest.raises(dkv.SchemaError, match="needs several filters"):
        plotting.plot_selectivity(RUNS[RUNS["where"] == ""])
    with pytest.raises(dkv.SchemaError, match="no run was finished"):
        plotting.plot_frontier(RUNS.tail(1))
    with pytest.raises(dkv.SchemaError, match="there are no latencies"):
        plotting.plot_latency(RUNS, QUERIES.drop(columns="latency_ms"))
    with pytest.raises(dkv.SchemaError, match="none of these runs has latencies"):
        plotting.plot_latency(RUNS, QUERIES[QUERIES["run"] != 2], runs_shown=[2])
    with pytest.raises(dkv.NotFoundError, match="no run 99: they are numbered from 0 to 8"):
        plotting.plot_latency(RUNS, QUERIES, runs_shown=[0, 99])
    failed = Evaluation(RUNS.tail(1), QUERIES.head(0).assign(recall=0.9, kind="a"), pd.DataFrame(), {})
    with pytest.raises(dkv.SchemaError, match="no run was finished"):
        failed.plot_slices()
    with pytest.raises(dkv.SchemaError, match="no run tells"):
        plotting.plot_builds(RUNS.tail(2))
    with pytest.raises(dkv.SchemaError, match="two stores or more"):
        plotting.plot_parity(DEPTHS.head(0))


def test_an_evaluation_draws_its_own_runs():
    found = Evaluation(RUNS, QUERIES.assign(recall=0.9, kind="a"), pd.DataFrame(), {})
    assert found.plot().get_xlabel() == "recall@10"
    assert found.plot_selectivity().get_xscale() == "log"
    assert found.plot_latency(runs=[1]).get_xscale() == "log"
    assert found.plot_builds().get_ylabel() == "size of the index, MB"
    assert found.plot_slices(run=1).get_xlabel() == "recall@10 of HNSW(m=16) ef_search=2 by kind"


@pytest.mark.parametrize("size", [None, (7, 3.6)])
def test_very_many_names_have_room_inside_the_picture(size):
    shown = [sweep(f"IVF({at})", (0.7 + at / 100, 10), selectivity=share) for at in range(30) for share in (0.1, 0.5)]
    ax = None if size is None else plt.subplots(figsize=size, layout="constrained")[1]
    ax = plotting.plot_selectivity(runs_of(*(one[0] for one in shown)), ax)
    ax.figure.draw_without_rendering()
    boxes = [Text.get_window_extent(one) for one in notes(ax)]
    assert len(boxes) == 30
    for box in boxes:
        assert ax.figure.bbox.y0 <= box.y0 < box.y1 <= ax.figure.bbox.y1
    heights = sorted(box.y0 + box.height / 2 for box in boxes)
    assert np.diff(heights).min() > 0.75 * boxes[0].height


def test_labels_keep_their_distance_and_their_order():
    rng = np.random.default_rng(0)
    for _ in range(50):
        heights = np.sort(rng.random(8))
        placed = np.array(_style._apart(heights.tolist(), 0.05))
        assert (np.diff(placed) >= 0.05 - 1e-9).all()
        assert placed.max() <= 1 + 1e-9
    assert _style._apart([0.0, 0.0, 0.01], 0.1) == pytest.approx([0, 0.1, 0.2])
    assert _style._apart([0.99, 1.0, 1.0], 0.1) == pytest.approx([0.8, 0.9, 1])
    assert _style._apart([0.1, 0.5], 0.05) == [0.1, 0.5]


def test_undominated_runs_of_one_point_and_of_ties():
    same = pd.DataFrame({"recall": [0.9, 0.9, 0.9], "qps": [5, 5, 4]})
    assert len(plotting.undominated(same)) == 1
    assert plotting.undominated(pd.DataFrame({"recall": [], "qps": []})) == []


def test_without_matplotlib_the_extra_is_named():
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "from dkvector import plotting, MissingExtraError\nimport pandas as pd\n"
        "try: plotting.plot_parity(pd.DataFrame({'pair': ['a'], 'depth': [1], 'overlap': [1.0]}))\n"
        "except MissingExtraError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert run.stdout.strip() == "this needs matplotlib, which is not installed: pip install 'dkvector[plot]'"
