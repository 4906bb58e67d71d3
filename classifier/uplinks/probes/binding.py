"""Sockets that leave by one uplink, whatever main's default route and the policy say."""

from __future__ import annotations

import socket
from dataclasses import dataclass


class NoAnswerError(Exception):
    """What came back does not count as an answer; the text says what it was."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The uplink that a probe leaves by."""

    interface: str
    """The routing rule for bound sockets (BOUND_PRIORITY) leads to the uplink's table."""
    mark: int
    """The uplink's mark: a marked packet of the gateway passes the queue by, so probes work when
    all uplinks are down, or no classifier answers. 0: none, outside a gateway."""


def bound_socket(family: int, kind: int, protocol: int, binding: Binding) -> socket.socket:
    """A socket that does not block and that sends and receives by the uplink's interface alone.

    Raises OSError: no such interface, not permitted (it needs CAP_NET_ADMIN for the mark).
    """
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, protocol)
    try:
        interface = binding.interface.encode() + b"\0"
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface)
        if binding.mark:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, binding.mark)
    except OSError:
        sock.close()
        raise
    return sock


def socket_family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
