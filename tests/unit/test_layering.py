from __future__ import annotations

import ast
import importlib
import importlib.util
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from retrieval.command_line import COMMANDS, kvasir
from retrieval.errors import RetrievalError

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("retrieval", "indexer", "web")
HEAVY = ("torch", "timm", "open_clip", "openvino", "faiss", "numba", "httpx", "rich", "flask", "indexer", "web")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """The top names of everything that a file imports, inside functions and by `import_module` too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            names |= {text.value.partition(".")[0] for text in node.args if isinstance(text, ast.Constant)}
        elif isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("layer", range(2))
def test_no_package_imports_a_higher_one(layer: int) -> None:
    higher = set(LAYERS[layer + 1 :])
    upward = {str(path.relative_to(ROOT)): imported(path) & higher for path in modules(LAYERS[layer])}
    assert len(upward) > 10
    assert {path: names for path, names in upward.items() if names} == {}


@pytest.mark.parametrize(
    "module", ["retrieval", "retrieval.command_line", "retrieval.encoders", "retrieval.collection"]
)
def test_importing_the_engine_loads_nothing_heavy(module: str) -> None:
    script = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert told.stdout == "[]\n"


def error_classes() -> list[type[Exception]]:
    for package in LAYERS:
        for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}."):
            importlib.import_module(found.name)
    classes: list[type[Exception]] = []
    waiting: list[type[Exception]] = [RetrievalError]
    while waiting:
        classes.append(waiting.pop())
        waiting += classes[-1].__subclasses__()
    return classes


def test_every_error_of_the_project_belongs_to_the_tree_and_says_what_it_is_in_a_line() -> None:
    known = {error.__name__ for error in error_classes()}
    for package in LAYERS:
        for path in modules(package):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                    assert node.name in known, f"{node.name} in {path}"
                    line = ast.get_docstring(node) or ""
                    assert line.endswith("."), f"{node.name} in {path}"
                    assert "\n" not in line, f"{node.name} in {path}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_its_help_has_an_example(name: str) -> None:
    command = kvasir.get_command(click.Context(kvasir), name)  # type: ignore[attr-defined]
    assert command is not None
    assert re.search(rf"Examples?:\s+kvasir {name}\b", f"{command.help} {command.epilog}")


def test_the_commands_that_the_engine_needs_are_there() -> None:
    assert {"download", "index", "add", "remove", "info", "verify", "search", "evaluate", "serve"} <= set(COMMANDS)
