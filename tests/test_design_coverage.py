"""Every item of the design has its row, and every test that a row names is there."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/design-coverage.md").read_text("utf-8")
ROWS = [line for line in TEXT.splitlines() if line.startswith("| ") and not line.startswith("| Design |")]
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", TEXT)))


def names_in(file):
    path = ROOT / file if "/" in file else ROOT / "tests" / file
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if getattr(node, "name", None)}


@pytest.mark.parametrize(("file", "name"), [pair for pair in NAMED if pair[1]])
def test_a_test_that_is_named_is_there(file, name):
    assert name in names_in(file)


@pytest.mark.parametrize("file", sorted({file for file, _ in NAMED} - {"tests/test_design_coverage.py"}))
def test_a_file_that_is_named_has_tests(file):
    assert any(name.startswith(("test_", "Test")) for name in names_in(file))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip()[:40])
def test_every_row_names_its_proof(row):
    assert re.search(r"`[\w/]+\.py", row.rsplit("|", 2)[1])


@pytest.mark.parametrize(
    "item",
    [
        *("FieldType.VECTOR", "VectorOperations", "pgvector", "dense_vector", "Faiss", "with_vector_search"),
        *("VectorStoreFactory", "HybridVectorDatabase", "postgres_config", "es_config", "faiss_config", "breaking"),
        *("batch", "normalise", "train IVF", "pooling", "caching", "privacy", "access control", "rate limiting"),
        *("input validation", "streaming", "quantisation", "multi-vector", "hybrid ranking", "auto-indexing"),
        *("versioning", "test_vector_field_validation", "test_faiss_indexing", "test_postgres_vector_search"),
    ],
)
def test_every_item_of_the_design_has_its_row(item):
    assert any(item.lower() in row.split("|")[1].lower() for row in ROWS)
