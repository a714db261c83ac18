"""The errors of this project for what pymilvus and milvus-lite say."""

from __future__ import annotations

import pytest

from retrieval.errors import RemoteAccessError, RemoteAnswerError, RemoteIndexError, RemoteUnreachableError
from retrieval.index.milvus.address import Address
from retrieval.index.milvus.client import Client


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("auth check failure, please check api key is correct", RemoteAccessError),
        ("missing authorization in header", RemoteAccessError),
        ("unauthenticated", RemoteAccessError),
        ("another process holds the lock on '/data'", RemoteUnreachableError),
        ("block 3 is full", RemoteAnswerError),
        ("cannot parse expression: token recognition error at '~'", RemoteAnswerError),
        ("no field 'author'", RemoteAnswerError),
    ],
)
def test_whole_words_of_a_message_decide_which_error_it_is(text: str, kind: type[RemoteIndexError]) -> None:
    pytest.importorskip("pymilvus", reason="pymilvus is not installed")
    assert type(Client(Address.parse("milvus://host"))._translated(RuntimeError(text))) is kind
