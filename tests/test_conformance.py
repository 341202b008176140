"""The conformance suite itself: its oracle is right, nobody bends it, and it finds a broken store."""

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dkvector.metrics import DistanceMetric
from dkvector.testing import StoreTests, naive_distance, naive_search, sample_frame, sample_queries

COSINE, EUCLIDEAN, DOT = DistanceMetric
TESTS = Path(__file__).parent


@pytest.mark.parametrize("metric", list(DistanceMetric))
def test_the_oracle_agrees_with_a_sort(metric):
    frame, queries = sample_frame(100), sample_queries(5)
    matrix = np.stack(frame.embedding).astype(np.float64)
    for query in queries.astype(np.float64):
        distances = {
            COSINE: 1 - matrix @ query / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(query)),
            EUCLIDEAN: np.linalg.norm(matrix - query, axis=1),
            DOT: -(matrix @ query),
        }[metric]
        best = np.argsort(distances, kind="stable")[:10]
        found = naive_search(frame, query.astype(np.float32), 10, metric)
        assert [label for label, _ in found] == frame.index[best].tolist()
        np.testing.assert_allclose([distance for _, distance in found], distances[best], atol=1e-12)


@pytest.mark.parametrize(("metric", "expected"), [(COSINE, 1 - 0.6), (EUCLIDEAN, np.sqrt(20)), (DOT, -3.0)])
def test_distances_by_hand(metric, expected):
    assert naive_distance(np.float32([1, 0]), np.float32([3, 4]), metric) == pytest.approx(expected)


def test_ties_of_the_oracle_come_by_label():
    frame = pd.DataFrame({"embedding": [np.float32([1, 2])] * 3}, index=["c", "a", "b"])
    assert [label for label, _ in naive_search(frame, np.float32([1, 2]), 2, EUCLIDEAN)] == ["a", "b"]


def below(cls):
    return [cls, *(one for sub in cls.__subclasses__() for one in below(sub))]


def test_no_backend_redefines_a_test_of_the_suite():
    modules = []  # kept, for a class that nobody holds is gone from its parent's list
    for path in TESTS.glob("test_*.py"):
        if "StoreTests" in path.read_text("utf-8") and path.name != Path(__file__).name:
            spec = importlib.util.spec_from_file_location(f"checked_{path.stem}", path)
            modules.append(importlib.util.module_from_spec(spec))
            spec.loader.exec_module(modules[-1])
    ours = {name for name in dir(StoreTests) if name.startswith("test_")}
    subclasses = below(StoreTests)[1:]
    assert {one.__name__ for one in subclasses} >= {"TestExact", "TestFlat", "TestHNSW", "TestIVF"}
    bent = {f"{one.__name__}.{name}" for one in subclasses for name in vars(one) if name in ours}
    assert bent == set()


