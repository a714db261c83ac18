"""What a user may rely on: the names of `retrieval`, the trees of errors."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Mapping
from typing import Any

import pytest

import retrieval
from retrieval.errors import RetrievalError

PUBLIC = """
    Collection Feedback Filter Hit Hits Part Quality Query Searcher open

    RetrievalError CollectionBusyError CollectionError DescriptorError DiskFullError EncoderError Engine
    EvaluationError LearningError OutputError PictureError QueryError SourceError TableError
    BadQueryError BadRegionError BrokenPictureError CostlyPictureError DamagedCatalogError DamagedVectorError
    EmptyPictureError EmptySpaceError FileUnreadableError FormatError NoStoredPictureError NoSuchClassError
    NoSuchImageError NotACollectionError NotCalibratedError PictureGoneError PictureNotFoundError PictureTooLargeError
    RemoteAccessError RemoteAddressError RemoteAnswerError RemoteClientError RemoteIndexError RemoteStaleError
    RemoteTimeoutError RemoteUnreachableError SpaceNameError
    UnknownFormatError UnknownFusionError UnknownRerankingError UnknownWordsError UnsupportedPixelsError
    UnsupportedQueryError VectorError
"""
TREE = re.compile(
    r"^    (?P<indent>[│├└─ ]*)(?P<name>\w+Error)\b(?:.*\((?P<module>(?:retrieval|indexer|web)[\w.]*)\))?"
)


def test_retrieval_exports_these_names_and_no_others() -> None:
    assert sorted(retrieval.__all__) == sorted(PUBLIC.split())
    assert [name for name in retrieval.__all__ if not getattr(retrieval, name).__doc__] == []


def documented(module: str) -> list[tuple[str, str | None, str]]:
    """(error, its parent, the module that it is imported from) of the tree that a module's docstring draws."""
    tree: list[tuple[str, str | None, str]] = []
    above: list[tuple[int, str]] = []
    for line in (importlib.import_module(module).__doc__ or "").splitlines():
        if drawn := TREE.match(line):
            depth = len(drawn["indent"])
            above = [(column, name) for column, name in above if column < depth]
            tree.append((drawn["name"], above[-1][1] if above else None, drawn["module"] or module))
            above.append((depth, drawn["name"]))
    return tree


@pytest.mark.parametrize("module", ["retrieval.errors", "indexer.errors", "web.errors"])
def test_every_error_is_imported_from_where_the_tree_says_and_descends_from_the_parent_drawn(module: str) -> None:
    tree = documented(module)
    assert len(tree) > 3
    for name, parent, home in tree:
        error = getattr(importlib.import_module(home), name)
        assert issubclass(error, RetrievalError), name
        assert parent is None or parent in [base.__name__ for base in error.__bases__], name


@pytest.mark.parametrize("package", ["retrieval", "indexer", "web"])
def test_every_parent_of_errors_is_drawn(modules: Mapping[str, Any], package: str) -> None:
    if f"{package}.errors" in modules:
        defined = {node.name for node in modules[f"{package}.errors"].tree.body if isinstance(node, ast.ClassDef)}
        drawn = {name for name, _, _ in documented(f"{package}.errors")}
        error_classes(modules)  # so that all are imported
        children = {one.__name__ for one in RetrievalError.__subclasses__() if one.__module__.startswith(f"{package}.")}
        assert defined | children <= drawn


def error_classes(modules: Mapping[str, Any]) -> list[type[Exception]]:
    for name in modules:
        if not name.endswith("__main__"):
            importlib.import_module(name)
    classes: list[type[Exception]] = []
    waiting: list[type[Exception]] = [RetrievalError]
    while waiting:
        classes.append(waiting.pop())
        waiting += classes[-1].__subclasses__()
    return classes


def test_every_error_belongs_to_the_tree_and_says_what_it_is_in_a_line(modules: Mapping[str, Any]) -> None:
    known = {error.__name__ for error in error_classes(modules)}
    for name, module in modules.items():
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef) and node.name.endswith("Error"):
                assert node.name in known, f"{node.name} in {name}"
                line = ast.get_docstring(node) or ""
                assert line.endswith("."), f"{node.name} in {name}"
                assert "\n" not in line, f"{node.name} in {name}"


def test_no_two_errors_share_a_name(modules: Mapping[str, Any]) -> None:
    names = [error.__name__ for error in error_classes(modules) if inspect.getmodule(error) is not None]
    assert sorted({name for name in names if names.count(name) > 1}) == []
