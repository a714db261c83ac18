"""Addresses of Milvus, and the filters that are sent to it."""

from __future__ import annotations

import numpy as np
import pytest

from retrieval.errors import RemoteAddressError
from retrieval.filters import Selection
from retrieval.index.engines import connect
from retrieval.index.milvus.address import TOKEN_VARIABLE, Address
from retrieval.index.milvus.filter import LISTED, expression
from retrieval.index.milvus.stamp import class_key


def test_a_server_has_a_port_by_default_and_its_key_is_not_shown() -> None:
    address = Address.parse("milvus://root:s%40cret@db.example/vectors?timeout=2.5")
    assert (address.uri, address.database, address.token) == ("http://db.example:19530", "vectors", "root:s@cret")
    assert (address.name, address.timeout) == ("milvus://db.example:19530/vectors", 2.5)
    assert "cret" not in repr(address)


def test_tls_ipv6_and_a_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "key")
    address = Address.parse("milvus+tls://[::1]:1234")
    assert (address.uri, address.token, address.is_file) == ("https://[::1]:1234", "key", False)


def test_a_file_of_milvus_lite() -> None:
    address = Address.parse("milvus:///data/my%20file.db")
    assert (address.uri, address.name, address.is_file) == ("/data/my file.db", "milvus:///data/my file.db", True)


@pytest.mark.parametrize(
    "text",
    [
        "http://host:19530",
        "host:19530",
        "milvus://",
        "milvus:///folder/file",
        "milvus://host:port",
        "milvus://host:99999",
        "milvus://host?timeout=0",
        "milvus://host?timeout=long",
        "milvus://host?deadline=3",
    ],
)
def test_any_other_address_is_an_error(text: str) -> None:
    with pytest.raises(RemoteAddressError):
        connect(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://root:secret@host:1",
        "root:secret@host:1",
        "milvus://root:secret/x@host",
        "milvus://root:1/secret@host",
        "milvus://root:1?secret@host",
        "milvus://root:1#secret@host",
    ],
)
def test_an_address_that_is_an_error_never_shows_its_password(text: str) -> None:
    with pytest.raises(RemoteAddressError) as raised:
        connect(text)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


def test_classes_are_sent_by_number_and_everything_else_by_ids() -> None:
    images = np.arange(10)
    polyps = Selection(images, images[:4], images[3:4], ("polyps",))
    assert expression(polyps) == f"class in [{class_key('polyps')}] and id not in [3]"
    assert expression(Selection(images, images[:3])) == "id in [0, 1, 2]"
    assert expression(None, np.array([7, 8])) == "id not in [7, 8]"
    assert expression(None) == ""


def test_a_filter_of_too_many_ids_is_not_sent() -> None:
    images = np.arange(2 * LISTED)
    assert expression(Selection(images, images[: LISTED + 1])) is None
    assert expression(Selection(images, images[: LISTED + 1], classes=("polyps",))) is not None


def test_numbers_of_classes_fit_milvus_and_are_never_that_of_no_class() -> None:
    keys = [class_key(name) for name in ("polyps", "", 'a "quoted" class', "Polypen größer")]
    assert all(0 < key < 2**63 for key in keys)
    assert len(set(keys)) == 4
