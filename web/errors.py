"""Every error that the server raises on purpose, in addition to those of the engine.

    RetrievalError
    ├── AccessError                  the client may not have what it requests
    │   ├── ForeignHostError           400  the host name is not one of this server's
    │   ├── BadPrefixError             400  a proxy names no path as the prefix
    │   ├── KeyNeededError             401  no valid key was sent
    │   ├── ForeignPageError           403  a page of another site sent the form
    │   ├── KeyRefusedError            403  the key may only read
    │   └── TooManyKeysError           429  the client sends one wrong key after another
    ├── QueryError
    │   └── RequestError             the request cannot be understood
    │       ├── BadOptionError         422  an option has no such value
    │       ├── RepeatedFieldError     422  a field that has one value stands there twice
    │       ├── NoPictureError         422  a picture is missing
    │       ├── SeveralPicturesError   422  more pictures than one
    │       ├── NotBase64Error         422  a picture in JSON is not base64
    │       ├── DataURLError           422  a data: URL is damaged or not of a picture
    │       ├── BadSearchError         422  one search of a batch cannot be understood
    │       ├── BatchTooLargeError     413  a batch has too many searches, hits, pictures or pixels
    │       ├── UnsupportedBodyError   415  the body is of an unknown type
    │       ├── QueryGoneError         410  an uploaded picture has left the cache
    │       └── SelectionGoneError     410  a selection of images has left it
    ├── PictureError
    │   └── UploadTooLargeError        413  a picture file has too many bytes
    ├── UnavailableError             the server cannot do it at this moment
    │   ├── BusyError                  503  too many searches run and wait
    │   └── JobRunningError            409  an evaluation or a map is being made
    ├── CollectionError
    │   ├── KeysFileError              the file of keys is damaged or locked
    │   └── NoSuchKeyError             no key has this id
    ├── StartError                   the server cannot start
    │   ├── OpenToAllError             it would show the collection to a network unasked
    │   └── CannotListenError          the address is taken or not this machine's
    └── JobFailedError               an evaluation or a map in the background ended without a result

web.problems turns each into a problem document; its `type` there is made of the class's name, so a name never changes.
"""

from __future__ import annotations

from typing import Literal

from retrieval.errors import CollectionError, PictureError, QueryError, RetrievalError


class AccessError(RetrievalError):
    """The client may not have what it requests."""


class ForeignHostError(AccessError):
    """The server does not serve this host name."""


class BadPrefixError(AccessError):
    """A reverse proxy names no path as its prefix."""


class ForeignPageError(AccessError):
    """A page of another site sent this form."""


class KeyNeededError(AccessError):
    """A valid API key is needed."""

    def __init__(self, scope: Literal["read", "write"]) -> None:
        self.scope = scope
        verb = "changes the collection" if scope == "write" else "reads the collection"
        super().__init__(f"this {verb}: send a key of `kvasir key create` in the header Authorization: Bearer KEY")


class KeyRefusedError(AccessError):
    """The API key may not do this."""


class TooManyKeysError(AccessError):
    """Too many wrong API keys were sent."""

    def __init__(self, retry_after: int) -> None:
        self.retry_after = retry_after
        super().__init__("this address has sent too many keys that there are not; Retry-After says when to try another")


class RequestError(QueryError):
    """A request cannot be understood."""


class BadOptionError(RequestError):
    """An option of a search does not fit."""


class RepeatedFieldError(RequestError):
    """A field that has one value is given several times."""


class NoPictureError(RequestError):
    """A request that needs a picture has none."""


class SeveralPicturesError(RequestError):
    """A request that takes one picture has several."""


class NotBase64Error(RequestError):
    """A picture in JSON is not base64."""


class DataURLError(RequestError):
    """A data: URL is damaged or not of a picture."""


class BadSearchError(RequestError):
    """One search of a batch cannot be understood."""


class BatchTooLargeError(RequestError):
    """A request has too many searches, hits, pictures, texts or pixels."""


class UnsupportedBodyError(RequestError):
    """The body of a request is of a type that is not understood."""


class QueryGoneError(RequestError):
    """The uploaded picture of a link is no longer in memory."""


class SelectionGoneError(RequestError):
    """The selection of images of a link is no longer in memory."""


class UploadTooLargeError(PictureError):
    """The picture file has more bytes than the limit."""


class UnavailableError(RetrievalError):
    """The server cannot do this at the moment."""


class BusyError(UnavailableError):
    """The server has as many searches running and waiting as it takes."""


class JobRunningError(UnavailableError):
    """Another evaluation or map is being made."""


class KeysFileError(CollectionError):
    """The file of API keys is damaged or cannot be locked."""


class NoSuchKeyError(CollectionError):
    """There is no API key of this id."""


class StartError(RetrievalError):
    """The server cannot start."""


class OpenToAllError(StartError):
    """The server would show the collection to a network without requiring a key."""


class CannotListenError(StartError):
    """The server cannot listen at this address."""


class JobFailedError(RetrievalError):
    """An evaluation or a map could not be made."""
