"""The hits of a search as a file: CSV, JSON, or a ZIP of both with the pictures."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from retrieval.collection import PictureGoneError
from retrieval.errors import PictureError
from retrieval.hits import Hits
from retrieval.tables import csv_rows
from web.context import state
from web.pictures import drawn
from web.responses import hits_to_dict
from web.served_picture import without_metadata
from web.serving.connection import Output

MOST_UNSENT = 4 * 2**20
"""Bytes of a ZIP that wait in memory for its client."""
MEDIA_TYPES = {"csv": "text/csv", "json": "application/json", "zip": "application/zip"}

_UNSAFE = re.compile(r"[^\w.-]+")


def paced(parts: Iterable[bytes], sent_by: object, most: int = MOST_UNSENT) -> Iterator[bytes]:
    """The parts of a long response, each made once the client has read those before it but `most` bytes.

    sent_by: the connection's Output, where the production server runs. Ends early for a client that reads too slowly,
    whose connection closes then.
    """
    for part in parts:
        yield part
        if isinstance(sent_by, Output) and not sent_by.wait(most):
            return


def hits_as_csv(hits: Hits, pictures: dict[int, str] | None = None) -> str:
    """A row a hit, with its distance in each space; pictures: the file of each in a ZIP, by image id."""
    heading = ["rank", "id", "class", "file", hits.score_kind, *(f"distance in {space}" for space in hits.spaces)]
    rows: list[list[Any]] = [[*heading, "cluster", "marks", "chance", *(["picture"] if pictures is not None else [])]]
    for hit in hits:
        distances = ["" if distance is None else distance for distance in hit.distances.values()]
        row = [hit.rank, hit.id, hit.class_name or "", hit.file, hit.score, *distances, hit.cluster]
        row += [" ".join(hit.marks), "" if hit.chance is None else hit.chance]
        rows.append(row + ([pictures.get(hit.id, "")] if pictures is not None else []))
    return csv_rows(rows)


def hits_as_json(hits: Hits, k: int) -> str:
    """What `POST /search` responds with."""
    return json.dumps(hits_to_dict(hits, k), allow_nan=False, indent=1)


def hits_as_zip(hits: Hits, k: int, queries: Sequence[int | bytes] = ()) -> Iterator[bytes]:
    """hits.csv, hits.json and the pictures, those of the query too; a picture that cannot be read has no file.

    queries: images of the collection by id, uploads as bytes. Pictures are free of metadata.
    To be run within the request's context; a picture is in memory only while it is written.
    """
    out = _Sent()
    files: dict[int, str] = {}
    with zipfile.ZipFile(out, "x", zipfile.ZIP_STORED) as archive:
        for number, query in enumerate(queries, 1):
            if (picture := _picture(hits, query)) is not None:
                name = f"-image-{query}" if isinstance(query, int) else ""
                archive.writestr(f"query/{number:02}{name}.{picture[1]}", picture[0])
                yield out.taken()
        for hit in hits:
            if (picture := _picture(hits, hit.id)) is not None:
                name = f"{hit.rank:04}-{hit.id}-{_UNSAFE.sub('-', hit.class_name or 'no class')}"
                files[hit.id] = f"pictures/{name}.{picture[1]}"
                archive.writestr(files[hit.id], picture[0])
                yield out.taken()
        archive.writestr("hits.csv", hits_as_csv(hits, files))
        archive.writestr("hits.json", hits_as_json(hits, k))
    yield out.taken()


def _picture(hits: Hits, picture: int | bytes) -> tuple[bytes, str] | None:
    """A picture without metadata and the ending of its file's name; None where it cannot be read."""
    try:
        with state().drawings.slot():
            data = hits.collection.display(picture) if isinstance(picture, int) else picture
            made, media_type = drawn(without_metadata, data)
    except (PictureError, PictureGoneError):
        return None
    return made, "png" if media_type == "image/png" else "jpg"


class _Sent:
    """What a ZIP file is written to, to be sent piece by piece."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing waits here."""

    close = flush

    def taken(self) -> bytes:
        """What was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data
