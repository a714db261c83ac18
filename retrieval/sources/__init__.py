"""Where pictures lie: folders and zips, read in place by one interface, from any thread."""

from retrieval.sources.source import Entry, FileUnreadableError, Source, open_source

__all__ = ["Entry", "FileUnreadableError", "Source", "open_source"]
