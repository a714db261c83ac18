"""Images of the collection that show an uploaded query, or nearly the same; looked for once an upload and state."""

from __future__ import annotations

from threading import Lock
from weakref import WeakKeyDictionary

from cachetools import LRUCache

from indexer.near_duplicates.uploads import Copies, copies_among, exact_copies, grey_of, with_near_duplicates
from retrieval.collection import Images
from retrieval.embedder import EmbeddedQuery
from web.context import collection, searcher, state
from web.pictures import drawn

CANDIDATES = 5
"""Nearest images that are compared with the upload: a copy's original is nearly always the first."""
UPLOADS = 1000
"""Uploads of which the outcome is remembered."""

_known: WeakKeyDictionary[Images, LRUCache[str, Copies | None]] = WeakKeyDictionary()
_lock = Lock()


def copies_of(name: str, data: bytes, embedded: EmbeddedQuery | None) -> Copies | None:
    """The copies of a cached upload, or None where there are none.

    embedded: the whole picture in the spaces that are searched; without it near duplicates are not looked for.
    Raises what `examine` raises.
    """
    opened = collection()
    with _lock:
        known = _known.setdefault(opened.images, LRUCache(UPLOADS))
        if name in known:
            return known[name]
    exact = exact_copies(opened, data)
    if embedded is None and not exact:
        return None
    ids = exact
    if not exact and embedded is not None:
        candidates = searcher().search_embedded([embedded], CANDIDATES)[0].ids
        ids = copies_among(opened, drawn(grey_of, data, state().settings.max_pixels), candidates)
    copies = with_near_duplicates(opened, ids, exact=bool(exact))
    with _lock:
        known[name] = copies
    return copies
