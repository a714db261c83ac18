"""API keys: shown once when they are made, kept only as SHA-256, compared in constant time.

A key is 32 random bytes, so a plain hash is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from retrieval.collection.manifest import read_manifest, write_atomically
from retrieval.errors import CollectionError

FILE = "keys.json"
Scope = Literal["read", "write"]


class KeysFileError(CollectionError):
    """The file of API keys is damaged."""


class NoSuchKeyError(CollectionError):
    """There is no API key of this id."""


@dataclass(frozen=True)
class Key:
    """What is kept of a key. A key that may write may read as well."""

    id: str
    name: str
    scope: Scope
    created: str
    sha256: str


def create_key(collection: Path, name: str, scope: Scope) -> tuple[Key, str]:
    """Make a key; returns what is kept and the key itself, which cannot be shown again."""
    read_manifest(collection)
    secret = secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(secrets.token_hex(4), name, scope, now, _digest(secret))
    _write(collection, [*read_keys(collection), key])
    return key, f"kvasir_{key.id}_{secret}"


def revoke_key(collection: Path, key_id: str) -> Key:
    """Forget a key. Raises NoSuchKeyError."""
    keys = read_keys(collection)
    for key in keys:
        if key.id == key_id:
            _write(collection, [other for other in keys if other is not key])
            return key
    raise NoSuchKeyError(f"{collection} has no key '{key_id}'; `kvasir key list {collection}` shows them")


def read_keys(collection: Path) -> list[Key]:
    """All keys of a collection. Raises KeysFileError."""
    path = collection / FILE
    try:
        keys = [Key(**fields) for fields in json.loads(path.read_text("utf-8"))]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError) as error:
        raise KeysFileError(f"{path} is damaged ({error}); remove it and create new keys") from error
    if any(key.scope not in get_args(Scope) for key in keys):
        raise KeysFileError(f"{path} is damaged (a scope is unknown); remove it and create new keys")
    return keys


def find_key(keys: list[Key], text: str) -> Key | None:
    """The key that a client gave, or None. `text` is whatever the client sent."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    digest = _digest(secret)
    found = None
    for key in keys:  # no early end: the time says nothing about which key was near
        same_id = hmac.compare_digest(key.id.encode(), key_id.encode("utf-8", "replace"))
        if hmac.compare_digest(key.sha256, digest) and same_id and prefix == "kvasir":
            found = key
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _write(collection: Path, keys: list[Key]) -> None:
    path = collection / FILE
    write_atomically(path, json.dumps([asdict(key) for key in keys], indent=2).encode() + b"\n")
    path.chmod(0o600)
