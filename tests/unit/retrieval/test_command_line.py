from __future__ import annotations

import pytest
from click.testing import CliRunner

from retrieval.command_line import kvasir


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("searh", "search"), ("Search", "search"), ("evalute", "evaluate"), ("eval", "evaluate"), ("indx", "index")],
)
def test_a_misspelled_command_gets_a_suggestion(typed: str, meant: str) -> None:
    ended = CliRunner().invoke(kvasir, [typed, "a", "b"])
    assert ended.exit_code == 2
    assert f"there is no command '{typed}'; did you mean `kvasir {meant}`?" in ended.output


def test_a_command_that_is_like_none_gets_the_list() -> None:
    ended = CliRunner().invoke(kvasir, ["xyzzy"])
    assert ended.exit_code == 2
    assert "there is no command 'xyzzy'; `kvasir -h` lists the commands" in ended.output
