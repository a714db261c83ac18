"""Large pictures of a server: each is decoded in a process of its own, one at a time.

Some decoders run under Python's global lock and take a second for 64 megapixels, and a gigabyte. In another process
neither keeps searches waiting, time and memory have limits that end the process, and the memory is given back with it.
"""

from __future__ import annotations

import pickle
import select
import struct
import subprocess
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any, Concatenate, ParamSpec, TypeVar

from retrieval.errors import RetrievalError
from retrieval.headers import Claim, CostlyPictureError, examine
from retrieval.images import MAX_PIXELS
from retrieval.module_process import module_command, module_environment

P = ParamSpec("P")
R = TypeVar("R")

SECONDS = 40.0
"""Deadline of one picture, from the moment that its turn comes."""
_BYTES_A_PIXEL = 21
"""Memory that one picture may take: WebP, which takes the most, takes 15, and all of LIRE's descriptors up to 20."""
_BYTES_BEFORE = 150_000_000
"""Memory that the process takes before a picture."""
RUN_PIXELS = 25_000_000
"""Pixels from which a picture of a run on the command line is decoded apart: its memory, and that of as many others as
there are threads, must not end the run. Cameras make up to 24 megapixels."""
_SECONDS_HERE = 0.15
"""Estimated decoding from which a picture is large: 4 megapixels of a PNG, 10 of a JPEG."""
_BLOCKING_HERE = 0.12
"""The same for decoders under the global lock: 2.4 megapixels of a WebP."""


def is_large(claim: Claim) -> bool:
    """Whether a picture's decoding would keep a server's other threads waiting, or take much memory."""
    if claim.blocking and not claim.width:  # a format whose size only Pillow can tell
        return True
    return claim.seconds > (_BLOCKING_HERE if claim.blocking else _SECONDS_HERE)


def memory_for(pixels: int) -> int:
    """Bytes of memory that the process needs for pictures of so many pixels."""
    return _BYTES_BEFORE + _BYTES_A_PIXEL * pixels


class LargePictures:
    """Runs functions of large pictures in another process, one at a time. Safe to share between threads.

    seconds, memory: the limits of one picture; memory in bytes. least_pixels: below which none is large, for a run in
    which nobody waits for another's decoding.
    """

    def __init__(self, seconds: float = SECONDS, memory: int = memory_for(MAX_PIXELS), least_pixels: int = 0) -> None:
        self.seconds = seconds
        self.memory = memory
        self.least_pixels = least_pixels
        self._process: subprocess.Popen[bytes] | None = None
        self._ending: Callable[[], object] = lambda: None
        self._turn = threading.Lock()

    def takes(self, data: bytes, max_pixels: int) -> bool:
        """Whether a picture is to be decoded here; a faulty one is not. Raises what `examine` raises."""
        claim = examine(data, max_pixels)
        return is_large(claim) and claim.width * claim.height >= self.least_pixels

    def run(self, function: Callable[Concatenate[bytes, P], R], data: bytes, *args: P.args, **options: P.kwargs) -> R:
        """function(data, ...) in the process; a function of a module, whose arguments and result can be pickled.

        Raises CostlyPictureError beyond the limits, and the errors of the function.
        """
        message = pickle.dumps((function, data, args, options), pickle.HIGHEST_PROTOCOL)
        with self._turn:
            reply = self._reply(message) or self._reply(message)  # the last process may just have ended
        if reply is None:
            raise CostlyPictureError("decoding the picture takes more memory than it is given; reduce it")
        made, result = reply
        if not made:
            raise result
        value: R = result
        return value

    def stop(self) -> None:
        """End the process; the next picture starts another."""
        with self._turn:
            self._end()

    def _reply(self, message: bytes) -> tuple[bool, Any] | None:
        """(whether it is a result, the result or error), or None where the process has ended without a word."""
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            write_message(process.stdin, message)
        except BrokenPipeError:
            self._end()
            return None
        deadline = time.monotonic() + self.seconds
        received = bytearray()
        poller = select.poll()  # select() knows no file beyond 1,024, and a server has a connection in each
        poller.register(process.stdout, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            if not poller.poll(1000 * left):
                break
            part = process.stdout.read1(1 << 20)  # type: ignore[attr-defined]
            if not part:
                self._end()
                return None
            received += part
            if len(received) >= 8 and len(received) - 8 == struct.unpack_from(">Q", received)[0]:
                reply: tuple[bool, Any] = pickle.loads(memoryview(received)[8:])  # noqa: S301  # our own process
                return reply
        self._end()
        raise CostlyPictureError(f"decoding the picture takes more than {self.seconds:g} seconds; reduce it")

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._end()
            command = module_command("retrieval.picture_process", str(self.memory))
            self._process = subprocess.Popen(  # noqa: S603  # a module of ours and a number
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=module_environment()
            )
            self._ending = weakref.finalize(self, _end, self._process)
        return self._process

    def _end(self) -> None:
        self._process = None
        self._ending()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and close its pipes."""
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # what it had not read
                stream.close()


def write_message(stream: IO[bytes], message: bytes) -> None:
    """Write a message after its length."""
    stream.write(struct.pack(">Q", len(message)))
    stream.write(message)
    stream.flush()


def read_message(stream: IO[bytes]) -> bytes | None:
    """The next message, or None at the end."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    length = struct.unpack(">Q", head)[0]
    message = stream.read(length)
    return message if len(message) == length else None


def result_or_error(function: Callable[..., Any], *args: Any, **options: Any) -> tuple[bool, Any]:
    """(True, result), or (False, error) for errors of this project and for want of memory."""
    try:
        return True, function(*args, **options)
    except MemoryError:
        return False, CostlyPictureError("decoding the picture takes more memory than it is given; reduce it")
    except RetrievalError as error:
        return False, error.with_traceback(None)
