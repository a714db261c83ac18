"""Uploaded queries: kept in memory for a while so that an answer has a link; never written to disk."""

from __future__ import annotations

import hashlib

from retrieval.errors import QueryError
from web.kept import Kept


class QueryGoneError(QueryError):
    """The uploaded picture of a link is no longer kept."""


def keep_query(uploads: Kept, data: bytes) -> str:
    """Keep an uploaded picture; returns its name, the same for the same bytes and hard to guess for others."""
    name = hashlib.sha256(data).hexdigest()[:32]
    uploads.put(name, data)
    return name


def kept_query(uploads: Kept, name: str) -> bytes:
    """An uploaded picture by its name. Raises QueryGoneError."""
    data = uploads.get(name)
    if data is None:
        raise QueryGoneError(
            "the server keeps only the latest uploads, in memory, and this one is no longer among them: "
            "give the picture again"
        )
    return data
