"""The connections that a namespace's kernel knows, with their marks."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from typing import NamedTuple

from classifier.errors import LabError
from classifier.lab.closing import Closing
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

_FIELD = re.compile(r"(\w+)=(\S+)")
_PROTOCOL = re.compile(r"^\s*(?:\[NEW\]\s+)?\S+\s+(\d+)\s")
_NETFILTER = "12"
"""NETLINK_NETFILTER of <linux/netlink.h>, as the second column of /proc/net/netlink."""
_TIMEOUT = 10.0


class ConntrackEntry(NamedTuple):
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


def connections(namespace: Namespace, family: str = "ipv4") -> list[ConntrackEntry]:
    """All entries of one family, "ipv4" or "ipv6"; LabError without the program `conntrack`."""
    listed = namespace.run(["conntrack", "-L", "-f", family]).stdout
    return [_entry(line) for line in listed.splitlines()]


class NewConnections(Closing):
    """Every connection that starts in a namespace from now on, of either family, in order.

    Each is as it was when its first packet had left, which is when its mark had been saved.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._process = namespace.popen(
            ["conntrack", "-E", "-e", "NEW", "-b", str(8 << 20)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._entries: list[ConntrackEntry] = []
        self._thread = threading.Thread(target=self._read, name="new-connections", daemon=True)
        self._thread.start()
        deadline = time.monotonic() + scaled(_TIMEOUT)
        while not self._listens(namespace):
            if time.monotonic() > deadline or self._process.poll() is not None:
                raise LabError("the program conntrack does not listen to events")
            time.sleep(0.01)

    def wait_for(self, count: int) -> list[ConntrackEntry]:
        """All since the start, once there are `count`, or after ten seconds without."""
        deadline = time.monotonic() + scaled(_TIMEOUT)
        while len(self._entries) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        return list(self._entries)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._thread.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._entries.append(_entry(line))

    def _listens(self, namespace: Namespace) -> bool:
        # Columns: sk, protocol, port id, groups joined (in hexadecimal).
        sockets = namespace.run(["cat", "/proc/net/netlink"]).stdout.splitlines()
        rows = (line.split() for line in sockets[1:])
        return any(row[1] == _NETFILTER and int(row[3], 16) for row in rows)


def _entry(line: str) -> ConntrackEntry:
    # [NEW] tcp 6 431999 ESTABLISHED src=.. dst=.. sport=.. dport=.. src=.. dst=.. ... mark=256
    found = _FIELD.findall(line)
    first: dict[str, str] = {}
    both: dict[str, list[str]] = {}
    for name, value in found:
        first.setdefault(name, value)
        both.setdefault(name, []).append(value)
    counted = both.get("packets")
    return ConntrackEntry(
        protocol=_protocol(line),
        src=first["src"],
        sport=int(first.get("sport", first.get("id", "0"))),
        dst=first["dst"],
        dport=int(first.get("dport", "0")),
        reply_dst=both["dst"][1],
        mark=int(first.get("mark", "0")),
        packets=sum(map(int, counted)) if counted else None,
    )


def _protocol(line: str) -> int:
    found = _PROTOCOL.match(line)
    if found is None:
        raise LabError(f"not a line of conntrack: {line!r}")
    return int(found[1])
