"""Drain: packets that wait in a queue are answered as fast as can be.

In a namespace of its own, for each contender in turn: the queue is bound, then filled with new
flows while nobody reads, then read. Whatever follows a verdict runs inside the reader's send(), so
it is the same for all, and little: the packet is routed, counted and dropped where it would be
forwarded. Queued and marked it is where the gateway does that, in the mangle table.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.counts import count
from bench.result import OURS, Peer, Result, Times, compare
from bench.traffic import packets
from classifier.errors import QueueError
from classifier.lab.namespace import Namespace
from classifier.queue.kernel_queues import kernel_queue

HELP = "packets waiting in a queue, answered: against C and Python readers"

PEERS = (
    Peer(OURS, "the native queue and the whole policy"),
    Peer("batch", "C, 64 packets per call, constant mark, nothing else", target=0.95),
    Peer("single", "C, libnetfilter_queue, one packet per call, constant mark", target=1.6),
    Peer("callback", "NetfilterQueue, a Python callback that parses, looks up, marks", target=2.1),
)
_C_FLAGS = {"batch": (), "single": ("-lnetfilter_queue", "-lnfnetlink")}
_HERE = Path(__file__).parent
_INTERFACES = ("lan0", "host0", "eth0", "isp0")
_UNCLASSIFIED = 0x3E00
_PATIENCE = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--packets", type=count, default=8000, help="drain: packets per round (%(default)s)"
    )


def run(options: argparse.Namespace) -> Result:
    """Raises QueueError when a contender fails or a packet is not answered."""
    traffic = packets(options.packets, options.seed)
    warming = packets(options.packets // 4, options.seed + 1)
    rounds = []
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        commands = _commands(Path(folder))
        for turn in range(options.rounds):
            # Who comes first changes, so that nobody always runs behind the same neighbour.
            order = [PEERS[(turn + place) % len(PEERS)].name for place in range(len(PEERS))]
            rounds.append({name: measure(commands[name], warming, traffic) for name in order})
    return compare("drain", "packet", options.packets, PEERS, rounds)


def _commands(folder: Path) -> dict[str, list[str]]:
    commands = {
        name: [sys.executable, "-m", f"bench.peers.{name}"] for name in (OURS, "callback")
    }  # fmt: skip
    for name, libraries in _C_FLAGS.items():
        program = folder / name
        source = _HERE / "peers" / f"{name}.c"
        compiled = subprocess.run(
            ["gcc", "-O2", "-Wall", str(source), "-o", str(program), *libraries],
            capture_output=True,
            text=True,
        )
        if compiled.returncode != 0:
            raise QueueError(f"gcc {source.name}: {compiled.stderr}")
        commands[name] = [str(program)]
    return commands


def measure(command: Sequence[str], warming: list[bytes], traffic: list[bytes]) -> Times:
    """The times in which a reader answers `traffic`; `command` is completed by the queue's number.

    Raises QueueError when it fails or a packet is not answered.
    """
    with Namespace.create("gateway") as gateway, _lan(gateway) as lan:
        reader = gateway.popen(
            [*command, "0"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_HERE.parent
        )
        _round(gateway, lan, reader, warming)
        cpu, wall = _round(gateway, lan, reader, traffic)
        answered, unanswered = _counted(gateway)
        if unanswered or answered != len(warming) + len(traffic):
            raise QueueError(
                f"{command[-1]}: {answered} of {len(warming) + len(traffic)} packets came out "
                f"marked, {unanswered} unmarked"
            )
    return Times(cpu / len(traffic), wall / len(traffic))


@contextmanager
def _lan(gateway: Namespace) -> Iterator[socket.socket]:
    """The far end of the gateway's lan0; what is sent there goes into queue 0."""
    mangle = ["iptables", "-w", "-t", "mangle", "-A"]
    arriving = [*mangle, "PREROUTING", "-i", "lan0"]
    leaving = [*mangle, "FORWARD", "-i", "lan0"]
    for command in (
        ["ip", "link", "add", "lan0", "type", "veth", "peer", "name", "host0"],
        ["ip", "link", "add", "eth0", "type", "veth", "peer", "name", "isp0"],
        # Nothing but our packets: no neighbour discovery.
        *(["sysctl", "-qw", f"net.ipv6.conf.{name}.disable_ipv6=1"] for name in _INTERFACES),
        ["ip", "link", "set", "lan0", "address", "02:00:00:00:00:01"],
        *(["ip", "link", "set", name, "arp", "off", "up"] for name in _INTERFACES),
        ["ip", "route", "add", "default", "dev", "eth0"],
        ["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0"],
        ["sysctl", "-qw", "net.ipv4.conf.lan0.rp_filter=0"],
        [*arriving, "-j", "MARK", "--set-mark", str(_UNCLASSIFIED)],
        [*arriving, "-j", "NFQUEUE", "--queue-num", "0"],
        [*leaving, "-m", "mark", "!", "--mark", str(_UNCLASSIFIED), "-j", "DROP"],
        [*leaving, "-j", "DROP"],
    ):
        gateway.run(command)
    with gateway.enter():
        lan = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
    with lan:
        lan.bind(("host0", 0))
        yield lan


def _round(
    gateway: Namespace, lan: socket.socket, reader: subprocess.Popen[str], traffic: list[bytes]
) -> tuple[int, int]:
    """Fill the queue, then let the reader empty it; its CPU and wall time in nanoseconds."""
    assert reader.stdin is not None
    assert reader.stdout is not None
    _expect(reader, "bound")
    ethernet = bytes.fromhex("0200000000010200000000020800")
    for packet in traffic:
        lan.send(ethernet + packet)
    _wait_until_queued(gateway, len(traffic))
    reader.stdin.write(f"{len(traffic)}\n")
    reader.stdin.flush()
    cpu, wall = map(int, _line(reader).split())
    return cpu, wall


def _wait_until_queued(gateway: Namespace, wanted: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while True:
        with gateway.enter():
            queue = kernel_queue(0)
        waiting = queue.waiting if queue else 0
        if waiting == wanted:
            return
        if time.monotonic() > deadline:
            raise QueueError(f"{waiting} of {wanted} packets wait in the queue: {queue}")
        time.sleep(0.001)


def _line(reader: subprocess.Popen[str]) -> str:
    assert reader.stdout is not None
    line = reader.stdout.readline()
    if not line:
        raise QueueError(f"{reader.args} ended with {reader.wait()}")
    return line.rstrip()


def _expect(reader: subprocess.Popen[str], wanted: str) -> None:
    if (line := _line(reader)) != wanted:
        raise QueueError(f"{reader.args} said {line!r} instead of {wanted!r}")


def _counted(gateway: Namespace) -> tuple[int, int]:
    """Packets that came out of the queue answered, and those that came out as they went in."""
    saved = gateway.run(["iptables-save", "-c", "-t", "mangle"]).stdout.splitlines()
    counts = [int(line[1:].split(":")[0]) for line in saved if "-A FORWARD" in line]
    return counts[0], counts[1]
