"""Connection tracking in plain Python: dictionaries and strings, nothing shared with the product.

States of TCP by letter: n none, s SYN sent, r SYN received, e established, f FIN wait, c close
wait, l last ACK, t time wait, x closed, S simultaneous open; `-` is invalid, `.` ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field

STATES = "nsrefcltxS"
#          to:  n s r e f c l t x S
NEXT = {
    ("syn", 0): "ss.....ssS",
    ("synack", 0): "--r------r",
    ("fin", 0): "--fflllt" + "x-",
    ("ack", 0): "e-eecctt" + "x-",
    ("rst", 0): "-xxxxxxxxx",
    ("syn", 1): "-S-----s-S",
    ("synack", 1): "-r.......r",
    ("fin", 1): "--fflllt" + "x-",
    ("ack", 1): "-.recctt" + "x.",
    ("rst", 1): "-xxxxxxxxx",
}
SECONDS = {
    "s": 120, "r": 60, "e": 432000, "f": 120, "c": 60, "l": 30, "t": 120, "x": 10, "S": 120,
}  # fmt: skip


@dataclass
class Packet:
    time: int
    """Milliseconds."""
    src: str
    dst: str
    protocol: str
    sport: int = 0
    dport: int = 0
    flag: str = ""
    """TCP: syn, synack, fin, ack or rst; ICMP: request or reply."""
    seq: int = 1
    ack: int = 1

    def end(self) -> int:
        return self.seq + (self.flag in ("syn", "synack", "fin"))


@dataclass
class Flow:
    first: Packet
    packets: int = 0
    expires: int = 0
    answered: bool = False
    state: str = "n"
    closing: bool = False
    both_opened: bool = False
    stream_from: int = 0
    last: tuple[str, int] = ("none", 0)
    last_end: int = 0


@dataclass
class Conntrack:
    """`flows` are all there ever were, in order of start; `table` those that live."""

    flows: list[Flow] = field(default_factory=list)
    table: dict[tuple[object, ...], Flow] = field(default_factory=dict)
    untracked: int = 0

    def take(self, packet: Packet) -> None:
        key, turned = self._key(packet)
        flow = self.table.get(key)
        if flow is not None and flow.expires <= packet.time:
            del self.table[key]
            flow = None
        if flow is not None:
            direction = int((packet.src, packet.sport) != (flow.first.src, flow.first.sport))
            if packet.protocol == "icmp":
                direction = int(turned)
            verdict = self._advance(flow, packet, direction)
            if verdict == "invalid":
                self.untracked += 1
                return
            if verdict != "new":
                flow.packets += 1
                flow.answered = flow.answered or bool(direction)
                if verdict == "killed":
                    del self.table[key]
                return
            del self.table[key]
        flow = Flow(packet, packets=1, stream_from=packet.time + 2000)
        if turned or self._advance(flow, packet, 0) != "tracked":
            self.untracked += 1
            return
        self.table[key] = flow
        self.flows.append(flow)

    @staticmethod
    def _key(packet: Packet) -> tuple[tuple[object, ...], bool]:
        if packet.protocol == "icmp":
            turned = packet.flag == "reply"
            ends = (packet.dst, packet.src) if turned else (packet.src, packet.dst)
            return ("icmp", packet.sport, *ends), turned
        ends = frozenset([(packet.src, packet.sport), (packet.dst, packet.dport)])
        return (packet.protocol, ends), False

    def _advance(self, flow: Flow, packet: Packet, direction: int) -> str:
        if packet.protocol == "tcp":
            return self._tcp(flow, packet, direction)
        seconds = 600 if packet.protocol == "esp" else 30
        if packet.protocol == "udp" and flow.answered and packet.time > flow.stream_from:
            seconds = 120
        flow.expires = packet.time + seconds * 1000
        return "tracked"

    def _tcp(self, flow: Flow, packet: Packet, direction: int) -> str:
        old = flow.state
        new = NEXT[packet.flag, direction][STATES.index(old)]
        last, last_direction = flow.last
        turned = last_direction != direction
        if new == "s" and old in "tx":
            if flow.closing or (last == "rst" and not turned):
                return "new"
            new = "."
        if new == "." and (
            packet.flag == "synack" and last == "syn" and turned and packet.ack == flow.last_end
        ):
            old, new, flow.closing = "s", "r", False
        elif new == ".":
            flow.last, flow.last_end = (packet.flag, direction), packet.end()
            return "ignored"
        if new == "-":
            return "invalid"
        if new == "S":
            flow.both_opened = True
        if new == "r" and direction and packet.flag == "ack" and flow.both_opened:
            new = "e"
        if (old, new, packet.flag, last) == ("l", "t", "ack", "syn") and turned:
            flow.last = ("none", direction)
            return "ignored"
        flow.last, flow.state = (packet.flag, direction), new
        flow.closing = flow.closing or (new == "f" != old)
        seconds = SECONDS["x" if packet.flag == "rst" else new]
        if not flow.answered:
            if packet.flag == "rst":
                return "killed"
            if new == "e":
                seconds = 300
        flow.expires = packet.time + seconds * 1000
        return "tracked"
