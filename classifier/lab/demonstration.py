"""The demonstration: the gateway of the 2005 how-to, and a promise for everything it does.

Every part sends flows of one kind through the gateway and notes where they arrived. The balancer
of "the rest" counts on from part to part, so its promise is judged over all of them in order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import SupportsFloat

from classifier.errors import LabError
from classifier.lab import ftp
from classifier.lab.deviation import ideal, largest_deviation
from classifier.lab.flows import FiveTuple
from classifier.lab.lab import GATEWAY, Lab
from classifier.lab.report import Promise, Sent, counted

CONFIG = Path(__file__).with_name("demonstration.toml")

STEADY = "wired"
_SPREAD_PORTS = (8080, 25, 110, 143, 993, 5222, 6881, 9418)
_STEADY_PORTS = (22, 80, 443, 6667)
_HOME = ("192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8")
_VISITED_PORT = 8443
_BURST = 10
_VISITS = 10
_MOST_VISITED = 254
"""Hosts of 203.0.113.0/24, a network for documentation (RFC 5737)."""


class Demonstration:
    """Sends the flows of the demonstration through a lab that runs `CONFIG`."""

    def __init__(self, lab: Lab, flows: int, missing_modules: Sequence[str]) -> None:
        self._lab = lab
        self._missing_modules = missing_modules
        self._flows = flows
        self._weights = {uplink.name: uplink.weight for uplink in lab.policy.uplinks}
        self._spread: list[str] = []
        self.sent: list[Sent] = []
        self.promises: list[Promise] = []

    @property
    def parts(self) -> tuple[tuple[str, Callable[[], None]], ...]:
        return (
            ("TCP connections to anywhere", self._tcp),
            ("UDP bursts", self._bursts),
            ("UDP questions", self._questions),
            ("flows of the gateway itself", self._own),
            ("services that need a steady line", self._steady),
            ("home networks", self._home),
            ("repeated visits", self._visits),
            ("FTP", self._ftp),
            ("connections from outside", self._inbound),
            ("established connections", self._established),
        )

    def conclude(self) -> None:
        """The promises that span the parts."""
        distance = largest_deviation(self._spread, self._weights)
        weights = ":".join(map(str, self._weights.values()))
        self.promises.insert(
            0,
            Promise(
                f"the rest is spread {weights}, at every point less than one flow from that",
                distance < 1,
                f"{len(self._spread)} flows, largest distance {distance:.2f}",
            ),
        )
        lost = sum(sent.lost for sent in self.sent)
        flows = sum(sent.flows for sent in self.sent)
        self.promises.insert(
            1,
            Promise("every flow arrives and is answered", lost == 0, f"{flows} flows, {lost} lost"),
        )

    def _tcp(self) -> None:
        flows = self._lab.flows(self._part(40), "tcp", _SPREAD_PORTS)
        self._note_spread("TCP to anywhere", flows, self._lab.connect(flows))

    def _questions(self) -> None:
        flows = self._lab.flows(self._part(12), "udp", (123, 3478, 443))
        self._note_spread("UDP questions to anywhere", flows, self._lab.ask(flows))

    def _own(self) -> None:
        flows = self._lab.flows(self._part(8), "tcp", _SPREAD_PORTS, source=None)
        taken = self._lab.connect(flows, sender=GATEWAY)
        self._note_spread("the gateway's own", flows, taken)
        lost = sum(taken[flow] is None for flow in flows)
        self.promises.append(
            Promise(
                "the gateway's own flows are balanced too, and answered",
                lost == 0 and len(set(taken.values())) == len(self._weights),
                f"{len(flows)} flows by {len(set(taken.values()))} uplinks, {lost} lost",
            )
        )

    def _bursts(self) -> None:
        # A queue that is full lets packets pass unclassified; that is not what is tried here.
        most = self._lab.policy.queue.length // (2 * _BURST)
        flows = self._lab.flows(min(self._part(8), most), "udp", 5004)
        tap = self._lab.tap
        tap.clear()
        self._lab.send(flows, packets=_BURST)
        wanted = _BURST * len(flows)
        with contextlib.suppress(LabError):  # told below, as flows that were lost
            tap.wait(lambda tap: tap.packets_of(flows) >= wanted, seconds=5)
        first = {seen.after_nat: uplink for seen, uplink in tap.order()}
        taken = {flow: first.get(flow.after_nat) for flow in flows}
        self._note_spread(f"UDP bursts of {_BURST} packets", flows, taken)
        split = len(tap.split_flows())
        packets = tap.packets_of(flows)
        self.promises.append(
            Promise(
                f"a flow leaves by one uplink, also when {_BURST} of its packets are sent at once",
                split == 0 and packets == wanted,
                f"{packets} packets of {len(flows)} flows, {split} split across uplinks",
            )
        )

    def _steady(self) -> None:
        services = self._lab.flows(self._part(12), "tcp", _STEADY_PORTS)
        names = self._lab.flows(self._part(6), "udp", 53)
        self._note_steady("tcp 22, 80, 443, 6667", services, self._lab.connect(services))
        self._note_steady("udp 53", names, self._lab.ask(names))

    def _home(self) -> None:
        flows = [
            flow
            for network in _HOME
            for flow in self._lab.flows(self._part(4) // len(_HOME) + 1, "tcp", 8080, to=network)
        ]
        self._note_steady("home networks", flows, self._lab.connect(flows))

    def _visits(self) -> None:
        count = min(max(self._part(10) // _VISITS, 3), _MOST_VISITED)
        remotes = [f"203.0.113.{number}" for number in range(1, count + 1)]
        flows = self._lab.flows(_VISITS * len(remotes), "tcp", _VISITED_PORT, to=remotes)
        taken = self._lab.connect(flows)
        used: dict[str, set[str | None]] = {}
        for flow in flows:
            used.setdefault(flow.dst, set()).add(taken[flow])
        wanted = ideal(self._weights, len(flows))
        self._note(f"{_VISITS} visits to each of {len(remotes)} remotes", flows, taken, wanted)
        moved = sum(len(uplinks) > 1 for uplinks in used.values())
        self.promises.append(
            Promise(
                "all visits to one remote leave by one uplink",
                moved == 0,
                f"{len(flows)} visits to {len(remotes)} remotes, {moved} of them by several",
            )
        )

    def _ftp(self) -> None:
        text = "FTP data leaves by the uplink of its control connection, {}"
        if (problem := ftp.missing()) is not None:
            self.promises.append(
                Promise(text.format("passive and active"), None, f"skipped: {problem}")
            )
            return
        modes = {"passive": True, "active": False}
        if self._missing_modules:
            # Known to fail; reported, and not counted as flows that were lost.
            del modes["active"]
            found = f"the kernel lacks {', '.join(self._missing_modules)}"
            self.promises.append(Promise(text.format("active"), None, found))
        remotes = [flow.dst for flow in self._lab.flows(6, "tcp", ftp.FTP_PORT)]
        passive = [modes[name] for name in modes]
        transfers = [
            self._lab.ftp_transfer(remote, passive=passive[number % len(passive)])
            for number, remote in enumerate(remotes)
        ]
        self.sent.append(
            Sent(
                "tcp 21: FTP with its data",
                len(transfers),
                {STEADY: float(len(transfers))},
                counted(transfer.data for transfer in transfers),
            )
        )
        problems = [one.error or "data by another uplink" for one in transfers if not one.held]
        found = "; ".join(dict.fromkeys(problems)) or f"{len(transfers)} files"
        self.promises.append(Promise(text.format(" and ".join(modes)), not problems, found))

    def _inbound(self) -> None:
        wrong = tried = 0
        for name in self._weights:
            own = str(self._lab.addresses.uplink(name).own)
            flows = self._lab.flows(5, "tcp", 2222, to=own, source=["198.51.100.7"])
            self._lab.serve(flows[0].protocol, 2222, at=GATEWAY)
            answers = self._lab.connect(flows, sender=name)
            wrong += sum(answer != GATEWAY for answer in answers.values())
            tried += len(flows)
        self.promises.append(
            Promise(
                "a connection that came in on an uplink is answered on it",
                wrong == 0,
                f"{tried} connections to the gateway, {wrong} not answered",
            )
        )

    def _established(self) -> None:
        flows = self._lab.flows(6, "tcp", _SPREAD_PORTS)
        with contextlib.ExitStack() as connections:
            opened = [connections.enter_context(self._lab.open(flow)) for flow in flows]
            before = self._lab.status()["queue"]["packets"]
            for connection in opened:
                for _ in range(50):
                    connection.echo(b"still there?" * 100)
            queued = self._lab.status()["queue"]["packets"] - before
        self.promises.append(
            Promise(
                "packets of established connections never reach the service",
                queued == 0,
                f"{50 * len(opened)} exchanges on {len(opened)} connections, {queued} queued",
            )
        )

    def _part(self, percent: int) -> int:
        return max(self._flows * percent // 100, 6)

    def _note_spread(
        self, what: str, flows: Sequence[FiveTuple], taken: Mapping[FiveTuple, str | None]
    ) -> None:
        self._note(what, flows, taken, ideal(self._weights, len(flows)))
        self._spread += [uplink for flow in flows if (uplink := taken[flow]) is not None]

    def _note_steady(
        self, what: str, flows: Sequence[FiveTuple], taken: Mapping[FiveTuple, str | None]
    ) -> None:
        self._note(what, flows, taken, {STEADY: len(flows)})
        elsewhere = sum(taken[flow] != STEADY for flow in flows)
        found = f"{len(flows)} flows, {elsewhere} of them not"
        self.promises.append(Promise(f"{what} leave by {STEADY}", elsewhere == 0, found))

    def _note(
        self,
        what: str,
        flows: Sequence[FiveTuple],
        taken: Mapping[FiveTuple, str | None],
        wanted: Mapping[str, SupportsFloat],
    ) -> None:
        shares = {name: float(share) for name, share in wanted.items()}
        got = counted(taken[flow] for flow in flows)
        self.sent.append(Sent(what, len(flows), shares, got))
