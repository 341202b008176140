"""The lint: it finds what was planted, mends it, and is silent on honest data."""

import html.parser

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import dkvector as dkv
from dkvector.verbs._mixture import Graph, cut, likeness, shape
from dkvector.verbs.lint import CHECKS

RNG = np.random.default_rng


def gaussian(rows=400, dimensions=24, seed=0):
    """Vectors with nothing odd about them."""
    return RNG(seed).standard_normal((rows, dimensions)).astype("f4")


def framed(matrix, **columns: object):
    return pd.DataFrame({"v": dkv.VectorArray(np.ascontiguousarray(matrix, "f4")), **columns})


def rotated(matrix, seed=0):
    """The same vectors as another model would give them."""
    return matrix @ np.linalg.qr(RNG(seed).standard_normal((matrix.shape[1],) * 2))[0].astype("f4")


def some(frame, rows, vector):
    """The frame with other vectors in some rows, as objects."""
    values = list(frame["v"].vec.to_numpy())
    for row in rows:
        values[row] = vector
    return frame.assign(v=pd.Series(values, index=frame.index, dtype=object))


@pytest.fixture(scope="module")
def words():
    return dkv.datasets.load_wordnet()[["lexname", "embedding"]].rename(columns={"embedding": "v"})


def planted(words):
    """What is planted: check → (frame, metric, rows of the finding or None for all)."""
    clean, unit = framed(gaussian()), framed(gaussian() / np.linalg.norm(gaussian(), axis=1, keepdims=True))
    matrix, few = gaussian(), words.iloc[::10]
    own = few["v"].vec.to_numpy().copy()
    other = np.arange(len(few)) % 3 == 0
    own[other] = rotated(own)[other]
    padded, half, lengths = matrix.copy(), matrix.copy(), unit["v"].vec.to_numpy().copy()
    padded[:50, 15:] = 0
    half[:80] = half[:80].astype("f2")
    lengths[::4] *= RNG(1).uniform(2, 9, (100, 1)).astype("f4")
    copied, near, short, same = (matrix.copy() for _ in range(4))
    copied[[10, 20, 30]] = copied[[1, 1, 2]]
    near[[10, 20]] = near[[1, 2]] * 1.5 + 0.01
    short[[7, 9]] *= 1e-5
    same[:, [3, 5]] = 4
    offset = RNG(0).standard_normal((1200, 100)) + 1
    return {
        "unusable, missing": (some(clean, [3, 8], None), "cosine", [3, 8]),
        "unusable, NaN": (some(clean, [3], np.full(24, np.nan, "f4")), "cosine", [3]),
        "unusable, ragged": (some(clean, [5], np.ones(7, "f4")), "euclidean", [5]),
        "unusable, zero": (some(clean, [6], np.zeros(24, "f4")), "cosine", [6]),
        "unusable, tiny": (some(clean, [6], np.full(24, 1e-20, "f4")), "cosine", [6]),
        "unusable, huge": (some(clean, [6], np.full(24, 1e25, "f4")), "dot_product", [6]),
        "storage, doubles": (clean.assign(v=list(matrix.astype("f8"))), "cosine", None),
        "storage, lists": (clean.assign(v=matrix.tolist()), "cosine", None),
        "storage, text": (clean.assign(v=[str(row) for row in matrix.tolist()]), "cosine", None),
        "storage, Arrow": (
            clean.assign(v=pd.array(matrix.tolist(), dtype=pd.ArrowDtype(pa.list_(pa.float64())))),
            "cosine",
            None,
        ),
        "storage, vector": (clean.astype({"v": "vector[24, float64]"}), "euclidean", None),
        "constant": (framed(same), "euclidean", None),
        "lengths": (clean, "dot_product", None),
        "short": (framed(short), "cosine", [7, 9]),
        "models": (clean.assign(embedding_model=["ada"] * 300 + ["e5"] * 100), "cosine", list(range(300, 400))),
        "models, by value": (clean.assign(model=["bge-small"] * 399 + ["all-MiniLM-L6-v2"]), "cosine", [399]),
        "padding": (framed(padded), "cosine", list(range(50))),
        "two_spaces": (few.assign(v=dkv.VectorArray(own)), "cosine", few.index[other].tolist()),
        "mixed_lengths": (framed(lengths), "cosine", list(range(0, 400, 4))),
        "mixed_precision": (framed(half), "cosine", list(range(80))),
        "copies": (framed(copied), "cosine", [1, 2, 10, 20, 30]),
        "copies, euclidean": (framed(copied), "euclidean", [1, 2, 10, 20, 30]),
        "copies, dot": (framed(copied), "dot_product", [1, 2, 10, 20, 30]),
        "near_duplicates": (framed(near), "cosine", [1, 2, 10, 20]),
        "near_duplicates, dot": (framed(near), "dot_product", [1, 2, 10, 20]),
        "near_duplicates, euclidean": (framed(np.vstack([matrix, matrix[:2] + 0.01])), "euclidean", [0, 1, 400, 401]),
        "hubs": (framed(offset), "cosine", None),
        "common_direction": (framed(matrix + 3), "cosine", None),
    }


