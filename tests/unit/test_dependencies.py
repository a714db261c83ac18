"""What is imported is declared, and what is declared is imported."""

from __future__ import annotations

import ast
import functools
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FIRST_PARTY = {"retrieval", "indexer", "web"}


def normalised(name: str) -> str:
    """A distribution's name as registries compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def names(requirements: Iterable[str]) -> set[str]:
    """The distributions that requirements name."""
    return {normalised(re.split(r"[^\w.-]", text, maxsplit=1)[0]) for text in requirements}


_holders = functools.cache(packages_distributions)


def distributions(imported: Iterable[str]) -> set[str]:
    """The installed distributions that hold modules from outside the standard library and this project."""
    holders = _holders()
    roots = {name.partition(".")[0] for name in imported} - sys.stdlib_module_names - FIRST_PARTY
    return {normalised(holder) for root in roots for holder in set(holders.get(root, [root]))}


def imports(path: Path) -> set[str]:
    """The modules that a file imports."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


DECLARED = names(PROJECT["dependencies"])
FOR_DEVELOPMENT = names(PROJECT["optional-dependencies"]["dev"])
FOR_BENCHMARKS = names(PROJECT["optional-dependencies"]["bench"])
EXTRAS = {
    *names(text for name, texts in PROJECT["optional-dependencies"].items() if name != "dev" for text in texts)
} - FOR_BENCHMARKS
OF_OPEN_CLIP = {"transformers"}  # by which open_clip reads the tokenizers of others


def test_every_import_of_the_packages_is_declared(modules: Mapping[str, Any]) -> None:
    imported = distributions(name for module in modules.values() for name in module.imports())
    assert imported - DECLARED == EXTRAS - OF_OPEN_CLIP
    assert EXTRAS <= FOR_DEVELOPMENT  # so that they are tested


def test_every_dependency_is_imported(modules: Mapping[str, Any]) -> None:
    imported = distributions(name for module in modules.values() for name in module.imports())
    assert DECLARED - imported == set()


def test_every_import_of_the_tests_is_declared() -> None:
    paths = list((ROOT / "tests").rglob("*.py"))
    siblings = {path.stem for path in paths}  # a benchmark imports another's module
    imported = distributions(name for path in paths for name in imports(path) - siblings)
    assert imported - DECLARED - FOR_DEVELOPMENT == FOR_BENCHMARKS


def test_every_requirement_has_a_lower_bound_that_can_be_installed() -> None:
    requirements = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    assert [text for text in requirements if not re.match(r"[\w.-]+(>=|==)[\d.]+(;|$)", text)] == []


def test_no_branch_claims_a_system_which_nothing_here_can_try(modules: Mapping[str, Any]) -> None:
    words = {"win32", "nt", "cygwin", "Windows", "msvcrt", "winreg", "waitress", "darwin", "linux"}
    claimed = {
        f"{module.name}:{node.lineno}"
        for module in modules.values()
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Constant) and node.value in words)
        or (isinstance(node, ast.alias) and node.name.partition(".")[0] in words)
    }
    assert claimed == set()
    assert not any(word in text for text in PROJECT["dependencies"] for word in words - {"nt", "linux"})
    assert "Operating System :: POSIX :: Linux" in PROJECT["classifiers"]
