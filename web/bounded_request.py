"""Requests that stay in memory, and whose headers and forms cost little to parse, whatever they say."""

from __future__ import annotations

import io
import re
from functools import cached_property
from typing import IO, Any

from flask import Request
from werkzeug.datastructures import MIMEAccept
from werkzeug.exceptions import BadRequest
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_accept_header

MAX_ACCEPT = 1000
"""Bytes of `Accept` that are parsed; browsers send 150, and parsing takes the square of a run of blanks."""
MAX_PART_HEAD = 8 * 2**10
MAX_PART_HEADS = 256 * 2**10
"""Bytes of the headers of one part of a form, and of all its parts; parsing takes 0.3 µs a byte."""
MAX_DELIMITERS = 100_000
"""Places that look like the beginning of a part; by chance, pictures have one or two of a short delimiter."""

_BLANK_LINE = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_LINE_END = re.compile(rb"[^\S\r\n]*(?:\r\n|\n|\r)")
"""What follows a delimiter that begins a part; a head begins behind it, if need be with an empty line."""


class BoundedRequest(Request):
    """A request whose uploads stay in memory: nothing is written outside the collection, not even to /tmp."""

    @cached_property
    def accept_mimetypes(self) -> MIMEAccept:
        """What the client accepts, as far as the header says so in MAX_ACCEPT bytes."""
        return parse_accept_header(self.headers.get("Accept", "")[:MAX_ACCEPT], MIMEAccept)

    def make_form_data_parser(self) -> FormDataParser:
        """The parser of this request's form. Raises BadRequest."""
        body = self.environ.get("wsgi.input")
        boundary = self.mimetype_params.get("boundary", "")
        if self.mimetype == "multipart/form-data" and boundary and isinstance(body, io.BytesIO):
            require_short_heads(body.getvalue(), boundary.encode("ascii", "replace"))
        return super().make_form_data_parser()

    def _get_file_stream(self, *_: Any, **__: Any) -> IO[bytes]:
        return io.BytesIO()


def require_short_heads(body: bytes, boundary: bytes) -> None:
    """Check the headers of a form's parts before they are parsed. Raises BadRequest."""
    delimiter = b"--" + boundary
    at, heads, seen, is_first = body.find(delimiter), 0, 0, True
    while at >= 0:
        start = at + len(delimiter)
        seen += 1
        line = _LINE_END.match(body, start)
        if line and (is_first or body[at - 1] in b"\r\n"):  # the first needs no line break before it
            start, is_first = line.end(), False
            head = _BLANK_LINE.search(body, start, start + MAX_PART_HEAD)
            end = head.end() if head else min(len(body), start + MAX_PART_HEAD)
            heads += end - start
            if (head is None and end < len(body)) or heads > MAX_PART_HEADS:
                raise BadRequest("the headers of the form's parts are too long")
            start = end
        if seen > MAX_DELIMITERS:
            raise BadRequest("the form has too many parts")
        at = body.find(delimiter, start)
