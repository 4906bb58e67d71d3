"""What every reader of an NFQUEUE has in common: its settings, its counters, its methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class QueueSettings:
    length: int = 8192
    """Most packets that may wait for an answer at once."""
    mask: int = 0x3F00
    """The mark bits that are ours; no other bit of a packet is written."""
    fail_open: bool = True
    """Whether the kernel accepts, rather than drops, packets that the full queue cannot take."""
    want_uid: bool = False
    """Whether the kernel tells the user id of the gateway's own flows."""


@dataclass(frozen=True, slots=True)
class QueueCounters:
    """Sums since the queue was bound."""

    packets: int = 0
    """Packets read and answered."""
    batches: int = 0
    """Rounds of reading, deciding and answering; `packets / batches` is the mean batch."""
    malformed: int = 0
    """Netlink messages that could not be read to their end."""
    late_verdicts: int = 0
    """Verdicts for packets that were gone already, as the kernel reported (ENOENT)."""
    errors: int = 0
    """Other errors that the kernel reported."""
    overruns: int = 0
    """Times the kernel told that the socket buffer was full."""
    last_errno: int = 0
    """Number of the last error of any kind, 0 for none."""
    rounds: int = 0
    """Times the reader has looked for packets; grows after each `wake` of one that is not hung."""

    @classmethod
    def total(cls, queues: Iterable[QueueCounters]) -> QueueCounters:
        """The sums over several queues; the last error is that of the last queue that has one."""
        several = tuple(queues)
        return cls(
            packets=sum(one.packets for one in several),
            batches=sum(one.batches for one in several),
            malformed=sum(one.malformed for one in several),
            late_verdicts=sum(one.late_verdicts for one in several),
            errors=sum(one.errors for one in several),
            overruns=sum(one.overruns for one in several),
            last_errno=next((one.last_errno for one in reversed(several) if one.last_errno), 0),
            rounds=sum(one.rounds for one in several),
        )


class PacketQueue(Protocol):
    """A bound queue. `run` belongs to one thread, the other methods to any."""

    clock_offset: int
    """Milliseconds added to the monotonic clock before the engine is asked."""

    @property
    def receive_buffer(self) -> int:
        """Bytes of socket buffer the kernel granted; a waiting packet is charged 832 of them."""

    def run(self) -> None:
        """Answer packets until `stop`; QueueError when the queue breaks. Once per queue."""

    def wake(self) -> None:
        """Let `run` look for packets now, though there may be none."""

    def stop(self) -> None:
        """Let the queue take no more packets and `run` return once all that wait are answered."""

    def close(self) -> None:
        """Give the queue back to the kernel, which drops what still waits."""

    def set_interfaces(self, interfaces: Mapping[int, int]) -> None:
        """Map interface indexes to the engine's interface numbers; others become 0."""

    def counters(self) -> QueueCounters:
        """What has been counted so far. Costs some microseconds and waits for nobody."""
