"""The connections that a namespace's kernel knows, with their marks."""

from __future__ import annotations

import re
from typing import NamedTuple

from classifier.lab.namespace import Namespace

_FIELD = re.compile(r"(\w+)=(\S+)")


class Tracked(NamedTuple):
    """One entry of the connection table, as its opener sees it; ports are 0 where there are none.

    The identifier of an ICMP echo is its source port.
    """

    protocol: int
    src: str
    sport: int
    dst: str
    dport: int
    reply_dst: str
    """Where the answers go: the masqueraded source address."""
    mark: int
    packets: int | None
    """In both directions; None unless the sysctl net.netfilter.nf_conntrack_acct is on."""


def connections(namespace: Namespace, family: str = "ipv4") -> list[Tracked]:
    """All entries of one family, "ipv4" or "ipv6"; LabError without the program `conntrack`."""
    listed = namespace.run(["conntrack", "-L", "-f", family]).stdout
    return [_tracked(line) for line in listed.splitlines()]


def _tracked(line: str) -> Tracked:
    # tcp 6 431999 ESTABLISHED src=.. dst=.. sport=.. dport=.. src=.. dst=.. ... mark=256 use=1
    found = _FIELD.findall(line)
    first: dict[str, str] = {}
    both: dict[str, list[str]] = {}
    for name, value in found:
        first.setdefault(name, value)
        both.setdefault(name, []).append(value)
    counted = both.get("packets")
    return Tracked(
        protocol=int(line.split()[1]),
        src=first["src"],
        sport=int(first.get("sport", first.get("id", "0"))),
        dst=first["dst"],
        dport=int(first.get("dport", "0")),
        reply_dst=both["dst"][1],
        mark=int(first.get("mark", "0")),
        packets=sum(map(int, counted)) if counted else None,
    )
