"""Imports point one way: a module may import its own line of the drawing below and the lines above it."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

LAYERS = """
  errors
← metrics norms counts refinements fusion vectors detect progress _forms _cells _parsed filters _tree _where _scalars \
  _fork _loop indexes columns _categories _widening _keeper _gelu _html _memory \
  _vector_arrow _vector_parse _vector_rows
← probes vector_info ids dtype _vector_array _vector_dtype _vector_storage parquet fields records query schema \
  verified compiled assembly explanation diversity
← blends results row_columns ingest requests filling sources streams encoders _weights _minilm _repr environment
← primitives answering operations keyword blending hybrid evidence grouping refining explaining loading \
  migration recording versions verifying reasons store
← backends views blocking registry
← comparing diffing mending replication datasets embedding pushing compiling testing evaluation plotting local \
  frames frame_columns frame_search
← verbs
← maps widgets interop
← bridge
← accessor series_accessor
← __init__ demo
"""
# pandas asks a dtype for its array and an array for its dtype: the one circle, closed inside functions.
TWINS = {("_vector_dtype", "_vector_array")}
RANK = {name: rank for rank, line in enumerate(LAYERS.strip().splitlines()) for name in line.strip("← ").split()}
PACKAGE = Path(__file__).parents[1] / "dkvector"  # read, not imported: a circle of imports must be told, not met


def name_of(file):
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


SOURCES = {name_of(file): file.read_text(encoding="utf-8") for file in sorted(PACKAGE.rglob("*.py"))}
FOLDERS = {name_of(file) for file in PACKAGE.rglob("__init__.py")} - {"__init__"}


def absolute(module, node):
    """The dotted name that a `from` import starts at, "dkvector" and all."""
    if not node.level:
        return node.module
    inside = ["dkvector", *module.split(".")]
    base = inside[: len(inside) - node.level + (module in FOLDERS)]
    return ".".join([*base, *([node.module] if node.module else [])])


def imports(module, source):
    """The modules of dkvector that a source imports: anywhere, also in functions and for the type checker only."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = absolute(module, node)
            found |= {inner if (inner := f"{base}.{alias.name}")[9:] in SOURCES else base for alias in node.names}
    return {name[9:] or "__init__" for name in found if name == "dkvector" or name.startswith("dkvector.")}


def rank(module):
    return RANK.get(module.split(".")[0], 0)  # a module without a place has a test of its own


def wrong_imports(module, source):
    return [f"{module} imports {other}" for other in sorted(imports(module, source)) if rank(other) > rank(module)]


def shared_backends(module, source):
    """The backends that a backend imports, other than through private modules."""
    own, mine = module.split("."), imports(module, source)
    others = [name.split(".") for name in sorted(mine) if own[0] == "backends" and name.startswith("backends.")]
    return [f"{module} imports {'.'.join(other)}" for other in others if other[1] != own[1] and other[1][0] != "_"]


def test_every_module_has_its_place():
    lost = [name for name in SOURCES if name.split(".")[0] not in RANK]
    assert not lost, f"add {', '.join(lost)} to LAYERS in {Path(__file__).name}, and to the design"


def test_no_module_has_two_places():
    assert len(RANK) == len(LAYERS.replace("←", "").split())


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_one_way(module):
    assert wrong_imports(module, SOURCES[module]) == []


@pytest.mark.parametrize("module", [name for name in SOURCES if name.startswith("backends.")])
def test_backends_share_only_private_modules(module):
    assert shared_backends(module, SOURCES[module]) == []


def test_no_module_imports_itself_by_a_detour():
    graph = {
        module: {other for other in imports(module, source) if other != module and (module, other) not in TWINS}
        for module, source in SOURCES.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(reversed(error.args[1])))


@pytest.mark.parametrize(
    "source",
    [
        "from dkvector.schema import Schema",
        "from dkvector import schema",
        "import dkvector.schema as s",
        "from .schema import Schema",
        "from . import schema",
        "def f():\n    from dkvector.schema import Schema",
        "if TYPE_CHECKING:\n    from dkvector.schema import Schema",
    ],
)
def test_an_import_against_the_direction_is_found(source):
    assert wrong_imports("metrics", source) == ["metrics imports schema"]
    assert wrong_imports("schema", source.replace("schema", "metrics")) == []


def test_the_package_itself_is_the_last_layer():
    assert wrong_imports("metrics", "from dkvector import search") == ["metrics imports __init__"]
    assert wrong_imports("demo", "import dkvector as dkv") == []


def test_relative_imports_inside_a_package_are_resolved():
    assert imports("backends._topk", "from . import _topk\nfrom .exact import E\nfrom ..metrics import score") == {
        "backends._topk",
        "backends.exact",
        "metrics",
    }
    assert imports("backends", "from ._topk import search") == {"backends._topk"}


def test_a_backend_that_imports_another_is_found():
    source = "from dkvector.backends.faiss import X\nfrom dkvector.backends._topk import Y\nimport dkvector.metrics"
    assert shared_backends("backends.pgvector", source) == ["backends.pgvector imports backends.faiss"]
    assert shared_backends("backends.faiss", source) == []
