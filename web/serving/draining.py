"""Stop listening without resetting anybody: whom the system has accepted is accepted here as well."""

from __future__ import annotations

import ctypes
import socket
import struct

_SO_ATTACH_FILTER = 26
_SYN, _ACK = 0x02, 0x10
_LOAD_BYTE, _AND, _JUMP_IF_EQUAL, _RETURN = 0x30, 0x54, 0x15, 0x06
_FLAGS = 13
"""Offset of the flags in a TCP header, which is where a filter of a TCP socket begins to count."""
_DROP_NEW = (
    (_LOAD_BYTE, 0, 0, _FLAGS),
    (_AND, 0, 0, _SYN | _ACK),
    (_JUMP_IF_EQUAL, 0, 1, _SYN),
    (_RETURN, 0, 0, 0),
    (_RETURN, 0, 0, 0xFFFF),
)
"""A classic BPF program: opcode, jump if true, jump if false, operand."""


def refuse_new(listener: socket.socket) -> None:
    """Let no further connection begin, while those that have begun can still be accepted.

    Closing a listening socket resets what the system has accepted and the process has not. A filter drops the first
    packet of a connection; a client repeats it after a second and is refused once the socket is closed. Sockets of
    other families have no such filter: there the shortest queue leaves one connection that may be reset.
    """
    if listener.family in (socket.AF_INET, socket.AF_INET6):
        program = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _DROP_NEW))
        listener.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(_DROP_NEW), ctypes.addressof(program))
        )
    else:
        listener.listen(0)
