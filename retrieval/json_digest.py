"""JSON files with a SHA-256 of their own fields, so that a flipped digit is told instead of read.

The names of the fields that it covers stand beside it: what another version adds later is no damage.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

_NAME = "sha256"


def json_bytes(fields: Mapping[str, Any]) -> bytes:
    """The fields as JSON, with their digest as one more."""
    plain = json.loads(json.dumps(fields))
    return json.dumps({**plain, _NAME: {_digest(plain): sorted(plain)}}, indent=1).encode() + b"\n"


def checked_fields(data: bytes) -> dict[str, Any]:
    """The fields without their digest, which files of older versions lack. Raises ValueError where they are damaged."""
    fields = json.loads(data)
    if not isinstance(fields, dict):
        raise ValueError("it has no fields")  # as json.loads raises of what is no JSON
    stored = fields.pop(_NAME, None)
    if stored is not None and not _fits(stored, fields):
        raise ValueError("it is not what was written")
    return fields


def _fits(stored: Any, fields: Mapping[str, Any]) -> bool:
    """Whether fields are those of a stored digest, digest -> names."""
    try:
        ((digest, names),) = stored.items()
        return bool(digest == _digest({name: fields.get(name) for name in names}))
    except (AttributeError, TypeError, ValueError):
        return False


def _digest(fields: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
