"""The source of the three packages, parsed once for the tests that read code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Module:
    """One module: its dotted name, its file and its syntax tree."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def package(self) -> str:
        """The top package."""
        return self.name.partition(".")[0]

    def imports(self) -> Iterator[str]:
        """The dotted name of everything imported anywhere in the file: `a.b` and `a.b.c` for `from a.b import c`."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
                yield from (text.value for text in node.args if isinstance(text, ast.Constant))
            elif isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def read(path: Path) -> Module:
    """Parse one file of the packages."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return Module(".".join(parts).removesuffix(".__init__"), path, ast.parse(path.read_text("utf-8")))


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    """Every module of retrieval, indexer and web, by dotted name."""
    files = [path for package in ("retrieval", "indexer", "web") for path in sorted((ROOT / package).rglob("*.py"))]
    return {module.name: module for module in map(read, files)}
