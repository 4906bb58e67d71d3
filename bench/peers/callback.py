"""NetfilterQueue with a Python callback that parses, looks up and marks.

As good as such a callback gets: header fields by one `struct`, networks as integers, ports in a
set, remotes in a dict.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Callable
from ipaddress import IPv4Network
from itertools import cycle

from netfilterqueue import NetfilterQueue, Packet

from bench.peers.reader import serve
from classifier.queue.binding import set_flags
from classifier.queue.packet_queue import QueueSettings

WIRED, DIRECT = 0x100, 0x3F00
HEADER = struct.Struct(">8xxB2xII")  # protocol, source, destination
PORTS = struct.Struct(">HH")
EXCLUDED = [
    (int(network.network_address), int(network.netmask))
    for network in map(IPv4Network, ("192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"))
]
WIRED_PORTS = {(6, port) for port in (21, 22, 80, 443, *range(6660, 6670))} | {(17, 53)}


def callback() -> Callable[[Packet], None]:
    sticky: dict[int, int] = {}
    marks = cycle((0x100, 0x200, 0x300))

    def decide(payload: bytes) -> int:
        protocol, _, destination = HEADER.unpack_from(payload)
        for network, mask in EXCLUDED:
            if destination & mask == network:
                return DIRECT
        _, dport = PORTS.unpack_from(payload, (payload[0] & 0xF) * 4)
        if (protocol, dport) in WIRED_PORTS:
            return WIRED
        mark = sticky.get(destination)
        if mark is None:
            mark = sticky[destination] = next(marks)
        return mark

    def answer(packet: Packet) -> None:
        packet.set_mark(packet.get_mark() & ~0x3F00 | decide(packet.get_payload()))
        packet.accept()

    return answer


def main() -> None:
    queue = NetfilterQueue()
    number = int(sys.argv[1])
    queue.bind(number, callback(), max_len=65536, range=128, sock_len=64 << 20)
    # The flags the other readers set, which the library cannot.
    with socket.socket(fileno=os.dup(queue.get_fd())) as shared:
        set_flags(shared, number, QueueSettings())

    def bind() -> Callable[[int], None]:
        return lambda packets: queue.run(block=False)

    serve(bind)


main()
