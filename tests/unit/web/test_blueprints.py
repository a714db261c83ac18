from __future__ import annotations

import ast
from pathlib import Path

BLUEPRINTS = Path(__file__).parents[3] / "web" / "blueprints"


def test_blueprints_do_not_import_each_other() -> None:
    modules = [path for path in BLUEPRINTS.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) > 4
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                assert not (node.module or "").startswith("web.blueprints"), path.name
            elif isinstance(node, ast.Import):
                assert not any(alias.name.startswith("web.blueprints") for alias in node.names), path.name
