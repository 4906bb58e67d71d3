"""A flow written on the command line, and the first packet that it would send."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from classifier.config import values
from classifier.config.names import PORT_PROTOCOLS, protocol_name
from classifier.config.reading import Parse, T, WrongValueError
from classifier.errors import UsageError

FORM = "PROTOCOL SOURCE[:PORT] > DESTINATION[:PORT] [in INTERFACE] [dscp NAME]"

_ENDPOINT = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?")
_TCP, _UDP, _DCCP, _SCTP, _UDPLITE = 6, 17, 33, 132, 136
_ECHO_REQUEST = {1: 8, 58: 128}
_HOPS = 64
_SYN = 0x02

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Flow:
    protocol: int
    source: Address
    destination: Address
    sport: int | None
    """None for a protocol without ports."""
    dport: int | None
    in_interface: str | None = None
    """None: a flow of the gateway itself."""
    dscp: int = 0

    def __str__(self) -> str:
        source = _endpoint_text(self.source, self.sport)
        destination = _endpoint_text(self.destination, self.dport)
        return f"{protocol_name(self.protocol)} {source} > {destination}"


def parse_flow(text: str) -> Flow:
    """The flow that `text` describes in the form of `FORM`; raises `UsageError`.

    An IPv6 address with a port stands in brackets: "udp [2001:db8::5]:4000 > [2001:db8::9]:53".
    """
    words = text.split()
    if len(words) < 4 or words[2] != ">" or len(words) % 2:
        raise UsageError(f'cannot read the flow "{text}": it is written {FORM}')
    protocol = _value(values.protocol, _number_or_text(words[0]), text)
    source, sport = _endpoint(words[1], text)
    destination, dport = _endpoint(words[3], text)
    if source.version != destination.version:
        raise UsageError(f'cannot read the flow "{text}": the addresses are of two families')
    if protocol in PORT_PROTOCOLS and (sport is None or dport is None):
        raise UsageError(f'cannot read the flow "{text}": {words[0]} needs both ports')
    if protocol not in PORT_PROTOCOLS and (sport is not None or dport is not None):
        raise UsageError(f'cannot read the flow "{text}": {words[0]} has no ports')
    more = dict(zip(words[4::2], words[5::2], strict=True))
    if len(words) - 4 != 2 * len(more) or not more.keys() <= {"in", "dscp"}:
        raise UsageError(f'cannot read the flow "{text}": it is written {FORM}')
    return Flow(
        protocol,
        source,
        destination,
        sport,
        dport,
        _value(values.interface, more["in"], text) if "in" in more else None,
        _value(values.dscp, _number_or_text(more["dscp"]), text) if "dscp" in more else 0,
    )


def first_packet(flow: Flow) -> bytes:
    """The first packet of `flow`, from the IP header on.

    Checksums stay zero: a packet is classified by its addresses, ports and protocol, and the
    kernel has dropped what is damaged before.
    """
    payload = _transport(flow)
    source, destination = flow.source.packed, flow.destination.packed
    if flow.source.version == 4:
        # RFC 791: version and header words, traffic class, length, id, fragment, TTL, protocol.
        lead = (0x45, flow.dscp << 2, 20 + len(payload), 0, 0, _HOPS, flow.protocol, 0)
        return struct.pack("!BBHHHBBH4s4s", *lead, source, destination) + payload
    # RFC 8200: version, traffic class and flow label, payload length, next header, hop limit.
    lead6 = (6 << 28 | flow.dscp << 22, len(payload), flow.protocol, _HOPS)
    return struct.pack("!IHBB16s16s", *lead6, source, destination) + payload


def _transport(flow: Flow) -> bytes:
    ports = (flow.sport or 0, flow.dport or 0)
    if flow.protocol == _TCP:  # RFC 9293: a SYN without options
        return struct.pack("!HHIIBBHHH", *ports, 1, 0, 5 << 4, _SYN, 0xFFFF, 0, 0)
    if flow.protocol in (_UDP, _UDPLITE):  # RFC 768, RFC 3828
        return struct.pack("!HHHH", *ports, 8, 0)
    if flow.protocol == _SCTP:  # RFC 9260: an INIT chunk
        return struct.pack("!HHIIBBHIIHHI", *ports, 0, 0, 1, 0, 20, 1, 0xFFFF, 1, 1, 1)
    if flow.protocol == _DCCP:  # RFC 4340: a Request with a long sequence number
        return struct.pack("!HHBBHBBHII", *ports, 5, 0, 0, 1, 0, 0, 1, 0)
    if flow.protocol in _ECHO_REQUEST:  # RFC 792, RFC 4443
        return struct.pack("!BBHHH", _ECHO_REQUEST[flow.protocol], 0, 0, 1, 1)
    return bytes(8)


def _endpoint(word: str, text: str) -> tuple[Address, int | None]:
    match = _ENDPOINT.fullmatch(word)
    address, port = (match[1] or match[2], match[3]) if match else (word, None)
    try:
        parsed = ip_address(address)
    except ValueError:
        raise UsageError(
            f'cannot read the flow "{text}": {word} is no address, or lacks brackets around it'
        ) from None
    if port is not None and int(port) > 65535:
        raise UsageError(f'cannot read the flow "{text}": port {port} is above 65535')
    return parsed, None if port is None else int(port)


def _endpoint_text(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _value(parse: Parse[T], value: object, text: str) -> T:
    try:
        return parse(value)
    except WrongValueError as error:
        raise UsageError(f'cannot read the flow "{text}": {value} {error}') from None


def _number_or_text(word: str) -> int | str:
    return int(word) if word.isascii() and word.isdecimal() and len(word) < 4 else word