BROKEN = """
import dataclasses

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from dkvector.backends import _topk
from dkvector.backends._local import Candidates
from dkvector.backends._topk import Nearest
from dkvector.backends.exact import ExactStore
from dkvector.filters import col
from dkvector.requests import Written
from dkvector.testing import StoreTests


class PostFiltering(ExactStore):
    def _nearest(self, rows, request, candidates):
        found = super()._nearest(rows, request, Candidates(None, rows.total))
        if candidates.mask is None:
            return found
        near = found.nearest
        kept = candidates.mask[near.positions]
        query = np.repeat(np.arange(len(near.counts)), near.counts)[kept]
        counts = np.bincount(query, minlength=len(near.counts))
        return dataclasses.replace(found, nearest=Nearest(near.positions[kept], near.distances[kept], counts))


class Squaring(ExactStore):
    def _nearest(self, rows, request, candidates):
        found = super()._nearest(rows, request, candidates)
        return dataclasses.replace(
            found, nearest=dataclasses.replace(found.nearest, distances=found.nearest.distances**2)
        )


class Duplicating(ExactStore):
    def _upsert_now(self, batch, mode, *, progress):
        if self._rows is None or mode != "upsert":
            return super()._upsert_now(batch, mode, progress=progress)
        self._publish(self._rows.appended(self._owned(batch)), progress=progress)
        return Written(0, len(batch), (), batch.labels)


class OfItsOwnMetric(ExactStore):
    '''Finds by the metric of its index, and measures what it found by the one that was asked for.'''

    def _nearest(self, rows, request, candidates):
        own = dataclasses.replace(request, metric=request.info.metric)
        found = super()._nearest(rows, own, candidates)
        near, blocks = found.nearest, rows.blocks(request.info.name)
        query = np.repeat(np.arange(len(near.counts)), near.counts)
        again = _topk.measured(
            blocks, request.queries, query, near.positions, k=request.k, metric=request.metric, ranks=rows.ranks
        )
        return dataclasses.replace(found, nearest=again)


class FindingMissing(ExactStore):
    '''Takes a missing value for a different one, but only where it searches.'''

    def _candidates(self, rows, request):
        found = super()._candidates(rows, request)
        if "!=" not in str(request.where):
            return found
        mask = found.mask | np.logical_or.reduce([rows.matching(col(n).is_null()) for n in request.where.columns()])
        return Candidates(mask, int(mask.sum()))


class Repeating(ExactStore):
    '''Gives the nearest row over and over, as shards do that hold the same rows.'''

    def _nearest(self, rows, request, candidates):
        found = super()._nearest(rows, request, candidates)
        near = found.nearest
        first = np.repeat(np.cumsum(near.counts) - near.counts, near.counts)
        again = Nearest(near.positions[first], near.distances[first], near.counts)
        return dataclasses.replace(found, nearest=again)


class WritingFirst(ExactStore):
    '''Writes the rows that it knows before it refuses them.'''

    def _upsert_now(self, batch, mode, *, progress):
        if mode == "insert" and self._rows is not None:
            known = pa.array(self._rows.locate(batch.labels) >= 0)
            ids, payload = batch.ids.filter(known), batch.payload.filter(known)
            vectors = {name: matrix[np.asarray(known)] for name, matrix in batch.vectors.items()}
            some = dataclasses.replace(batch, ids=ids, payload=payload, vectors=vectors)
            super()._upsert_now(some, "upsert", progress=progress)
        return super()._upsert_now(batch, mode, progress=progress)


class ByPlace(ExactStore):
    '''Takes the columns of a later write by their places.'''

    def _upsert_now(self, batch, mode, *, progress):
        names = [] if self._rows is None else self._rows.schema.payload.names
        if len(names) == batch.payload.num_columns:
            batch = dataclasses.replace(batch, payload=batch.payload.rename_columns(names))
        return super()._upsert_now(batch, mode, progress=progress)


class OfDoubles(ExactStore):
    '''Keeps ids that are numbers as JSON's.'''

    def _upsert_now(self, batch, mode, *, progress):
        if pa.types.is_integer(batch.ids.type):
            ids = pa.array(batch.ids.to_numpy().astype("f8").astype(batch.ids.type.to_pandas_dtype()))
            batch = dataclasses.replace(batch, ids=ids)
        return super()._upsert_now(batch, mode, progress=progress)


class Misplacing(ExactStore):
    '''Gives ids in the order that was asked for, and vectors in its own.'''

    def _get_now(self, ids, columns, include_vectors):
        found = super()._get_now(ids, columns, include_vectors)
        order = np.argsort(self.rows.locate(ids))
        for at, name in enumerate(found.column_names):
            if include_vectors and name == "embedding":
                found = found.set_column(at, found.schema.field(at), found.column(at).take(pa.array(order)))
        return found


class DeletingMore(ExactStore):
    '''Deletes what has one of the ids, or satisfies the filter.'''

    def _delete_now(self, ids, where):
        if ids is None or where is None:
            return super()._delete_now(ids, where)
        return super()._delete_now(ids, None) + super()._delete_now(None, where)


class Blind(ExactStore):
    '''Finds nothing where a filter comes with many queries.'''

    def _nearest(self, rows, request, candidates):
        if request.where is not None and len(request.queries) > 3:
            candidates = Candidates(np.zeros(rows.total, bool), 0)
        return super()._nearest(rows, request, candidates)


class FillingGaps(ExactStore):
    '''Takes truths that are missing for false ones.'''

    def _upsert_now(self, batch, mode, *, progress):
        filled = [
            one.fill_null(False) if pa.types.is_boolean(one.type) else one for one in batch.payload.itercolumns()
        ]
        batch = dataclasses.replace(batch, payload=pa.table(filled, schema=batch.payload.schema))
        return super()._upsert_now(batch, mode, progress=progress)


class Forgetting(ExactStore):
    '''Forgets what a row held when its vector is replaced.'''

    async def update_vector(self, id, vector_field, new_vector):
        found = await super().update_vector(id, vector_field, new_vector)
        if found:
            await self.upsert(pd.DataFrame({"title": [None], vector_field: [new_vector]}, index=[id]))
        return found


class Suite(StoreTests):
    @pytest.fixture
    async def store(self):
        return await self.kind.open({})

    @pytest.fixture
    def raw_count(self, store):
        return lambda: int((~store.rows.dead).sum())


class TestSound(Suite):
    kind = ExactStore


class TestPostFiltering(Suite):
    kind = PostFiltering


class TestSquaring(Suite):
    kind = Squaring


class TestDuplicating(Suite):
    kind = Duplicating


class TestOfItsOwnMetric(Suite):
    kind = OfItsOwnMetric


class TestFindingMissing(Suite):
    kind = FindingMissing


class TestRepeating(Suite):
    kind = Repeating


class TestWritingFirst(Suite):
    kind = WritingFirst


class TestByPlace(Suite):
    kind = ByPlace


class TestOfDoubles(Suite):
    kind = OfDoubles


class TestMisplacing(Suite):
    kind = Misplacing


class TestDeletingMore(Suite):
    kind = DeletingMore


class TestBlind(Suite):
    kind = Blind


class TestFillingGaps(Suite):
    kind = FillingGaps


class TestForgetting(Suite):
    kind = Forgetting
"""
RELEVANT = (
    "fills_k or fewer_matches or distance_of_every_hit or upsert_replaces or upsert_adds or hnsw or finds_the_nearest"
    " or another_metric or missing_values or insert_refuses or by_their_names or labels_come or get_keeps"
    " or test_delete or forced_index or may_be_missing or test_records"
)


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """Run the suite over stores that are broken, each in its own way, and count what it says of each."""
    path = tmp_path_factory.mktemp("broken") / "test_broken.py"
    path.write_text(BROKEN, "utf-8")
    options = ["-q", "-rA", "-o", "asyncio_mode=auto", "-p", "no:cacheprovider", "--tb=no", "-k", RELEVANT]
    run = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "pytest", *options, path.name],
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    told = [line.split() for line in run.stdout.splitlines() if line.startswith(("PASSED", "FAILED", "ERROR"))]
    return [(outcome, *test.split("::")[1:]) for outcome, test, *_ in told]


