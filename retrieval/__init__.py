"""The engine: all that a query needs. It works without Flask and knows no data set.

    import retrieval
    engine = retrieval.open("kvasir.collection")
    hits = engine.search("picture.jpg", k=10)

Importing it loads neither torch nor open_clip, timm, OpenVINO or FAISS; each comes with the first use of what needs it.
Every error derives from RetrievalError; `retrieval.errors` draws the tree.
"""

from retrieval.class_words import UnknownWordsError
from retrieval.collection import (
    Collection,
    CollectionBusyError,
    DamagedCatalogError,
    DamagedVectorError,
    FormatError,
    NoSuchImageError,
    NotACollectionError,
    PictureGoneError,
    SpaceNameError,
)
from retrieval.disk import DiskFullError
from retrieval.engine import Engine
from retrieval.engine import open_engine as open  # noqa: A004  # retrieval.open(path) is how it reads
from retrieval.errors import (
    CollectionError,
    DescriptorError,
    EncoderError,
    EvaluationError,
    LearningError,
    OutputError,
    PictureError,
    QueryError,
    RemoteAccessError,
    RemoteAddressError,
    RemoteAnswerError,
    RemoteClientError,
    RemoteIndexError,
    RemoteStaleError,
    RemoteTimeoutError,
    RemoteUnreachableError,
    RetrievalError,
    SourceError,
    TableError,
)
from retrieval.feedback import Feedback
from retrieval.filters import Filter, NoSuchClassError
from retrieval.fusion import UnknownFusionError
from retrieval.headers import BrokenPictureError, CostlyPictureError, PictureTooLargeError
from retrieval.hits import Hit, Hits, Quality
from retrieval.images import (
    BadRegionError,
    EmptyPictureError,
    PictureNotFoundError,
    UnknownFormatError,
)
from retrieval.learn.calibration_store import NotCalibratedError
from retrieval.pixels import UnsupportedPixelsError
from retrieval.query import BadQueryError, Part, Query
from retrieval.rerank import UnknownRerankingError
from retrieval.search import EmptySpaceError, Searcher
from retrieval.sources.source import FileUnreadableError
from retrieval.sources.vectors import NoStoredPictureError
from retrieval.spaces import UnsupportedQueryError, VectorError

__all__ = [
    "BadQueryError",
    "BadRegionError",
    "BrokenPictureError",
    "Collection",
    "CollectionBusyError",
    "CollectionError",
    "CostlyPictureError",
    "DamagedCatalogError",
    "DamagedVectorError",
    "DescriptorError",
    "DiskFullError",
    "EmptyPictureError",
    "EmptySpaceError",
    "EncoderError",
    "Engine",
    "EvaluationError",
    "Feedback",
    "FileUnreadableError",
    "Filter",
    "FormatError",
    "Hit",
    "Hits",
    "LearningError",
    "NoStoredPictureError",
    "NoSuchClassError",
    "NoSuchImageError",
    "NotACollectionError",
    "NotCalibratedError",
    "OutputError",
    "Part",
    "PictureError",
    "PictureGoneError",
    "PictureNotFoundError",
    "PictureTooLargeError",
    "Quality",
    "Query",
    "QueryError",
    "RemoteAccessError",
    "RemoteAddressError",
    "RemoteAnswerError",
    "RemoteClientError",
    "RemoteIndexError",
    "RemoteStaleError",
    "RemoteTimeoutError",
    "RemoteUnreachableError",
    "RetrievalError",
    "Searcher",
    "SourceError",
    "SpaceNameError",
    "TableError",
    "UnknownFormatError",
    "UnknownFusionError",
    "UnknownRerankingError",
    "UnknownWordsError",
    "UnsupportedPixelsError",
    "UnsupportedQueryError",
    "VectorError",
    "open",
]
