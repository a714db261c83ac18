"""Milvus as a vector engine: one Milvus collection a space of embeddings, our unit vectors and the inner product.

Descriptors have distances that Milvus lacks and stay local, as does everything else but proposing candidates: their
order and scores, fusion, re-ranking and chances.
"""

from __future__ import annotations

from collections.abc import Iterator

from retrieval.collection import Collection, SpaceDefinition
from retrieval.index.cosine import Cosine
from retrieval.index.engines import Deviation, Pushed, Report
from retrieval.index.milvus.address import Address
from retrieval.index.milvus.client import Client
from retrieval.index.milvus.kinds import KINDS as KINDS
from retrieval.index.protocol import Index

_DIMENSION = 32_768
"""Numbers of a vector that Milvus takes at most."""


class Milvus:
    """Milvus at one address; see `Engine`. Raises RemoteClientError."""

    def __init__(self, address: Address) -> None:
        self._client = Client(address)

    @property
    def address(self) -> str:
        """Where it is, without the key."""
        return self._client.address.name

    def serves(self, space: SpaceDefinition) -> bool:
        """Whether a space is one of embeddings; descriptors have distances that Milvus lacks."""
        return space.metric == Cosine.name and space.dimension <= _DIMENSION

    def open_index(self, collection: Collection, space: SpaceDefinition) -> Index:
        """The index of a space. Raises RemoteStaleError and other RemoteIndexErrors."""
        from retrieval.index.milvus.index import MilvusIndex
        from retrieval.index.milvus.push import push_space

        def push() -> None:
            current = Collection.open(collection.path)
            push_space(self._client, current, current.manifest.space(space.name))

        return MilvusIndex(self._client, collection, space, push)

    def push(
        self, collection: Collection, space: SpaceDefinition, kind: str | None, report: Report, rebuild: bool = False
    ) -> Pushed:
        """Bring the index of a space to the state of a collection; see `Engine.push`."""
        from retrieval.index.milvus.push import push_space

        return push_space(self._client, collection, space, kind, report, rebuild)

    def compare(self, collection: Collection, space: SpaceDefinition, vectors: bool) -> Iterator[Deviation]:
        """What differs between a space and its index; see `Engine.compare`."""
        from retrieval.index.milvus.comparison import compare

        yield from compare(self._client, collection, space, vectors)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()


def connect(address: str) -> Milvus:
    """Milvus at an address. Raises RemoteAddressError, RemoteClientError."""
    return Milvus(Address.parse(address))
