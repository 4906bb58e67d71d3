"""A TCP connection, closed as soon as it is there."""

from __future__ import annotations

import asyncio
import socket

from classifier.policy import Target
from classifier.uplinks.probes.binding import Binding, bound_socket, socket_family


async def probe(target: Target, binding: Binding) -> None:
    """Returns when the target has accepted a connection."""
    loop = asyncio.get_running_loop()
    family = socket_family(target.host)
    with bound_socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, binding) as sock:
        # The address is a literal, which asyncio looks up nowhere.
        await loop.sock_connect(sock, (target.host, target.port))
