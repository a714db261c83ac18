from __future__ import annotations

import json

import pytest

from retrieval.json_digest import checked_fields, json_bytes

FIELDS = {"name": "a", "values": [0.1, 2.5e-300, None], "more": {"2": "ä"}}


def test_what_is_written_is_read() -> None:
    assert checked_fields(json_bytes(FIELDS)) == FIELDS
    assert checked_fields(json_bytes({"of": {2: (1, 2)}})) == {"of": {"2": [1, 2]}}  # as JSON has it


def test_any_flipped_bit_is_told_or_changes_nothing() -> None:
    data = json_bytes(FIELDS)
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            fields = checked_fields(bytes(flipped))
        except ValueError:
            continue
        assert {name: fields[name] for name in FIELDS} == FIELDS


def test_a_file_of_an_older_version_has_no_digest() -> None:
    assert checked_fields(json.dumps(FIELDS).encode()) == FIELDS


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{", b"\xff"])
def test_what_has_no_fields_is_damaged(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        checked_fields(data)


def test_a_field_that_another_version_adds_is_no_damage() -> None:
    fields = json.loads(json_bytes(FIELDS))
    assert checked_fields(json.dumps(fields | {"later": 1}).encode()) == FIELDS | {"later": 1}
    del fields["name"]
    with pytest.raises(ValueError, match="not what was written"):
        checked_fields(json.dumps(fields).encode())


@pytest.mark.parametrize("stored", ["0" * 64, {}, {"0": 1}, {"0": [[]]}, {"0": [], "1": []}, 5])
def test_a_damaged_digest_is_told(stored: object) -> None:
    with pytest.raises(ValueError, match="not what was written"):
        checked_fields(json.dumps(FIELDS | {"sha256": stored}).encode())
