"""Whom connections and requests count for."""

from __future__ import annotations

import socket


def network_of(address: str) -> str:
    """An IPv4 address, or of IPv6 the network of 64 bits that one client has; any other text as it is."""
    if ":" not in address or address.startswith("::ffff:"):
        return address
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:  # what a proxy says
        return address
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))
