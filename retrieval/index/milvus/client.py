"""Calls of pymilvus with a deadline, bounded back-off and the errors of this project."""

from __future__ import annotations

import logging
import re
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from retrieval.errors import (
    RemoteAccessError,
    RemoteAnswerError,
    RemoteClientError,
    RemoteIndexError,
    RemoteTimeoutError,
    RemoteUnreachableError,
)
from retrieval.index.milvus.address import TOKEN_VARIABLE, Address

_FIRST_WAIT = 0.05
_LONGEST_WAIT = 1.0
_LOAD_SECONDS = 600.0
_NOT_FOUND = (100, 1600)
"""Milvus's codes for a collection and an alias that there is not; milvus-lite has the first for both."""
_REFUSED = re.compile(r"(?i)\b(?:(?:un)?auth(?:enticat\w*|oriz\w*)?|permissions?|privileges?|credentials?|password)\b")
_UNWRITTEN = re.compile("seems not fully written|No data left in file")
"""What milvus-lite says where it reads a file that another of its threads still writes."""
_LOCKED = re.compile(r"(?i)\block(?:ed)?\b")


class GoneError(RemoteAnswerError):
    """The Milvus collection is there no more, or not yet."""


class Client:
    """One connection, made with the first call. Safe to share between threads.

    Raises RemoteClientError.
    """

    def __init__(self, address: Address) -> None:
        if find_spec("pymilvus") is None or (address.is_file and find_spec("milvus_lite") is None):
            raise RemoteClientError("Milvus needs pymilvus and milvus-lite: `pip install 'kvasir-retrieval[milvus]'`")
        self.address = address
        self._connecting = Lock()
        self._connection: Any = None

    def call(self, method: str, *arguments: Any, timeout: float | None = None, **options: Any) -> Any:
        """Call a method of `MilvusClient`; an engine that cannot be reached is tried again until the deadline.

        Raises a RemoteIndexError, GoneError where there is no such collection.
        """
        end = time.monotonic() + (self.address.timeout if timeout is None else timeout)
        wait = _FIRST_WAIT
        while True:
            left = max(0.01, end - time.monotonic())
            try:
                connection = self._connected(left)
                return getattr(connection, method)(*arguments, timeout=left, **options)
            except Exception as error:
                known = self._translated(error)
                passes = isinstance(known, RemoteUnreachableError) or _UNWRITTEN.search(str(error))
                if not passes or time.monotonic() + wait >= end:
                    raise known from error
            time.sleep(wait)
            wait = min(2 * wait, _LONGEST_WAIT)

    def load(self, collection: str, timeout: float | None = None) -> None:
        """Have Milvus load a collection into memory, which is there already but after a start of milvus-lite.

        However long that takes, Milvus has to answer each call within its deadline. Raises a RemoteIndexError.
        """
        end = time.monotonic() + _LOAD_SECONDS
        while True:
            with suppress(RemoteTimeoutError):  # milvus-lite loads within the call
                self.call("load_collection", collection, timeout=timeout, _async=True)
            if self.call("get_load_state", collection, timeout=timeout)["state"].name == "Loaded":
                return
            if time.monotonic() >= end:
                raise RemoteTimeoutError(f"{self.address.name} has not loaded {collection} in {_LOAD_SECONDS:.0f} s")
            time.sleep(_FIRST_WAIT)

    def close(self) -> None:
        """Close the connection; the next call makes another. A file of milvus-lite can then be opened elsewhere."""
        with self._connecting:
            if self._connection is not None:
                self._connection.close()
                self._connection = None
                if self.address.is_file:
                    from milvus_lite.server_manager import server_manager_instance

                    server_manager_instance.release_server(self.address.uri)

    def schema(self) -> Any:
        """An empty schema, whose ids the caller gives."""
        from pymilvus import MilvusClient

        return MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)

    def _connected(self, timeout: float) -> Any:
        with self._connecting:
            if self._connection is None:
                from pymilvus import MilvusClient

                # Every failure that it logs, with its traceback, is raised as well.
                logging.getLogger("pymilvus").setLevel(logging.CRITICAL)
                logging.getLogger("milvus_lite").setLevel(logging.CRITICAL)
                address = self.address
                if address.is_file:
                    Path(address.uri).parent.mkdir(parents=True, exist_ok=True)
                self._connection = MilvusClient(
                    uri=address.uri, token=address.token, db_name=address.database, timeout=timeout
                )
            return self._connection

    def _translated(self, error: Exception) -> RemoteIndexError:
        """The error of this project that one of pymilvus, gRPC or milvus-lite is."""
        name = self.address.name
        statuses = [
            code() if callable(code) else code
            for one in (error, error.__cause__)
            if (code := getattr(one, "code", None)) is not None
        ]
        details = getattr(error, "details", None)
        text = str(getattr(error, "message", None) or (details() if callable(details) else error))
        text = " ".join(text.split())[:300]
        if any(isinstance(status, int) and status in _NOT_FOUND for status in statuses):
            return GoneError(f"{name}: {text}")
        names = {getattr(status, "name", "") for status in statuses}  # of gRPC
        if names & {"UNAUTHENTICATED", "PERMISSION_DENIED"}:
            return self._refused(text)
        if "DEADLINE_EXCEEDED" in names:
            return RemoteTimeoutError(
                f"{name} did not answer in time; `?timeout=SECONDS` at the end of its address gives it more"
            )
        if _REFUSED.search(text):
            return self._refused(text)
        if "UNAVAILABLE" in names or "Fail connecting" in text:
            return RemoteUnreachableError(f"{name} cannot be reached: {text}")
        if isinstance(error, OSError) or _LOCKED.search(text):
            return RemoteUnreachableError(f"{name} cannot be opened: {text}")
        return RemoteAnswerError(f"{name}: {text}")

    def _refused(self, text: str) -> RemoteAccessError:
        return RemoteAccessError(
            f"{self.address.name} refuses the key: {text}; give USER:PASSWORD or an API key in {TOKEN_VARIABLE}"
        )
