"""Making the clients of ended connections notice at once.

When a connection's conntrack entry is gone, its client knows nothing of it. Its next packet is
taken for a new flow (`nf_conntrack_tcp_loose`) and leaves by another uplink from another address,
and the server, which knows no such connection, resets it. But a client that has been sending into a
dead line waits with its next try as long again as the line has been silent, and one that only waits
for data sends nothing for hours.

So each is sent what makes any TCP answer at once: a SYN and ACK, as from its server, in the midst
of the connection. It answers with a challenge ACK (RFC 5961, section 4.2), older systems with an
ACK or with the end of the connection (RFC 793, page 69 and 71). On this host the segment starts no
connection: conntrack finds it invalid where there is no entry.
"""

from __future__ import annotations

import logging
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

from classifier.host.conntrack import TcpConnection
from classifier.host.state import ADDRESS_FAMILIES
from classifier.policy import Family
from classifier.uplinks.probes.icmp import checksum

log = logging.getLogger(__name__)

_SYN_ACK = 0x12
_NO_FRAGMENTS = 0x4000
_HOPS = 64
_SHORT = 5 << 4
"""A header of five words, without options."""
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")


def challenge(connections: Iterable[TcpConnection], family: Family) -> None:
    """Send one segment to each client, from the calling thread's network namespace.

    What cannot be sent is left out: such a client notices by itself, later.
    """
    try:
        # For IPPROTO_RAW the IP header is ours; the kernel fills in its checksum.
        raw = socket.socket(ADDRESS_FAMILIES[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError as error:
        log.warning("clients are not told that their connections have ended: %s", error)
        return
    with raw:
        raw.setblocking(False)
        for connection in connections:
            with suppress(OSError):
                raw.sendto(packet(connection), (socket.inet_ntop(raw.family, connection.client), 0))


def packet(connection: TcpConnection) -> bytes:
    """A SYN and ACK from the server to the client, from the IP header on."""
    addresses = (connection.server, connection.client)
    ports = (connection.server_port, connection.client_port)
    unsummed = _TCP.pack(*ports, 0, 0, _SHORT, _SYN_ACK, 0, 0, 0)
    pseudo_header = b"".join(addresses) + struct.pack("!II", _TCP.size, socket.IPPROTO_TCP)
    summed = _TCP.pack(*ports, 0, 0, _SHORT, _SYN_ACK, 0, checksum(pseudo_header + unsummed), 0)
    if len(connection.client) == 4:
        length = _IPV4.size + _TCP.size
        tcp = socket.IPPROTO_TCP
        return (
            _IPV4.pack(4 << 4 | 5, 0, length, 0, _NO_FRAGMENTS, _HOPS, tcp, 0, *addresses) + summed
        )
    return _IPV6.pack(6 << 28, _TCP.size, socket.IPPROTO_TCP, _HOPS, *addresses) + summed
