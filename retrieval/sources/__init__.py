"""Where pictures lie: folders and zips, read in place by one interface, from any thread; or that there are none."""

from retrieval.sources.opening import has_pictures, open_source, open_stored
from retrieval.sources.source import Entry, FileMissingError, FileUnreadableError, Source, SourceKind
from retrieval.sources.vectors import NoStoredPictureError

__all__ = [
    "Entry",
    "FileMissingError",
    "FileUnreadableError",
    "NoStoredPictureError",
    "Source",
    "SourceKind",
    "has_pictures",
    "open_source",
    "open_stored",
]
