"""What one server shares among its requests, and the one state of the collection that a request sees."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from flask import current_app, g

if TYPE_CHECKING:
    from retrieval.collection import Collection
    from retrieval.search import Searcher
    from web.caches import ByteCache
    from web.jobs import Jobs
    from web.limits import ConcurrencyLimit
    from web.served_collection import ServedCollection
    from web.settings import Settings


@dataclass(frozen=True)
class State:
    """What Flask's application does not hold itself.

    searches, drawings, writes: limit how many searches, pictures to be drawn and pictures to be stored there are at
    once. uploads: query pictures by name. pictures: thumbnails and previews by ETag.
    """

    settings: Settings
    served: ServedCollection
    searches: ConcurrencyLimit
    drawings: ConcurrencyLimit
    writes: ConcurrencyLimit
    uploads: ByteCache
    pictures: ByteCache
    jobs: Jobs


def state() -> State:
    """The state of the server that handles this request."""
    shared: State = current_app.extensions["kvasir"]
    return shared


def searcher() -> Searcher:
    """The searcher of this request: the same from its beginning to its end, whatever is written meanwhile."""
    if "searcher" not in g:
        g.searcher = state().served.searcher
    bound: Searcher = g.searcher
    return bound


def collection() -> Collection:
    """The collection as this request sees it."""
    return searcher().collection


def collection_version() -> str:
    """Names this collection among all that may be served at one address; an id's picture never changes in it."""
    if "collection_version" not in g:
        manifest = collection().manifest
        g.collection_version = hashlib.sha256(f"{manifest.name} {manifest.created}".encode()).hexdigest()[:12]
    version: str = g.collection_version
    return version


def rebind(current: Searcher) -> None:
    """Let the rest of this request see what it wrote itself."""
    g.searcher = current
    g.pop("collection_version", None)
