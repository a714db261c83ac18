"""Where pictures lie: folders and zips, read in place by one interface, from any thread."""

from retrieval.sources.opening import open_source
from retrieval.sources.source import Entry, FileMissingError, FileUnreadableError, Source

__all__ = ["Entry", "FileMissingError", "FileUnreadableError", "Source", "open_source"]
