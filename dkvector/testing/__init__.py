"""The conformance suite: what every store must do, for our backends and for those of third parties.

Subclass `StoreTests` in a test module, give it two fixtures, and pytest runs the whole contract against a store::

    class TestMine(StoreTests):
        @pytest.fixture
        async def store(self):            # an empty store in a namespace of its own
            store = await MyStore.open({...})
            yield store
            await store.drop()
            await store.aclose()

        @pytest.fixture
        def raw_count(self, store):       # asks the engine past our code how many rows it holds
            return lambda: ...

Distances are compared with a loop over plain NumPy which shares no code with any backend. An inherited test is not to
be redefined: what a backend can't do it declares in `supports`, and the suite checks that it then refuses.
"""

from dkvector.testing.asking import AskTests
from dkvector.testing.blends import BlendTests, FieldsTests
from dkvector.testing.diffing import DiffTests
from dkvector.testing.hybrid import HybridTests
from dkvector.testing.keyword import KeywordTests
from dkvector.testing.oracle import naive_distance, naive_search, recall, sample_frame, sample_queries
from dkvector.testing.records import RecordTests
from dkvector.testing.refining import CompileTests, RefineTests
from dkvector.testing.refusals import RefusalTests
from dkvector.testing.search import SearchTests
from dkvector.testing.verifying import VerifyTests
from dkvector.testing.versions import VersionTests
from dkvector.testing.where import FilterTests
from dkvector.testing.writes import WriteTests


class StoreTests(
    SearchTests,
    AskTests,
    VerifyTests,
    VersionTests,
    FilterTests,
    KeywordTests,
    HybridTests,
    BlendTests,
    FieldsTests,
    RefineTests,
    CompileTests,
    WriteTests,
    DiffTests,
    RefusalTests,
    RecordTests,
):
    """The contract of a store."""


__all__ = [
    "DiffTests",
    "HybridTests",
    "KeywordTests",
    "StoreTests",
    "naive_distance",
    "naive_search",
    "recall",
    "sample_frame",
    "sample_queries",
]
