from __future__ import annotations

import json
import logging
import sys

import pytest

from web.monitoring import JsonFormatter, PlainFormatter


def record(message: str, level: int = logging.INFO, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("kvasir.requests", level, __file__, 1, message, (), None)
    made.fields = fields
    return made


@pytest.mark.parametrize(
    ("line", "plain"),
    [
        (record("GET /x 200", ms=12.4), "GET /x 200 (12 ms)"),
        (record("GET /\x1b[31m 404", ms=0.2), "GET /\\x1b[31m 404 (0 ms)"),
        (record("the index is outdated", logging.WARNING), "warning: the index is outdated"),
    ],
)
def test_a_plain_line_has_level_message_and_milliseconds(line: logging.LogRecord, plain: str) -> None:
    assert PlainFormatter().format(line)[9:] == plain


def test_a_plain_line_is_followed_by_its_traceback() -> None:
    made = record("failed", logging.ERROR)
    try:
        raise ValueError("x")
    except ValueError:
        made.exc_info = sys.exc_info()
    first, *rest = PlainFormatter().format(made).splitlines()
    assert first.endswith("error: failed")
    assert (rest[0], rest[-1]) == ("Traceback (most recent call last):", "ValueError: x")


def test_json_has_the_fields_of_a_request() -> None:
    written = json.loads(JsonFormatter().format(record("GET /x 200", ms=12.4, status=200)))
    assert (written["level"], written["message"], written["ms"], written["status"]) == ("info", "GET /x 200", 12.4, 200)
