"""A packet ring: what arrives at an interface, read without a system call per packet.

Layout and constants: <linux/if_packet.h>, TPACKET_V2. A ring is used, not recvfrom, because its
memory is not bounded by the socket buffer, which only root of the host may enlarge.
"""

from __future__ import annotations

import mmap
import socket
import struct
from collections.abc import Iterator

from classifier.lab.namespace import Namespace

_SOL_PACKET = 263
_PACKET_RX_RING, _PACKET_STATISTICS, _PACKET_VERSION, _PACKET_IGNORE_OUTGOING = 5, 6, 10, 23
_TPACKET_V2 = 1
_ETH_P_ALL = 0x0003
_USER = 1  # TP_STATUS_USER: the frame belongs to us

_FRAME = 256
"""Bytes of a frame: its own header and the first 176 bytes of the packet from the IP header on."""
_BLOCK = 1 << 16
_STATUS = struct.Struct("=I")
# tp_status, tp_len, tp_snaplen, tp_mac, tp_net, tp_sec, tp_nsec
_HEADER = struct.Struct("=IIIHHII")


class Ring:
    """Packets that arrive at one interface; those that leave by it are not seen."""

    def __init__(self, namespace: Namespace, interface: str, frames: int = 65536) -> None:
        with namespace.enter():
            # Protocol 0: hears nothing before the ring is there.
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
            size = frames * _FRAME
            self._socket.setsockopt(_SOL_PACKET, _PACKET_VERSION, _TPACKET_V2)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
            ring = struct.pack("=IIII", _BLOCK, size // _BLOCK, _FRAME, frames)
            self._socket.setsockopt(_SOL_PACKET, _PACKET_RX_RING, ring)
            self._memory = mmap.mmap(self._socket.fileno(), size)
            self._socket.bind((interface, _ETH_P_ALL))
        self._frames = frames
        self._next = 0

    def packets(self) -> Iterator[tuple[int, bytes]]:
        """What has arrived since the last call: nanoseconds of the epoch and the first bytes."""
        memory = self._memory
        at = self._next * _FRAME
        end = self._frames * _FRAME
        while _STATUS.unpack_from(memory, at)[0] & _USER:
            _, _, length, _, start, seconds, nanoseconds = _HEADER.unpack_from(memory, at)
            packet = memory[at + start : at + start + length]
            _STATUS.pack_into(memory, at, 0)
            at = at + _FRAME if at + _FRAME < end else 0
            self._next = at // _FRAME
            yield seconds * 1_000_000_000 + nanoseconds, packet

    def lost(self) -> int:
        """Packets that found the ring full since the last call of this."""
        counters = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("=II", counters)[1])

    def close(self) -> None:
        self._memory.close()
        self._socket.close()
