"""Every error that the indexer raises on purpose.

    RetrievalError                 (retrieval.errors)
    ├── DatasetError               a folder or zip that cannot be taken as a data set
    ├── FeaturesError              a `.features` archive or file that cannot be trusted
    ├── VectorsError               embeddings of others, or their table, that cannot be imported
    ├── ClusterError               machines that cannot embed pictures
    └── DownloadError              an archive that cannot be fetched

Each leaf is defined in the module that detects the fault.
"""

from __future__ import annotations

from retrieval.errors import RetrievalError


class DatasetError(RetrievalError):
    """A folder or zip cannot be taken as a data set."""


class FeaturesError(RetrievalError):
    """A `.features` archive or one of its files cannot be trusted."""


class VectorsError(RetrievalError):
    """Embeddings that others made, or their table, cannot be imported."""


class ClusterError(RetrievalError):
    """Machines of a cluster cannot embed pictures."""


class DownloadError(RetrievalError):
    """An archive cannot be fetched."""
