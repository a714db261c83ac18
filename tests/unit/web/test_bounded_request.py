"""What a client says in headers and forms costs little, whatever it is, and is understood as before."""

from __future__ import annotations

import io
import time
from collections.abc import Callable

import pytest
from flask import Flask
from werkzeug.exceptions import BadRequest
from werkzeug.wrappers import Request as PlainRequest

from web.bounded_request import BoundedRequest, require_short_heads
from web.serving.body_start import refusal

MOST = 0.2
"""Seconds of processor time; without the limits each of these takes 5 seconds to some minutes."""
HEAD = b'--part\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"'
END = b"\r\n\r\nx\r\n--part--\r\n"

STARTS: dict[str, Callable[[], bytes]] = {
    "names without a blank line": lambda: b"name=image\r\n" * 90_000,
    "names in one line": lambda: b"name=image" * 100_000,
    "names and headers": lambda: b"name=image\r\n" + b"a: b\r\n" * 170_000,
}
FORMS: dict[str, Callable[[], bytes]] = {
    "a head of parameters": lambda: HEAD + b"; a=b" * 90_000 + END,
    "many heads of parameters": lambda: (HEAD + b"; a=b" * 1500 + b"\r\n\r\nx\r\n") * 900 + b"--part--\r\n",
    "a head without end": lambda: HEAD + b"x" * 5_000_000,
    "parts behind one that looks like the last": lambda: HEAD + b"\r\n\r\n--part--x\r\n" + HEAD + b"; a" * 90_000 + END,
    "a head behind an empty line": lambda: HEAD.replace(b"\r\n", b"\r\n\r\n") + b"; a=b" * 90_000 + END,
    "a head behind other line breaks": lambda: HEAD.replace(b"\r\n", b" \t\n\n") + b"; a=b" * 90_000 + END,
    "a first head within a line": lambda: b"x" + HEAD + b"; a=b" * 90_000 + END,
    "places that look like parts": lambda: HEAD + b"\r\n\r\n" + b"--part" * 900_000,
}


@pytest.mark.parametrize("kind", STARTS)
def test_the_start_of_a_form_is_looked_at_in_no_time(kind: str) -> None:
    start = STARTS[kind]()
    begun = time.process_time()
    assert refusal("/api/v1/search", "multipart/form-data; boundary=part", start[: 1 << 20], 1000) is None
    assert time.process_time() - begun < MOST


@pytest.mark.parametrize("kind", FORMS)
def test_long_heads_of_parts_are_refused_in_no_time(kind: str) -> None:
    body = FORMS[kind]()
    app = Flask(__name__)
    app.request_class = BoundedRequest
    with app.test_request_context(
        method="POST", input_stream=io.BytesIO(body), content_type="multipart/form-data; boundary=part"
    ) as context:
        begun = time.process_time()
        with pytest.raises(BadRequest):
            _ = context.request.files
        assert time.process_time() - begun < MOST


def test_what_looks_like_a_delimiter_within_a_picture_is_none() -> None:
    picture = b"\r\n--part-of-it" + bytes(100_000) + b"\xff--part\r\n" + bytes(100_000)
    body = (
        HEAD
        + b"\r\n\r\n"
        + picture
        + b"\r\n"
        + b'--part\nContent-Disposition: form-data; name="k"\n\n3'
        + b"\r\n--part--\r\n"
    )
    require_short_heads(body, b"part")
    app = Flask(__name__)
    app.request_class = BoundedRequest
    with app.test_request_context(
        method="POST", input_stream=io.BytesIO(body), content_type="multipart/form-data; boundary=part"
    ) as context:
        assert context.request.files["image"].read() == picture
        assert context.request.form["k"] == "3"


@pytest.mark.parametrize(
    "accept", ["", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8", "application/json", "image/svg+xml, */*;q=0.1"]
)
def test_accept_is_understood_and_one_of_blanks_takes_no_time(accept: str) -> None:
    environ = {"HTTP_ACCEPT": accept}
    assert BoundedRequest(environ).accept_mimetypes == PlainRequest(environ).accept_mimetypes
    begun = time.process_time()
    assert BoundedRequest({"HTTP_ACCEPT": f"a{' ' * 8000}b"}).accept_mimetypes
    assert time.process_time() - begun < MOST / 10
