"""The kernel's conntrack helpers: which connections each of them reads.

A helper reads a control connection and expects the connections it announces; these inherit the
connection mark of their parent, and so follow it to its uplink.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from classifier.policy import FAMILIES, Family


@dataclass(frozen=True, slots=True)
class Assignment:
    """Connections to `port` are read by the helper that the kernel calls `helper`."""

    helper: str
    protocol: str
    port: int
    families: tuple[Family, ...] = FAMILIES


_ONLY_4: tuple[Family, ...] = (4,)

# Names, protocols, default ports and families as registered by net/netfilter/nf_conntrack_*.c.
_ASSIGNMENTS: dict[str, tuple[Assignment, ...]] = {
    "amanda": (Assignment("amanda", "udp", 10080),),
    "ftp": (Assignment("ftp", "tcp", 21),),
    "h323": (Assignment("RAS", "udp", 1719), Assignment("Q.931", "tcp", 1720)),
    "irc": (Assignment("irc", "tcp", 6667, _ONLY_4),),
    "netbios-ns": (Assignment("netbios-ns", "udp", 137, _ONLY_4),),
    "pptp": (Assignment("pptp", "tcp", 1723, _ONLY_4),),
    "sane": (Assignment("sane", "tcp", 6566),),
    "sip": (Assignment("sip", "udp", 5060), Assignment("sip", "tcp", 5060)),
    "snmp": (Assignment("snmp", "udp", 161, _ONLY_4),),
    "tftp": (Assignment("tftp", "udp", 69),),
}

NAMES = tuple(_ASSIGNMENTS)

_NOT_NATTED = frozenset({"netbios-ns", "sane"})


def assignments(names: Iterable[str], family: Family) -> tuple[Assignment, ...]:
    """Assignments of the helpers `names` that know `family`."""
    return tuple(a for name in names for a in _ASSIGNMENTS[name] if family in a.families)


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """Kernel modules of the helpers, with those that rewrite addresses behind NAT."""
    found: list[str] = []
    for name in names:
        module = name.replace("-", "_")
        if name == "snmp":
            found += ["nf_conntrack_snmp", "nf_nat_snmp_basic"]
            continue
        found.append(f"nf_conntrack_{module}")
        if name not in _NOT_NATTED:
            found.append(f"nf_nat_{module}")
    return tuple(found)