def test_a_sound_store_passes(outcomes):
    mine = [outcome for outcome, store, _ in outcomes if store == "TestSound"]
    assert Counter(mine) == {"PASSED": 31}


@pytest.mark.parametrize(
    ("store", "caught"),
    [
        ("TestPostFiltering", {"test_a_filter_still_fills_k", "test_fewer_matches_than_k_all_come"}),
        ("TestSquaring", {"test_distance_of_every_hit_is_the_distance_of_that_row"}),
        ("TestDuplicating", {"test_upsert_replaces", "test_upsert_adds"}),
        ("TestOfItsOwnMetric", {"test_another_metric_is_answered_or_refused_never_replaced"}),
        ("TestFindingMissing", {"test_missing_values_satisfy_nothing_but_is_null"}),
        ("TestRepeating", {"test_finds_the_nearest_rows"}),
        ("TestWritingFirst", {"test_insert_refuses_known_ids_and_writes_nothing"}),
        ("TestByPlace", {"test_columns_are_known_by_their_names"}),
        ("TestOfDoubles", {"test_labels_come_back_as_they_went_in"}),
        ("TestMisplacing", {"test_get_keeps_the_order_of_the_ids"}),
        ("TestDeletingMore", {"test_delete"}),
        ("TestFillingGaps", {"test_values_of_any_type_may_be_missing"}),
        ("TestForgetting", {"test_records"}),
        ("TestBlind", {"test_a_forced_index_keeps_to_the_filter", "test_a_filter_still_fills_k"}),
    ],
)
def test_a_broken_store_is_found_out(outcomes, store, caught):
    failed = {test.partition("[")[0] for outcome, name, test in outcomes if name == store and outcome == "FAILED"}
    assert failed >= caught
    assert "test_an_index_it_has_not_is_refused" not in failed  # and what is sound in it passes
