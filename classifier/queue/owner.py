"""Who holds a queue: why the kernel answered EPERM, in words that say what to do."""

from __future__ import annotations

from pathlib import Path

from classifier.queue.capabilities import has_net_admin
from classifier.queue.kernel_queues import NETLINK_NETFILTER, PROC_NET, kernel_queue

_LONGEST_SHOWN = 200


def why_refused(number: int) -> str:
    """The reason for an EPERM on binding queue `number`, as the end of a sentence."""
    if not has_net_admin():
        return "this process lacks CAP_NET_ADMIN (run as root, or in a user namespace of its own)"
    try:
        queue = kernel_queue(number)
    except OSError:
        queue = None
    if queue is None:
        return (
            "this process lacks CAP_NET_ADMIN in the user namespace that its network namespace "
            "belongs to"
        )
    return f"it is bound by {owner(queue.portid)}"


def owner(portid: int) -> str:
    """Who holds a queue's netlink socket: pid and command, as far as this user may see them."""
    pids = _holders(_inode(portid))
    if not pids:
        # Another user's process, or one of another pid namespace. The number is often the pid,
        # but the kernel picks another one when that is taken, so it is not passed off as one.
        return f"a process this user cannot see (netlink port {portid})"
    return " and ".join(f"process {pid} ({program(pid)})" for pid in pids)


def _inode(portid: int) -> str | None:
    # sk Eth Pid Groups Rmem Wmem Dump Locks Drops Inode (net/netlink/af_netlink.c)
    for line in (PROC_NET / "netlink").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1]) == NETLINK_NETFILTER and int(fields[2]) == portid:
            return fields[9]
    return None


def _holders(inode: str | None) -> list[int]:
    if inode is None:
        return []
    wanted = f"socket:[{inode}]"
    return sorted(
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdecimal() and wanted in _descriptors(process)
    )


def _descriptors(process: Path) -> set[str]:
    found = set()
    try:
        for descriptor in (process / "fd").iterdir():
            found.add(str(descriptor.readlink()))
    except OSError:
        pass  # it ended meanwhile, or belongs to somebody else
    return found


def program(pid: int) -> str:
    """The command line of a process. Its owner chose it, so it is made fit for a terminal."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").split(b"\0")
    except OSError:
        return "ended meanwhile"
    text = " ".join(word.decode(errors="replace") for word in words)
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _LONGEST_SHOWN else f"{shown[:_LONGEST_SHOWN]}..."