PLANTED = list(planted(dkv.datasets.load_wordnet()[["embedding"]].iloc[:20].rename(columns={"embedding": "v"})))


@pytest.fixture(scope="module")
def plants(words):
    return planted(words)


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found_in_its_rows_and_its_fix_mends_it(plants, case):
    frame, metric, rows = plants[case]
    name = case.split(",")[0]
    finding = frame.vec.check(metric=metric)[name]
    if name != "hubs":
        assert sorted(finding.rows) == sorted(rows or [])
    mended = frame.copy()
    namespace = {"df": mended, "np": np, "dkv": dkv, "pd": pd}
    exec(finding.fix, namespace)  # noqa: S102 - the fix is ours, and meant to be run
    assert len(namespace["df"]) >= len(frame) / 2
    assert name not in namespace["df"].vec.check(metric=metric)


@pytest.mark.parametrize("case", [case for case in PLANTED if case not in {"two_spaces", "hubs"}])
def test_every_fix_of_a_report_runs_alone(plants, case):
    frame, metric, _ = plants[case]
    broken = some(frame, [1], None) if frame["v"].dtype == "vector[24]" else frame
    for finding in broken.vec.check(metric=metric):
        if finding.fix:
            exec(finding.fix, {"df": broken.copy(), "np": np, "dkv": dkv, "pd": pd})  # noqa: S102 - ours


def test_copies_are_copies_and_no_near_duplicates(plants):
    assert "near_duplicates" not in plants["copies"][0].vec.check()


def test_every_check_is_planted():
    kinds = {case.split(",")[0] for case in PLANTED}
    assert len(kinds) == len(CHECKS)


MIXED = {"models", "padding", "two_spaces", "mixed_lengths", "mixed_precision"}


def honest(name, words):
    digits = dkv.datasets.load_digits().rename(columns={"embedding": "v"})
    matrix, _ = np.float32(digits["v"].vec.to_numpy()), None
    ends = RNG(0).choice([4, 7, 9, 12, 24], (400, 1))
    centres = 5 * RNG(0).standard_normal((200, 64))
    return {
        "words": words,
        "nouns and verbs": words[words["lexname"].isin(["noun.animal", "verb.motion"])],
        "plants and persons": words[words["lexname"].isin(["noun.plant", "noun.person"])],
        "a tenth of the words": words.iloc[::10],
        "sentences": dkv.datasets.load_wordnet_queries().rename(columns={"embedding": "v"}),
        "digits": digits,
        "zeros and ones": digits[digits["digit"].isin([0, 1])],
        "digits of unit length": framed(matrix / np.linalg.norm(matrix, axis=1, keepdims=True)),
        "noise": framed(gaussian()),
        "two heaps": framed(np.vstack([gaussian(), gaussian(seed=1) + 4])),
        "two hundred heaps": framed(centres[np.arange(4000) % 200] + RNG(1).standard_normal((4000, 64))),
        "cars": framed(gaussian(), model=["Golf", "Corolla"] * 200, version=["1", "2"] * 200),
        "lengths round 1": framed(gaussian(500, 1000) / np.sqrt(1000)),
        "open ends": framed(np.where(np.arange(24) < ends, gaussian(), 0)),
        "counts": framed(RNG(0).poisson(0.3, (500, 32)) + np.eye(500, 32)),
        "few": framed(gaussian(5)),
    }[name]


HONEST = [
    "nouns and verbs", "plants and persons", "a tenth of the words", "sentences", "digits", "zeros and ones",
    "digits of unit length",
    "noise", "two heaps", "two hundred heaps", "cars", "lengths round 1", "open ends", "counts", "few",
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "metric"),
    [("words", "cosine"), *((name, metric) for name in HONEST for metric in ("cosine", "euclidean"))],
)
def test_honest_data_is_not_said_to_be_mixed_or_broken(words, name, metric):
    report = honest(name, words).vec.check(metric=metric, sample=6000)
    assert {finding.check for finding in report} & MIXED == set()
    assert [finding.check for finding in report if finding.severity == "error"] == []


