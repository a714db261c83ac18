"""Which module may import which."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from retrieval.spaces import KINDS

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("retrieval", "indexer", "web")
OTHER_KINDS = {"source", "finding"}  # whose kind is not a space's, though one may be called alike
HEAVY = (
    "torch",
    "timm",
    "open_clip",
    "openvino",
    "faiss",
    "numba",
    "httpx",
    "rich",
    "flask",
    "pymilvus",
    "grpc",
    "indexer",
    "web",
)


def edges(modules: Mapping[str, Any]) -> dict[str, set[str]]:
    """module -> modules that its file imports. An import of a submodule is one of that submodule alone."""
    graph: dict[str, set[str]] = {}
    for name, module in modules.items():
        targets = {target for target in module.imports() if target in modules}
        packages = {target for target in targets if any(other.startswith(f"{target}.") for other in targets)}
        named = {
            node.module
            for node in ast.walk(module.tree)
            if isinstance(node, ast.ImportFrom)
            and any(f"{node.module}.{alias.name}" not in modules for alias in node.names)
        }
        graph[name] = (targets - packages | packages & named) - {name}
    return graph


@pytest.mark.parametrize("layer", range(2))
def test_no_package_imports_a_higher_one(modules: Mapping[str, Any], layer: int) -> None:
    higher = set(LAYERS[layer + 1 :])
    lower = [module for module in modules.values() if module.package == LAYERS[layer]]
    upward = {module.name: higher & {name.partition(".")[0] for name in module.imports()} for module in lower}
    assert len(upward) > 10
    assert {name: packages for name, packages in upward.items() if packages} == {}


def test_no_modules_import_each_other_in_a_circle(modules: Mapping[str, Any]) -> None:
    try:
        order = list(TopologicalSorter(edges(modules)).static_order())
    except CycleError as circle:
        pytest.fail(" -> ".join(circle.args[1]))
    assert set(order) == set(modules)


def test_no_blueprint_imports_another(modules: Mapping[str, Any]) -> None:
    graph = edges(modules)
    blueprints = {name for name in modules if name.startswith("web.blueprints.")}
    assert len(blueprints) > 4
    assert {name: graph[name] & blueprints for name in blueprints if graph[name] & blueprints} == {}


@pytest.mark.parametrize(
    "module", ["retrieval", "retrieval.command_line", "retrieval.encoders", "retrieval.collection"]
)
def test_importing_the_engine_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout == "[]\n"


def test_nothing_outside_the_spaces_asks_what_kind_a_space_is(modules: Mapping[str, Any]) -> None:
    asking = [
        f"{module.name}:{node.lineno}: {ast.unparse(node)}"
        for module in modules.values()
        if not module.name.startswith("retrieval.spaces")
        for node in ast.walk(module.tree)
        if asks_for_a_kind(node)
    ]
    assert asking == []


def test_nothing_outside_the_spaces_uses_the_module_of_a_kind_but_to_make_a_space(modules: Mapping[str, Any]) -> None:
    kinds = set(KINDS.values())
    used = {
        f"{module.name}: {node.module}.{alias.name}"
        for module in modules.values()
        if not module.name.startswith("retrieval.spaces")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if node.module in kinds or f"{node.module}.{alias.name}" in kinds
    }
    assert used == {
        "indexer.commands.import_vectors: retrieval.spaces.encoder",  # makes the space that --encoder names
        "indexer.run: retrieval.spaces.encoder",  # likewise
        "indexer.descriptor_spaces: retrieval.spaces.descriptor.create",
        "indexer.precision: retrieval.spaces.encoder.EncoderFitError",  # of a space that was just made
        "indexer.vector_import: retrieval.spaces.imported",
        "retrieval.commands.learn: retrieval.spaces.learned.validation_sentence",
    }


def asks_for_a_kind(node: ast.AST) -> bool:
    """Whether code compares the kind of a space, asks for the class of one, or reads a field of a space's recipe."""
    parts = list(ast.walk(node))
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "isinstance":
        return any(name.endswith("Space") for name in names)
    if isinstance(node, ast.Subscript):
        return ast.unparse(node.value).endswith("definition.recipe")
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
        return ast.unparse(node.func.value).endswith(("definition.recipe", "space.recipe"))
    if isinstance(node, ast.Compare | ast.MatchValue):
        texts = {part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)}
        of_kind = isinstance(node, ast.MatchValue) or any(
            isinstance(part, ast.Attribute) and part.attr == "kind" and ast.unparse(part.value) not in OTHER_KINDS
            for part in parts
        )
        return of_kind and bool(texts & set(KINDS) or "KIND" in names)
    return False


@pytest.mark.parametrize(
    ("code", "asks"),
    [
        ("space.kind == 'encoder'", True),
        ("'descriptor' != definition.kind", True),
        ("space.kind in ('encoder', 'learned')", True),
        ("isinstance(space, EncoderSpace)", True),
        ("match space.kind:\n case 'encoder': x", True),
        ("definition.recipe['method']", True),
        ("space.recipe.get('fit', 'field')", True),
        ("source.kind == 'zip'", False),
        ("finding.kind == 'vectors'", False),
        ("isinstance(space, str)", False),
    ],
)
def test_code_that_asks_for_a_kind_is_recognised(code: str, asks: bool) -> None:
    assert any(map(asks_for_a_kind, ast.walk(ast.parse(code)))) == asks


def test_a_serialiser_has_one_name(modules: Mapping[str, Any]) -> None:
    others = {"to_json", "from_json", "as_dict", "as_json", "to_plain", "serialize", "serialise"}
    defined = {
        f"{module.name}.{node.name}"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and node.name.lstrip("_") in others
    }
    assert defined == set()
