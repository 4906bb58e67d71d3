"""Captures of others, made fit to be sent through a virtual gateway, and written as captures."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from probes import take

from classifier.errors import CaptureError
from classifier.policy import Network
from classifier.replay.reader import CaptureReader

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58
_TTL = 64
_CHECKSUM_AT = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}
_EXTENSIONS = (0, 43, 60)  # hop by hop, routing, destination options
_RESERVED = 0xF0  # 240.0.0.0/4


def captures() -> list[Path]:
    """Captures of applications beside the project, or in the folder that the environment names."""
    if named := os.environ.get("CLASSIFIER_CAPTURES"):
        folder = Path(named)
    else:
        # Beside the project; or further up, where this is a worktree of it.
        beside = (parent.parent / "shared" / "captures" for parent in Path(__file__).parents)
        folder = next(filter(Path.is_dir, beside), Path("nowhere"))
    return sorted(path for path in folder.glob("apps/*") if "pcap" in path.suffix)


def forwardable(path: Path, near: Iterable[Network]) -> list[bytes]:
    """The packets of a capture that a router would forward, from the IP header on.

    They are whole, of one unicast address to another, neither of them in the networks of `near`,
    may pass many routers yet, and have right checksums (fragments keep theirs: it covers more than
    one packet). A capture that is damaged is taken up to the damage.
    """
    networks = tuple(near)
    found: list[bytes] = []
    try:
        with CaptureReader(str(path)) as reader:
            while batch := take(reader):
                for _, data, length in batch:
                    # Longer than any interface takes: a packet that the card was to cut.
                    if data is not None and len(data) == length <= 65535:
                        packet = _made_right(data)
                        if packet is not None and _leads_out(packet, networks):
                            found.append(packet)
    except CaptureError:
        pass
    return found


def write(path: Path, packets: Sequence[bytes], microseconds: Sequence[int]) -> None:
    """A capture (pcap, raw IP) of packets, each at its time after some day of 2023."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101))
        for packet, time in zip(packets, microseconds, strict=True):
            seconds, rest = divmod(time, 1_000_000)
            size = len(packet)
            file.write(struct.pack("<IIII", START + seconds, rest, size, size) + packet)


START = 1_700_000_000
"""Seconds since 1970 at which the written captures start."""


def checksum(data: bytes) -> int:
    """RFC 1071."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _made_right(data: bytes) -> bytes | None:
    """The packet without what follows it, with a full time to live; None if it is none."""
    if len(data) >= 20 and data[0] >> 4 == 4:
        head, size = (data[0] & 15) * 4, int.from_bytes(data[2:4], "big")
        if not 20 <= head <= size <= len(data):
            return None
        header = data[:8] + bytes((_TTL, data[9])) + b"\0\0" + data[12:head]
        header = header[:10] + struct.pack(">H", checksum(header)) + header[12:]
        body = data[head:size]
        if int.from_bytes(data[6:8], "big") & 0x3FFF:
            return header + body  # a fragment
        return header + _with_checksum(body, data[9], data[12:20])
    if len(data) >= 40 and data[0] >> 4 == 6:
        size = 40 + int.from_bytes(data[4:6], "big")
        if size > len(data):
            return None
        protocol, at = data[6], 40
        while protocol in _EXTENSIONS and at + 8 <= size:
            protocol, at = data[at], at + 8 * (data[at + 1] + 1)
        header = data[:7] + bytes((_TTL,)) + data[8:at]
        return header + _with_checksum(data[at:size], protocol, data[8:40])
    return None


def _with_checksum(body: bytes, protocol: int, addresses: bytes) -> bytes:
    at = _CHECKSUM_AT.get(protocol)
    if at is None or len(body) < at + 2:
        return body
    if protocol == UDP and len(addresses) == 8 and body[at : at + 2] == b"\0\0":
        return body  # it has none
    pseudo = b"" if protocol == ICMP else addresses + struct.pack(">II", len(body), protocol)
    plain = body[:at] + b"\0\0" + body[at + 2 :]
    right = checksum(pseudo + plain) or (0xFFFF if protocol == UDP else 0)
    return plain[:at] + struct.pack(">H", right) + plain[at + 2 :]


def _leads_out(packet: bytes, near: Sequence[Network]) -> bool:
    return all(
        _is_unicast(address) and not any(address in network for network in near)
        for address in _addresses(packet)
    )


def _addresses(packet: bytes) -> tuple[IPv4Address | IPv6Address, ...]:
    if packet[0] >> 4 == 4:
        return ip_address(packet[12:16]), ip_address(packet[16:20])
    family = socket.AF_INET6
    return tuple(ip_address(socket.inet_ntop(family, packet[at : at + 16])) for at in (8, 24))


def _is_unicast(address: IPv4Address | IPv6Address) -> bool:
    if address.is_multicast or address.is_loopback:
        return False
    if isinstance(address, IPv6Address):
        return not address.is_link_local and not address.is_unspecified
    return address.packed[0] != 0 and address.packed[0] < _RESERVED