@pytest.mark.parametrize("share", [0.1, 0.5])
@pytest.mark.parametrize("other", ["rotated", "permuted"])
def test_a_second_model_is_told_row_by_row(words, share, other):
    few = words.iloc[::4]
    matrix = few["v"].vec.to_numpy()
    second = RNG(3).random(len(few)) < share
    theirs = rotated(matrix) if other == "rotated" else matrix[:, RNG(0).permutation(384)]
    frame = few.assign(v=dkv.VectorArray(np.where(second[:, None], theirs, matrix)))
    found = frame.index.isin(frame.vec.check()["two_spaces"].rows)
    assert max((found == second).mean(), (found != second).mean()) > 0.999


def test_of_many_rows_a_sample_is_compared_and_all_are_judged(words):
    few = words.iloc[::4]
    matrix = few["v"].vec.to_numpy().copy()
    second = np.arange(len(few)) % 4 == 0
    matrix[second] = rotated(matrix)[second]
    report = few.assign(v=dkv.VectorArray(matrix)).vec.check(sample=2000)
    found = few.index.isin(report["two_spaces"].rows)
    assert (found == second).mean() > 0.99
    near = framed(np.vstack([gaussian(200)] * 2) * np.repeat([[1], [1.001]], 200, axis=0)).vec.check(sample=300)
    assert "among 300 rows drawn by chance" in near["near_duplicates"].message
    assert 0 < len(near["near_duplicates"].rows) < 300


def test_hubs_are_measured_as_radovanovic_et_al_do():
    matrix = RNG(0).standard_normal((300, 40)).astype("f4") + 1
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    near = np.argsort(-(unit @ unit.T) + 9 * np.eye(300), axis=1)[:, :10]
    counts = np.bincount(near.ravel(), minlength=300)
    skewness = ((counts - counts.mean()) ** 3).mean() / counts.std() ** 3
    finding = framed(matrix).vec.check()["hubs"]
    assert f"skewness {skewness:.2f}" in finding.message
    assert f"nearest of {counts.max()} others" in finding.message
    assert counts[finding.rows[0]] == counts.max()
    assert set(finding.rows) == set(np.flatnonzero(counts > counts.mean() + 2 * counts.std()))


def test_a_fix_is_offered_only_where_it_was_seen_to_help():
    high = framed(gaussian(1500, 100))
    finding = high.vec.check(metric="euclidean")["hubs"]
    assert finding.fix == ""
    assert "which is not enough" in finding.message


def test_the_common_direction_is_the_mean_cosine_of_pairs():
    matrix = gaussian(150) + 3
    unit = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    mean = (unit @ unit.T)[~np.eye(150, dtype=bool)].mean()
    assert f"cosine of {mean:.2f} in the mean" in framed(matrix).vec.check()["common_direction"].message


@pytest.mark.parametrize("rows", [0, 1, 2, 12])
@pytest.mark.parametrize("metric", list(dkv.DistanceMetric))
def test_few_rows_and_copies_of_one_are_looked_at_too(rows, metric):
    assert [one.severity for one in framed(gaussian(rows)).vec.check(metric=metric)].count("error") == 0
    report = framed(np.ones((rows, 4))).vec.check(metric=metric)
    assert {one.check for one in report} == ({"copies"} if rows > 1 else set())


def test_all_rows_unusable_leave_nothing_more_to_say():
    frame = pd.DataFrame({"v": dkv.VectorArray(np.zeros((3, 2), "f4"))})
    report = frame.vec.check()
    assert [(one.check, one.rows.tolist()) for one in report] == [("unusable", [0, 1, 2])]


def test_labels_repeat_and_names_are_no_text():
    matrix = gaussian()
    matrix[5] = matrix[2]
    frame = pd.DataFrame({pd.Timestamp("2024-01-01"): dkv.VectorArray(matrix)}, index=[7] * 400)
    finding = frame.vec.check()["copies"]
    assert finding.rows.tolist() == [7, 7]
    namespace = {"df": frame}
    exec(finding.fix, namespace)  # noqa: S102 - ours
    assert len(namespace["df"]) == 399


def test_one_of_several_columns_is_looked_at():
    frame = framed(gaussian()).assign(w=framed(np.ones((400, 3)))["v"])
    with pytest.raises(dkv.SchemaError, match="several vector columns"):
        frame.vec.check()
    assert "copies" not in frame.vec.check(on="v")
    assert frame.vec.check(on="w")["copies"].fix == "df = df.vec.drop_duplicates(1, on='w')"


# The report


