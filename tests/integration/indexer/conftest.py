"""Commands inside the process of the tests, where everything is imported already."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from retrieval.command_line import main


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """`kvasir search` with these arguments: its exit status, output and messages."""

    def run(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["kvasir", "search", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capfd.readouterr()

    return run
