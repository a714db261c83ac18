"""Digests of API keys: a flipped bit in a name, a scope or a hash is told, not taken for another key."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zlib import crc32

NAME = "keys.json"


def key_digest(key: Mapping[str, Any]) -> str:
    """CRC-32 in hexadecimal of what is stored of a key."""
    return f"{crc32(json.dumps({name: key[name] for name in sorted(key) if name != 'crc32'}).encode()):08x}"


def faulty_keys(collection: Path) -> str | None:
    """What is wrong with the file of keys, or None. Keys of older versions have no digest."""
    try:
        keys = json.loads((collection / NAME).read_bytes())
        if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
            return "it is no list of keys"
    except FileNotFoundError:
        return None
    except ValueError as error:
        return str(error)
    damaged = [str(key.get("name")) for key in keys if key.get("crc32", key_digest(key)) != key_digest(key)]
    return f"the key '{damaged[0]}' is not what was written" if damaged else None