class Tags(html.parser.HTMLParser):
    """Checks that tags are closed in turn, and collects the text."""

    def __init__(self, text) -> None:
        super().__init__()
        self.open, self.text, self.seen = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, _):
        self.open.append(tag)
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def report():
    matrix = gaussian(dimensions=4)
    matrix[[1, 2]] = matrix[0]
    frame = pd.DataFrame({"<v>": list(matrix.astype("f8"))}, index=[f"<b>{row}" for row in range(400)])
    frame.iloc[7, 0] = None
    return frame.vec.check()


def test_what_is_left_out_is_all_that_no_distance_can_measure():
    vectors = gaussian(50)
    vectors[7] *= 2e18
    frame = framed(vectors)
    finding = frame.vec.check(metric="euclidean")["unusable"]
    namespace = {"df": frame.copy()}
    exec(finding.fix, namespace)  # noqa: S102 - ours
    assert len(namespace["df"]) == 49
    assert len(namespace["df"].vec.search(vectors[0], metric="euclidean", k=50)) == 49


def test_a_report_is_a_tidy_frame(report):
    table = report.to_frame()
    assert table.columns.tolist() == ["check", "severity", "rows", "message", "fix"]
    assert table["check"].tolist()[:2] == ["unusable", "copies"]
    assert table["severity"].tolist()[:2] == ["error", "warning"]
    assert table["rows"].tolist()[:2] == [1, 3]
    order = ["error", "warning", "info"]
    assert table["severity"].map(order.index).is_monotonic_increasing
    assert len(report) == len(table) == len(list(report))
    empty = dkv.datasets.load_wordnet_queries().iloc[:3].vec.check().to_frame()
    assert empty.dtypes.tolist() == table.dtypes.tolist()


def test_a_report_reads_as_text(report):
    lines = str(report).splitlines()
    assert lines[0] == f"<v>: 399 vectors of 4 dimensions, by cosine: {len(report)} findings"
    assert lines[1] == "✗ unusable (error)"
    assert "1 of 400 rows have no vector that can be searched: vector missing in '<v>' at '<b>7'" in " ".join(
        line.strip() for line in lines[2:5]
    )
    assert "        df = df[df['<v>'].vec.norms.between(1e-14, 1e19)].copy()" in lines
    assert "At '<b>0', '<b>1', '<b>2' (3 rows)." in str(report)
    assert max(map(len, lines)) <= 110
    assert str(framed(gaussian(5)).vec.check()) == "v: 5 vectors of 24 dimensions, by cosine: no findings"


def test_a_report_shows_in_a_notebook_and_its_text_is_no_code(report):
    tags = Tags(report._repr_html_())
    assert tags.open == []
    assert "b" in tags.seen
    assert tags.seen.count("tr") == len(report) + 1
    text = "".join(tags.text)
    assert "'<b>0', '<b>1', '<b>2' (3 rows)" in text
    assert report["copies"].fix in text
    assert "table" not in Tags(framed(gaussian(5)).vec.check()._repr_html_()).seen


def test_a_finding_is_taken_by_name(report):
    assert "copies" in report
    assert report["copies"].severity == "warning"
    with pytest.raises(dkv.NotFoundError, match="no finding 'copy'"):
        _ = report["copy"]


# The cut that tells two models


def test_a_cut_goes_where_fewest_pairs_are():
    """Two rings of 30 rows, joined by one pair."""
    ring = np.arange(30)
    one = np.concatenate([ring, 30 + ring, [0]])
    other = np.concatenate([(ring + 1) % 30, 30 + (ring + 1) % 30, [30]])
    side, across = cut(Graph(one, other, 60))
    assert sorted([side[:30].sum(), side[30:].sum()]) == [0, 30]
    assert across == pytest.approx(1 / 61)


def test_a_cut_leaves_crumbs_alone():
    """Two loose rows are cheaper to cut off than half of the ring, and too few to be a set."""
    ring = np.arange(50)
    side, _ = cut(Graph(np.append(ring, 50), np.append((ring + 1) % 50, 51), 52), least=0.2)
    assert min(side.sum(), (~side).sum()) >= 10


def test_shapes_of_one_model_are_alike_and_of_two_are_not():
    axes = RNG(0).standard_normal((300, 5)) * [9, 7, 5, 3, 1] @ RNG(1).standard_normal((5, 60))
    one, two = shape(np.float32(axes[:150])), shape(np.float32(axes[150:] + 4))
    assert likeness(one, two) > 0.9
    assert abs(likeness(one, shape(rotated(np.float32(axes[150:]))))) < 0.3
    assert likeness(one, one) == pytest.approx(1)
