"""API keys: shown once when they are made, stored as SHA-256 only, compared in constant time.

A key is 32 random bytes, so a plain hash is enough: there is nothing to guess that a slow hash would protect.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

from filelock import FileLock, Timeout
from pydantic import Field, TypeAdapter, ValidationError

from retrieval.collection.key_digests import NAME, faulty_keys, key_digest
from retrieval.collection.manifest import read_manifest
from retrieval.disk import new_path
from web.errors import KeysFileError, NoSuchKeyError

FILE = NAME
LOCK = "keys.lock"
LOCK_SECONDS = 10.0
"""How long a change waits for another one; each takes milliseconds."""

Scope = Literal["read", "write"]


@dataclass(frozen=True)
class Key:
    """A stored key. One that may write may read as well."""

    id: Annotated[str, Field(pattern="^[0-9a-f]{8}$")]
    name: str
    scope: Scope
    created: str
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


_KEYS = TypeAdapter(list[Key])


def create_key(collection: Path, name: str, scope: Scope) -> tuple[Key, str]:
    """Make a key; returns what is stored and the key itself, which cannot be shown again.

    Raises NotACollectionError, FormatError, KeysFileError.
    """
    read_manifest(collection)
    secret = secrets.token_urlsafe(32)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    key = Key(secrets.token_hex(4), name, scope, now, _digest(secret))
    with _locked(collection):
        _write_keys(collection, [*read_keys(collection), key])
    return key, f"kvasir_{key.id}_{secret}"


def revoke_key(collection: Path, key_id: str) -> Key:
    """Delete a key. Raises NoSuchKeyError, KeysFileError."""
    with _locked(collection):
        keys = read_keys(collection)
        for key in keys:
            if key.id == key_id:
                _write_keys(collection, [other for other in keys if other is not key])
                return key
    raise NoSuchKeyError(f"{collection} has no key '{key_id}'; `kvasir key list {collection}` shows them")


def read_keys(collection: Path) -> list[Key]:
    """All keys of a collection. Raises KeysFileError."""
    path = collection / FILE
    try:
        keys = _KEYS.validate_json(path.read_bytes(), strict=True)
        if (reason := faulty_keys(collection)) is None:
            return keys
    except FileNotFoundError:
        return []
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
    except OSError as error:
        reason = error.strerror or str(error)
    raise KeysFileError(f"{path} is damaged ({reason}); remove it and create new keys")


def find_key(keys: Sequence[Key], text: str) -> Key | None:
    """The key that a client gave, or None. `text` is whatever the client sent."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    digest = _digest(secret)
    match = None
    for key in keys:  # no early end: the time says nothing about which key was near
        same_id = hmac.compare_digest(key.id.encode(), key_id.encode("utf-8", "replace"))
        if hmac.compare_digest(key.sha256, digest) and same_id and prefix == "kvasir":
            match = key
    return match


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


@contextmanager
def _locked(collection: Path) -> Iterator[None]:
    """Keep other processes from changing the keys between reading and writing them."""
    try:
        with FileLock(collection / LOCK, timeout=LOCK_SECONDS):
            yield
    except Timeout:
        raise KeysFileError(f"another process has locked {collection / LOCK}; end it and try again") from None


def _write_keys(collection: Path, keys: Sequence[Key]) -> None:
    """Replace the file in one step; nobody but its owner may read it, at any moment."""
    with new_path(collection / FILE) as new:
        new.unlink(missing_ok=True)  # of a process that was stopped
        new.touch(mode=0o600, exist_ok=False)
        stored = [values | {"crc32": key_digest(values)} for values in map(asdict, keys)]
        new.write_bytes(json.dumps(stored, indent=2).encode() + b"\n")
