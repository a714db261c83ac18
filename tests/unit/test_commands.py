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


RANGES = [
    (name, option)
    for name in COMMANDS
    for option in kvasir.get_command(click.Context(kvasir), name).params  # type: ignore[attr-defined]
    if isinstance(option.type, click.FloatRange)
]


@pytest.mark.parametrize(("name", "option"), RANGES, ids=lambda value: getattr(value, "name", value))
def test_no_option_takes_what_is_no_number(name: str, option: click.Option) -> None:
    with pytest.raises(click.BadParameter, match="nan is not a finite number"):
        option.type_cast_value(click.Context(click.Command(name)), "nan")


def test_the_commands_that_the_engine_needs_are_there() -> None:
    assert {"download", "index", "add", "remove", "info", "verify", "search", "evaluate", "serve"} <= set(COMMANDS)
