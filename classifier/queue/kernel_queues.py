"""The NFQUEUEs that the kernel has, and the kernels on which several of them are unsafe."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NETLINK_NETFILTER = 12
"""The netlink protocol of all of netfilter (<linux/netlink.h>); Python has no name for it."""

# Of the calling thread: a thread may be in another network namespace than its process.
PROC_NET = Path("/proc/thread-self/net")


@dataclass(frozen=True, slots=True)
class KernelQueue:
    """One line of /proc/net/netfilter/nfnetlink_queue (net/netfilter/nfnetlink_queue.c)."""

    number: int
    portid: int
    """Netlink address of the socket that owns the queue; mostly, not always, its process id."""
    waiting: int
    """Packets that have no verdict yet."""
    dropped: int
    """Packets dropped because the queue was full."""
    user_dropped: int
    """Packets dropped because the owner's socket buffer was full."""
    packets: int
    """Packets queued since the queue was bound; wraps at 2**32."""


def kernel_queues() -> Iterator[KernelQueue]:
    """The queues bound in the calling thread's network namespace.

    Raises OSError when the kernel does not show them to this user.
    """
    try:
        lines = (PROC_NET / "netfilter/nfnetlink_queue").read_text().splitlines()
    except FileNotFoundError:
        return  # the module that would bind queues is not loaded
    for line in lines:
        number, portid, waiting, _mode, _range, dropped, user_dropped, packets, *_ = map(
            int, line.split()
        )
        yield KernelQueue(number, portid, waiting, dropped, user_dropped, packets)


def kernel_queue(number: int) -> KernelQueue | None:
    """Queue `number` of the calling thread's network namespace; None when nobody has bound it."""
    return next((queue for queue in kernel_queues() if queue.number == number), None)


# CVE-2026-43084: the table of waiting packets became one for all queues, and a queue that goes
# away frees entries another one still uses. Last release with the mistake, by series.
_FIRST_AND_LAST_UNSAFE = {(6, 12): (75, 82), (6, 18): (14, 23), (6, 19): (4, 13)}


def several_queues_unsafe(release: str) -> bool:
    """Whether several queues can crash this kernel; `release` as `uname -r` prints it.

    A distribution's kernel may carry the repair under an older number; this errs to caution.
    """
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", release)
    if found is None:
        return False
    major, minor, patch = map(int, found.groups())
    first, last = _FIRST_AND_LAST_UNSAFE.get((major, minor), (1, 0))
    return first <= patch <= last
