"""The subcommands of `kvasir`: each loads by its name and its help shows how it is called."""

from __future__ import annotations

import re

import click
import pytest

from retrieval.command_line import COMMANDS, kvasir


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_loads_and_its_help_has_an_example(name: str) -> None:
    command = kvasir.get_command(click.Context(kvasir), name)  # type: ignore[attr-defined]
    assert command is not None
    assert re.search(rf"Examples?:\s+kvasir {name}\b", f"{command.help} {command.epilog}")


def test_the_commands_that_the_engine_needs_are_there() -> None:
    assert {"download", "index", "add", "remove", "info", "verify", "search", "evaluate", "serve"} <= set(COMMANDS)
