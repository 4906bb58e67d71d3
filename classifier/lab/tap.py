"""The tap: what arrives at the ISPs, counted where it leaves the gateway."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from classifier.errors import LabError
from classifier.lab.flow_keys import five_tuple, flow_key
from classifier.lab.flows import FiveTuple
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace
from classifier.lab.ring import Ring

_INTERVAL = 0.05
_CLOSING = ("04", "05", "08", "09", "0B")
"""FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT, LAST_ACK and CLOSING of <net/tcp_states.h>."""


class Tap:
    """Counts the packets that arrive at every ISP, by flow.

    Flows are as they arrived: after masquerading. The identifier of an ICMP echo is its source
    port; what has no ports has 0.

    Reads the packet rings in a thread of its own and again whenever it is asked something, so an
    answer is never older than the question. Multicast and neighbour discovery are left out.
    """

    def __init__(self, isps: Mapping[str, Namespace], interface: str) -> None:
        self._isps = tuple(isps.values())
        self._rings = {name: Ring(namespace, interface) for name, namespace in isps.items()}
        self._lost = 0
        self._lock = threading.Lock()
        self._counts: dict[str, Counter[bytes]] = {name: Counter() for name in isps}
        self._first: dict[str, dict[bytes, int]] = {name: {} for name in isps}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tap", daemon=True)
        self._thread.start()

    def flows(self) -> dict[FiveTuple, dict[str, int]]:
        """Every flow seen, with the packets it sent by each uplink."""
        found: dict[FiveTuple, dict[str, int]] = {}
        with self._drained():
            for name, counts in self._counts.items():
                for key, count in counts.items():
                    found.setdefault(five_tuple(key), {})[name] = count
        return found

    def uplinks(self, flows: Iterable[FiveTuple]) -> dict[FiveTuple, frozenset[str]]:
        """The uplinks by which each of these flows left; more than one is a flow that
        was split across them.
        """
        seen = _uplinks_after_nat(self.flows())
        return {flow: frozenset(seen.get(flow.after_nat, ())) for flow in flows}

    def split_flows(self) -> list[FiveTuple]:
        """Flows whose packets arrived at more than one ISP (told apart by remote and ports)."""
        found = self.flows()
        seen = _uplinks_after_nat(found)
        return [flow for flow in found if len(seen[flow.after_nat]) > 1]

    def order(self) -> list[tuple[FiveTuple, str]]:
        """Flows in the order in which their first packets arrived, each with that uplink."""
        with self._drained():
            arrivals = sorted(
                (when, key, name)
                for name, first in self._first.items()
                for key, when in first.items()
            )
        return [(five_tuple(key), name) for _, key, name in arrivals]

    def count(self, packet: bytes) -> int:
        """How many packets have arrived of the flow, in its direction, that `packet` (from the IP
        header on) belongs to; for gateways that leave addresses as they are."""
        key = flow_key(packet)
        with self._drained():
            return 0 if key is None else sum(counts[key] for counts in self._counts.values())

    def packets(self) -> Counter[str]:
        """Packets of all flows by uplink."""
        with self._drained():
            return Counter({name: counts.total() for name, counts in self._counts.items()})

    def packets_of(self, flows: Iterable[FiveTuple]) -> int:
        """Packets of these flows by all uplinks: not those with which connections before them are
        being closed. A flow is known as in `uplinks`."""
        wanted = {flow.after_nat for flow in flows}
        return sum(
            sum(uplinks.values())
            for seen, uplinks in self.flows().items()
            if seen.after_nat in wanted
        )

    def wait(
        self, holds: Callable[[Tap], bool], seconds: float = 10.0, what: str = "the packets"
    ) -> None:
        """Wait until `holds(tap)`; LabError when it does not within `seconds`."""
        deadline = time.monotonic() + scaled(seconds)
        pause = 0.0002
        while not holds(self):
            if time.monotonic() > deadline:
                packets = dict(self.packets())
                raise LabError(f"{what} did not arrive within {seconds} s; arrived: {packets}")
            time.sleep(pause)
            pause = min(2 * pause, 0.01)

    def wait_for_packets(self, count: int, seconds: float = 10.0) -> None:
        """Wait until `count` packets in all have arrived."""
        self.wait(lambda tap: tap.packets().total() >= count, seconds, f"{count} packets")

    def wait_until_quiet(self, quiet: float = 0.05, seconds: float = 10.0) -> None:
        """Wait until connections that were ended are, and nothing has come for `quiet` seconds.

        The last packets of a connection come after its answer, and on a busy machine so late that
        a silence alone does not tell the end.
        """
        deadline = time.monotonic() + scaled(seconds)
        before = -1
        while time.monotonic() < deadline:
            now = self.packets().total()
            if now == before and not any(map(_is_closing_connections, self._isps)):
                return
            before = now
            time.sleep(quiet)

    def clear(self) -> None:
        """Let it settle, then forget what has arrived."""
        self.wait_until_quiet()
        with self._drained():
            for counts in self._counts.values():
                counts.clear()
            for first in self._first.values():
                first.clear()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        for ring in self._rings.values():
            ring.close()

    @contextmanager
    def _drained(self) -> Iterator[None]:
        with self._lock:
            self._drain()
            if self._lost:
                raise LabError(f"the tap lost {self._lost} packets: what it counted is wrong")
            yield

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            with self._lock:
                self._drain()

    def _drain(self) -> None:
        for name, ring in self._rings.items():
            counts, first = self._counts[name], self._first[name]
            for when, packet in ring.packets():
                key = flow_key(packet)
                if key is not None:
                    counts[key] += 1
                    if key not in first:
                        first[key] = when
            self._lost += ring.lost()


def _is_closing_connections(namespace: Namespace) -> bool:
    """Whether one side of a TCP connection has closed it and packets for that are still to come."""
    with namespace.enter():
        tables = [Path(f"/proc/thread-self/net/{name}").read_text() for name in ("tcp", "tcp6")]
    # Columns: number, local and remote address, state (in hexadecimal).
    lines = (line.split() for table in tables for line in table.splitlines()[1:])
    return any(columns[3] in _CLOSING for columns in lines)


def _uplinks_after_nat(
    flows: Mapping[FiveTuple, Mapping[str, int]],
) -> dict[tuple[int, int, str, int], set[str]]:
    seen: defaultdict[tuple[int, int, str, int], set[str]] = defaultdict(set)
    for flow, uplinks in flows.items():
        seen[flow.after_nat].update(uplinks)
    return seen
