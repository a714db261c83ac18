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
