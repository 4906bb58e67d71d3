"""Names that stand for numbers in IP headers.

Fixed here instead of asking the host, so that a policy means the same on a laptop and a gateway.
"""

from __future__ import annotations

# IANA "Assigned Internet Protocol Numbers", with the spellings of /etc/protocols.
PROTOCOL_NAMES = {
    "icmp": 1,
    "igmp": 2,
    "ipip": 4,
    "ipencap": 4,
    "tcp": 6,
    "egp": 8,
    "udp": 17,
    "dccp": 33,
    "ipv6": 41,
    "rsvp": 46,
    "gre": 47,
    "esp": 50,
    "ah": 51,
    "icmpv6": 58,
    "ipv6-icmp": 58,
    "eigrp": 88,
    "ospf": 89,
    "pim": 103,
    "ipcomp": 108,
    "vrrp": 112,
    "l2tp": 115,
    "sctp": 132,
    "udplite": 136,
}

PORT_PROTOCOLS = {6: "tcp", 17: "udp", 33: "dccp", 132: "sctp", 136: "udplite"}
"""The protocols whose packets carry ports, and so the only ones that port matches fit."""

IPV6_FRAGMENT = 44
# RFC 8200 and the IANA registry of extension headers: hop-by-hop, routing, fragment, AH,
# destination options, mobility, HIP, Shim6.
IPV6_EXTENSION_HEADERS = frozenset({0, 43, IPV6_FRAGMENT, 51, 60, 135, 139, 140})

# RFC 2474 (class selectors), 2597 (assured), 3246 (expedited), 5865 (voice-admit), 8622 (le).
DSCP_NAMES = {
    **{f"cs{number}": number << 3 for number in range(8)},
    **{f"af{x}{y}": (x << 3) | (y << 1) for x in range(1, 5) for y in range(1, 4)},
    "be": 0,
    "le": 1,
    "ef": 46,
    "va": 44,
}


def protocol_name(number: int) -> str:
    """The usual name of a protocol, or its number as text."""
    return next((name for name, known in PROTOCOL_NAMES.items() if known == number), str(number))


def dscp_name(number: int) -> str:
    """The usual name of a code point, or its number as text."""
    return next((name for name, known in DSCP_NAMES.items() if known == number), str(number))
