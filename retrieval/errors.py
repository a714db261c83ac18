"""Every error that the engine raises on purpose.

    RetrievalError
    ├── PictureError               a picture that cannot be used (retrieval.images)
    ├── SourceError                a folder or zip that pictures cannot be read from
    ├── EncoderError               an encoder that cannot be built or run
    ├── DescriptorError            a descriptor that cannot be named or computed
    ├── CollectionError            a collection that cannot be opened, written or trusted
    ├── QueryError                 a query that cannot be searched for
    ├── TableError                 a table of files and classes that cannot be read or contradicts itself
    ├── LearningError              a space that cannot be learned
    ├── EvaluationError            an evaluation that cannot be made, read or compared
    ├── OutputError                results that cannot be written where or as they should
    ├── RemoteIndexError           an index in a vector engine elsewhere that cannot be reached or trusted
    │   ├── RemoteAddressError       its address cannot be read
    │   ├── RemoteClientError        the library that speaks to the engine is missing
    │   ├── RemoteUnreachableError   the engine does not answer
    │   ├── RemoteTimeoutError       the engine takes longer than it may
    │   ├── RemoteAccessError        the engine refuses the key
    │   ├── RemoteStaleError         the index does not belong to the collection as it is
    │   └── RemoteAnswerError        the engine's answer is incomplete or cannot be true
    └── DiskFullError              no room on the disk (retrieval.disk)

Each leaf is defined in the module that detects the fault and derives from one of these, so that
`except PictureError` catches every fault of a picture. The command line prints the message as one
line on stderr and exits with 2; REST turns it into a problem document.
"""


class RetrievalError(Exception):
    """Anything that this project raises on purpose; the message says what, where and what to do."""


class PictureError(RetrievalError):
    """A picture cannot be used."""


class SourceError(RetrievalError):
    """Pictures cannot be read from a folder or zip."""


class EncoderError(RetrievalError):
    """An encoder cannot be built or run."""


class DescriptorError(RetrievalError):
    """A descriptor cannot be named or computed."""


class CollectionError(RetrievalError):
    """A collection cannot be opened, written or trusted."""


class TableError(RetrievalError):
    """A table of files and classes cannot be read, or contradicts itself."""


class QueryError(RetrievalError):
    """A query cannot be searched for."""


class LearningError(RetrievalError):
    """A space cannot be learned."""


class OutputError(RetrievalError):
    """Results cannot be written where or as they should."""


class EvaluationError(RetrievalError):
    """An evaluation cannot be made, read or compared."""


class RemoteIndexError(RetrievalError):
    """An index in a vector engine cannot be reached or trusted."""


class RemoteAddressError(RemoteIndexError):
    """The address of a vector engine cannot be read."""


class RemoteClientError(RemoteIndexError):
    """The library that speaks to a vector engine is missing."""


class RemoteUnreachableError(RemoteIndexError):
    """The vector engine does not answer."""


class RemoteTimeoutError(RemoteIndexError):
    """The vector engine takes longer than it may."""


class RemoteAccessError(RemoteIndexError):
    """The vector engine refuses the key."""


class RemoteStaleError(RemoteIndexError):
    """The index in the vector engine does not belong to the collection as it is."""


class RemoteAnswerError(RemoteIndexError):
    """The answer of the vector engine is incomplete or cannot be true."""
