"""The process of `retrieval.large_pictures`: reads a function and a picture from stdin, writes the result to stdout.

It yields to all other processes, ends where it has no work for a while, and after a picture that took much memory, so
that this is given back.
"""

from __future__ import annotations

import os
import pickle
import resource
import select
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from retrieval.collection import SpaceDefinition
from retrieval.images import Draft, Picture, Region, decode, small_draft
from retrieval.large_pictures import read_message, result_or_error, write_message
from retrieval.spaces import open_space, prepare_all

IDLE = 10.0
"""Seconds without work after which the process ends."""
MOST_RESIDENT = 300 * 2**20
"""Bytes of its largest picture up to which the process goes on."""
_NICENESS = 5


def prepared(
    data: bytes, folder: Path, definitions: Sequence[SpaceDefinition], region: Region | None, max_pixels: int
) -> dict[str, NDArray[Any]]:
    """What `Space.embed` takes of a picture in each space of a collection."""
    spaces = [open_space(folder, definition, "latency") for definition in definitions]
    pictures: dict[Draft, Picture] = {}
    for draft in dict.fromkeys(space.draft for space in spaces):
        picture = decode(data, max_pixels=max_pixels, draft=small_draft(draft, region))
        pictures[draft] = picture if region is None else picture.crop(region)
    return prepare_all(spaces, pictures)


def main() -> None:
    """Serve until there is no more work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C ends the server, which ends this process
    work, replies = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what libraries print must not stand among the replies
    os.nice(_NICENESS)
    _limit_memory(int(sys.argv[1]))
    while select.select([work], [], [], IDLE)[0] and (message := read_message(work)) is not None:
        function, data, args, options = pickle.loads(message)  # noqa: S301  # of the process that started this one
        del message
        reply = result_or_error(function, data, *args, **options)
        write_message(replies, pickle.dumps(reply, pickle.HIGHEST_PROTOCOL))
        if _most_resident() > MOST_RESIDENT:
            return


def _limit_memory(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def _most_resident() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
