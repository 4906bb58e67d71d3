"""A flow written on the command line, and the first packet that it would send."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from classifier.config import values
from classifier.config.names import (
    IPV6_EXTENSION_HEADERS,
    PORT_PROTOCOLS,
    dscp_name,
    protocol_name,
)
from classifier.config.reading import Parse, T, WrongValueError, printable
from classifier.errors import UsageError

FORM = "PROTOCOL SOURCE[:PORT] > DESTINATION[:PORT] [in INTERFACE] [dscp NAME] [user NAME]"

_NUMBER = re.compile(r"[0-9]{1,10}")
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
    """None: a flow of the gateway itself (locally originated)."""
    dscp: int = 0
    user: int | None = None
    """Numeric id of the user whose socket sends it."""

    def __str__(self) -> str:
        source = _endpoint_text(self.source, self.sport)
        destination = _endpoint_text(self.destination, self.dport)
        text = f"{protocol_name(self.protocol)} {source} > {destination}"
        text += f" in {self.in_interface}" if self.in_interface else ""
        text += f" dscp {dscp_name(self.dscp)}" if self.dscp else ""
        return text + (f" user {self.user}" if self.user is not None else "")


def parse_flow(text: str) -> Flow:
    """The flow that `text` describes in the form of `FORM`; raises `UsageError`.

    An IPv6 address with a port needs brackets: "udp [2001:db8::5]:4000 > [2001:db8::9]:53".
    """
    try:
        return _parse_flow(text.split())
    except WrongValueError as error:
        raise UsageError(f'cannot read the flow "{printable(text)}": {error}') from None


def _parse_flow(words: list[str]) -> Flow:
    more = dict(zip(words[4::2], words[5::2], strict=False))
    whole = len(words) >= 4 and len(words) == 4 + 2 * len(more)
    if not whole or words[2] != ">" or not more.keys() <= {"in", "dscp", "user"}:
        raise WrongValueError(f"the form is {FORM}")
    protocol = _value(values.protocol, words[0])
    source, sport = _endpoint(words[1])
    destination, dport = _endpoint(words[3])
    if source.version != destination.version:
        raise WrongValueError("source and destination are of different address families")
    if source.version == 6 and protocol in IPV6_EXTENSION_HEADERS:
        raise WrongValueError(f"{words[0]} is an IPv6 extension header, not a protocol")
    if protocol in PORT_PROTOCOLS and (sport is None or dport is None):
        raise WrongValueError(f"{words[0]} needs both ports")
    if protocol not in PORT_PROTOCOLS and (sport is not None or dport is not None):
        raise WrongValueError(f"{words[0]} has no ports")
    if "in" in more and "user" in more:
        raise WrongValueError(
            "only locally originated flows have a user, and those have no input interface"
        )
    return Flow(
        protocol,
        source,
        destination,
        sport,
        dport,
        _value(values.interface, more["in"]) if "in" in more else None,
        _value(values.dscp, more["dscp"]) if "dscp" in more else 0,
        _value(values.user, more["user"]) if "user" in more else None,
    )


def first_packet(flow: Flow) -> bytes:
    """The first packet of `flow`, from the IP header on.

    Checksums stay zero: the classifier does not check them, the kernel has done so before.
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


def _endpoint(word: str) -> tuple[Address, int | None]:
    match = _ENDPOINT.fullmatch(word)
    address, port = (match[1] or match[2], match[3]) if match else (word, None)
    try:
        parsed = ip_address(address)
    except ValueError:
        raise WrongValueError(
            f"{word} is not an address; an IPv6 address with a port needs brackets"
        ) from None
    if port is not None and int(port) > 65535:
        raise WrongValueError(f"port {port} is above 65535")
    return parsed, None if port is None else int(port)


def _endpoint_text(address: Address, port: int | None) -> str:
    if port is None:
        return str(address)
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"


def _value(parse: Parse[T], word: str) -> T:
    """A word as the configuration would read it: digits are a number."""
    try:
        return parse(int(word) if _NUMBER.fullmatch(word) else word)
    except WrongValueError as error:
        raise WrongValueError(f"{word} {error}") from None
