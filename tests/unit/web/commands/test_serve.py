from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from retrieval.collection import CollectionWriter
from retrieval.command_line import kvasir
from web.commands.serve import is_loopback, require_guarded
from web.errors import OpenToAllError
from web.keys import FILE


def test_a_server_for_others_requires_a_key_or_is_told_not_to() -> None:
    require_guarded("127.0.0.1", False, False, False)
    require_guarded("::1", False, False, False)
    require_guarded("0.0.0.0", False, True, False)
    require_guarded("0.0.0.0", True, False, True)
    for host, require_key, has_keys in (
        ("0.0.0.0", False, True),
        ("0.0.0.0", True, False),
        ("lab.example", False, True),
    ):
        with pytest.raises(OpenToAllError):
            require_guarded(host, require_key, False, has_keys)
    assert is_loopback("localhost")
    assert not is_loopback("10.0.0.1")


def test_every_setting_of_serve_has_a_flag_and_a_variable_in_the_help() -> None:
    text = CliRunner().invoke(kvasir, ["serve", "--help"]).stdout
    command = kvasir.get_command(None, "serve")  # type: ignore[arg-type]
    assert command is not None
    options = [option for option in command.params if option.param_type_name == "option" and option.name != "help"]
    assert len(options) == 13
    for option in options:
        flag = option.opts[0]
        assert flag in text
        assert f"KVASIR_{flag[2:].replace('-', '_').upper()}" in text


def test_a_damaged_file_of_keys_is_told_before_the_server_starts(tmp_path: Path) -> None:
    path = tmp_path / "c"
    CollectionWriter(path, create=True).close()
    (path / FILE).write_text("[1]")
    run = CliRunner().invoke(kvasir, ["serve", str(path), "--require-key"])
    assert run.exit_code != 0
    assert "keys.json is damaged" in f"{run.output}{run.exception}"
