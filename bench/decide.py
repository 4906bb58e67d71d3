"""Decide: the time of one decision inside the engine, and the memory of one sticky entry."""

from __future__ import annotations

import argparse
import random
import struct
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

from bench.compiled import compiled, loaded
from bench.counts import count
from bench.limits import Limits, Measure
from bench.traffic import POLICY
from classifier.config import parse_policy
from classifier.engine.engine import Engine

HELP = "one decision among a million sticky entries, and the memory of one: against the targets"

_PACKETS = 64 * 500
_FIRST_REMOTE = 0x0B000000
_TARGETS = (
    ("known flow", "a packet of a flow in flight", 60.0),
    ("new flow", "to a remote that is known", 150.0),
    ("new remote", "to a remote that is new, in a table that is full", 150.0),
)
_Decide = Callable[[Engine, bytes, int], int]


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sticky-entries", type=count, default=1_000_000, help="decide: entries (%(default)s)"
    )


def run(options: argparse.Namespace) -> Limits:
    """Raises UsageError when the timed loop cannot be compiled."""
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        program = compiled(Path(__file__).parent / "peers" / "deciding.pyx", Path(folder))
        decide: _Decide = loaded("deciding", program).decide
    traffic = _Traffic(options.seed, options.sticky_entries)
    before = _resident()
    engine = Engine(parse_policy(_policy(options.sticky_entries)), options.seed)
    memory = (_resident() - before) / options.sticky_entries
    decide(engine, traffic.packets(range(options.sticky_entries)), 0)
    rounds = [_round(decide, engine, traffic, number + 1) for number in range(options.rounds)]
    rows = [
        Measure(name, what, "ns", median(times), min(times), target)
        for (name, what, target), times in zip(_TARGETS, zip(*rounds, strict=True), strict=True)
    ]
    rows.append(Measure("sticky entry", "memory taken when made", "bytes", memory, memory, 64.0))
    return Limits("decide", options.rounds, tuple(rows))


def _round(
    decide: _Decide, engine: Engine, traffic: _Traffic, number: int
) -> tuple[float, float, float]:
    now = 10_000 * number
    known = traffic.packets(traffic.known())
    return (
        _per_packet(decide(engine, traffic.again(known, decide, engine, now), now)),
        _per_packet(decide(engine, traffic.packets(traffic.known()), now)),
        _per_packet(decide(engine, traffic.packets(traffic.unknown()), now)),
    )


def _per_packet(nanoseconds: int) -> float:
    return nanoseconds / _PACKETS


class _Traffic:
    """Packets of flows that are all different, to remotes of one's choice."""

    def __init__(self, seed: int, remotes: int) -> None:
        self._chance = random.Random(seed)
        self._next = self._oldest = 0
        self._remotes = remotes
        self._flows = 0

    def known(self) -> list[int]:
        """Remotes that were visited lately enough to be remembered, in no order."""
        newest = max(self._next, self._remotes)
        return [self._chance.randrange(newest - self._remotes // 2, newest) for _ in _times()]

    def unknown(self) -> range:
        self._next = max(self._next, self._remotes) + _PACKETS
        return range(self._next - _PACKETS, self._next)

    def packets(self, remotes: Iterable[int]) -> bytes:
        """A TCP connection opened to each."""
        return b"".join(self._packet(remote) for remote in remotes)

    def again(self, packets: bytes, decide: _Decide, engine: Engine, now: int) -> bytes:
        """The same packets in another order, after they have been decided once."""
        decide(engine, packets, now)
        flows = [packets[at : at + 40] for at in range(0, len(packets), 40)]
        self._chance.shuffle(flows)
        return b"".join(flows)

    def _packet(self, remote: int) -> bytes:
        self._flows += 1
        source, sport = 0xC0A80000 + self._flows % 0xFFFF, 1024 + self._flows // 0xFFFF % 60000
        return struct.pack(
            ">BBHHHBBHIIHHIIBBHHH", 0x45, 0, 40, 0, 0x4000, 64, 6, 0, source,
            _FIRST_REMOTE + remote, sport, 8443, 1, 0, 0x50, 2, 64240, 0, 0,
        )  # fmt: skip


def _times() -> range:
    return range(_PACKETS)


def _policy(entries: int) -> str:
    wanted = POLICY.replace('timeout = "4h"', f'timeout = "4h", size = {entries}')
    assert wanted != POLICY
    return wanted


def _resident() -> int:
    """Bytes of memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096
