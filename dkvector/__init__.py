"""Search, judge and understand the embeddings in a DataFrame, and carry the same code to the engine production uses.

Importing this package registers `df.vec` and `series.vec` and the dtype `vector[d]`; it imports no engine.
"""

from dkvector import datasets, local, widgets
from dkvector.accessor import register
from dkvector.blends import Blend
from dkvector.blocking import VectorStore
from dkvector.bridge.database import HybridVectorDatabase
from dkvector.compiled import Compiled
from dkvector.compiling import compile  # noqa: A004 - the word for it
from dkvector.dtype import VectorArray, VectorDtype
from dkvector.encoders import Encoder
from dkvector.environment import show_versions
from dkvector.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    DkvectorError,
    DuplicateIdError,
    FilterError,
    MissingExtraError,
    NotFoundError,
    PartialWriteError,
    SchemaError,
    UnsupportedError,
    VectorError,
)
from dkvector.evaluation.evaluate import evaluate
from dkvector.evaluation.fitting import FittedFusion, fit_fusion
from dkvector.evaluation.ground import ground_truth
from dkvector.evaluation.parity import Parity, parity
from dkvector.evaluation.report import Evaluation
from dkvector.evaluation.shrink import Shrink, shrink
from dkvector.evaluation.truth import Truth
from dkvector.evaluation.tune import tune
from dkvector.evaluation.tuned import Tuned
from dkvector.fields import Field, FieldType, VectorField
from dkvector.filters import Filter, col
from dkvector.fusion import RRF, Weighted
from dkvector.indexes import HNSW, IVF, Auto, Flat, Tuning
from dkvector.ingest import Reading
from dkvector.maps import ann_edges, edge_recall, place, plot_map, project
from dkvector.metrics import DistanceMetric
from dkvector.operations import VectorOperations
from dkvector.parquet import read_parquet, to_parquet
from dkvector.pushing import push
from dkvector.query import Query, VectorQuery
from dkvector.reasons import WhyNot
from dkvector.records import Record
from dkvector.refinements import MMR, Cut, Evidence, Group
from dkvector.registry import VectorStoreFactory, connect
from dkvector.replication import Replica, replica
from dkvector.results import Explanation, Hits
from dkvector.row_columns import from_arrow
from dkvector.schema import Schema, Supports, VectorInfo
from dkvector.store import AsyncVectorStore
from dkvector.verified import Verified
from dkvector.views import Audited, Cached, Event, Limited, RateLimit, Restricted

__version__ = "0.1.0"

__all__ = [
    "HNSW",
    "IVF",
    "MMR",
    "RRF",
    "AccessDeniedError",
    "AsyncVectorStore",
    "Audited",
    "Auto",
    "BackendUnavailableError",
    "Blend",
    "Cached",
    "Compiled",
    "Cut",
    "DistanceMetric",
    "DkvectorError",
    "DuplicateIdError",
    "Encoder",
    "Evaluation",
    "Event",
    "Evidence",
    "Explanation",
    "Field",
    "FieldType",
    "Filter",
    "FilterError",
    "FittedFusion",
    "Flat",
    "Group",
    "Hits",
    "HybridVectorDatabase",
    "Limited",
    "MissingExtraError",
    "NotFoundError",
    "Parity",
    "PartialWriteError",
    "Query",
    "RateLimit",
    "Reading",
    "Record",
    "Replica",
    "Restricted",
    "Schema",
    "SchemaError",
    "Shrink",
    "Supports",
    "Truth",
    "Tuned",
    "Tuning",
    "UnsupportedError",
    "VectorArray",
    "VectorDtype",
    "VectorError",
    "VectorField",
    "VectorInfo",
    "VectorOperations",
    "VectorQuery",
    "VectorStore",
    "VectorStoreFactory",
    "Verified",
    "Weighted",
    "WhyNot",
    "ann_edges",
    "col",
    "compile",
    "connect",
    "datasets",
    "edge_recall",
    "evaluate",
    "fit_fusion",
    "from_arrow",
    "ground_truth",
    "local",
    "parity",
    "place",
    "plot_map",
    "project",
    "push",
    "read_parquet",
    "register",
    "replica",
    "show_versions",
    "shrink",
    "to_parquet",
    "tune",
    "widgets",
]

register()
