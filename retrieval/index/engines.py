"""Vector engines elsewhere that search in the place of the local indexes, by the scheme of their address.

A new engine is a module with the functions of `EngineModule` and a line in ENGINES.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Protocol, cast

from retrieval.collection import Collection, SpaceDefinition
from retrieval.errors import RemoteAddressError
from retrieval.index.protocol import Index

ENGINES = {"milvus": "retrieval.index.milvus", "milvus+tls": "retrieval.index.milvus"}
"""Scheme of an address -> module; it is imported with the first address of the scheme."""

Report = Callable[[str, int, int], None]
"""Called with a step of a push, what is done of it, and of how much."""


@dataclass(frozen=True)
class Pushed:
    """Outcome of pushing one space. index: what it is there, in words."""

    space: str
    written: int
    removed: int
    images: int
    index: str


@dataclass(frozen=True)
class Deviation:
    """What differs between a space of a collection and its index in an engine; ids are images of the collection."""

    space: str
    message: str
    ids: tuple[int, ...] = ()


class Engine(Protocol):
    """A vector engine at one address. Safe to share between threads; connects with the first use."""

    @property
    def address(self) -> str:
        """Where it is, without the key."""
        ...

    def serves(self, space: SpaceDefinition) -> bool:
        """Whether it can search a space; one that it cannot is searched by the local index."""
        ...

    def open_index(self, collection: Collection, space: SpaceDefinition) -> Index:
        """The index of a space that it serves. Raises a RemoteIndexError."""
        ...

    def push(
        self, collection: Collection, space: SpaceDefinition, kind: str | None, report: Report, rebuild: bool = False
    ) -> Pushed:
        """Bring the index of a space that it serves to the state of a collection.

        kind: of the index; None for the one that it has or, of a new one, what suits its size. rebuild: write all of it
        anew, for one that is other than the engine says. Stopped at any moment,
        searches see the index before or after, and the same call goes on. Raises a RemoteIndexError.
        """
        ...

    def compare(self, collection: Collection, space: SpaceDefinition, vectors: bool) -> Iterator[Deviation]:
        """What differs between a space and its index. vectors: compare each vector too, not only their checksums."""
        ...

    def close(self) -> None:
        """Close the connection; the next use makes another."""
        ...


class EngineModule(Protocol):
    """What the module of an engine provides."""

    KINDS: tuple[str, ...]

    def connect(self, address: str) -> Engine:
        """The engine at an address. Raises RemoteAddressError, RemoteClientError."""
        ...


def connect(address: str) -> Engine:
    """The engine at an address such as `milvus://localhost:19530`. Raises RemoteAddressError, RemoteClientError."""
    scheme, sign, _ = address.partition("://")
    if not sign or scheme.lower() not in ENGINES:
        known = ", ".join(f"{name}://" for name in ENGINES)
        # Not shown: it may have a password in it.
        raise RemoteAddressError(f"that is not the address of a vector engine; one begins with {known}")
    return cast(EngineModule, import_module(ENGINES[scheme.lower()])).connect(address)
