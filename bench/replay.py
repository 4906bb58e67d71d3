"""Replay: a capture read, tracked and decided, next to libpcap reading it and doing nothing."""

from __future__ import annotations

import argparse
import random
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench.counts import count
from bench.result import OURS, Peer, Result, Times, compare
from classifier.errors import CaptureError

HELP = "a capture through the whole policy: against libpcap's bare loop"

PEERS = (
    Peer(OURS, "the whole policy and flow tracking, summary only"),
    Peer("pcap_loop", "C, libpcap's pcap_next_ex over the file, nothing else", target=1.0),
)
_HERE = Path(__file__).parent
_ETHERNET = bytes.fromhex("0200000000010200000000020800")
_SYN, _SYN_ACK, _ACK, _PUSH, _FIN = 0x02, 0x12, 0x10, 0x18, 0x11


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--capture-packets", type=count, default=400_000, help="replay: packets (%(default)s)"
    )
    parser.add_argument(
        "--capture-flows", type=count, default=20_000, help="replay: flows (%(default)s)"
    )


def run(options: argparse.Namespace) -> Result:
    """Raises CaptureError when the two do not count the same packets."""
    packets = options.capture_packets
    with tempfile.TemporaryDirectory(prefix="nfq-classifier-bench-") as folder:
        capture = Path(folder) / "traffic.pcap"
        write_capture(capture, packets, options.capture_flows, options.seed)
        contenders = {
            OURS: _start([sys.executable, "-m", "bench.peers.replaying", str(capture)]),
            "pcap_loop": _start([_compiled(Path(folder)), str(capture)]),
        }
        # One round that does not count: it brings the file into memory.
        rounds = [
            {name: _round(name, contenders[name], packets) for name in _turn(number)}
            for number in range(options.rounds + 1)
        ][1:]
        for process in contenders.values():
            process.communicate()
    return compare("replay", "packet", packets, PEERS, rounds)


def write_capture(path: Path, packets: int, flows: int, seed: int) -> None:
    """A pcap of `packets` frames, 600 bytes or so on average, of `flows` flows that all go on at
    once: the order in which they take turns is random."""
    chance = random.Random(seed)
    living = [_flow(chance, number) for number in range(flows)]
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for number in range(packets):
            # Every flow begins before any goes on, so that `flows` is what is there.
            frame = next(living[number] if number < flows else chance.choice(living))
            seconds, microseconds = divmod(number * 20, 1_000_000)
            head = struct.pack(
                "<IIII", 1_700_000_000 + seconds, microseconds, len(frame), len(frame)
            )
            file.write(head + frame)


def _flow(chance: random.Random, number: int) -> Iterator[bytes]:
    """The frames of one flow without end: TCP from its SYN on, or UDP that is answered."""
    inside, outside = 0xC0A80102 + number % 250, chance.randrange(0xC6120000, 0xC613FFFF)
    ports = 20000 + number // 250, chance.choice((443, 443, 8443, 4500))
    there = inside, outside, *ports
    back = outside, inside, *reversed(ports)
    if chance.random() < 0.3:
        yield _udp(*there, 200)
        while True:
            yield _udp(*(back if chance.random() < 0.6 else there), chance.choice((100, 1200)))
    yield _tcp(*there, _SYN, 0)
    yield _tcp(*back, _SYN_ACK, 0)
    yield _tcp(*there, _ACK, 0)
    while True:
        answered = chance.random() < 0.55
        yield _tcp(
            *(back if answered else there),
            _PUSH if answered else _ACK,
            chance.choice((600, 1400, 1400)) if answered else chance.choice((0, 0, 300)),
        )


def _tcp(src: int, dst: int, sport: int, dport: int, flags: int, size: int) -> bytes:
    header = struct.pack(">HHIIBBHHH", sport, dport, 1, 1, 0x50, flags, 64240, 0, 0)
    return _ETHERNET + _ipv4(src, dst, 6, 20 + size) + header + bytes(size)


def _udp(src: int, dst: int, sport: int, dport: int, size: int) -> bytes:
    header = struct.pack(">HHHH", sport, dport, 8 + size, 0)
    return _ETHERNET + _ipv4(src, dst, 17, 8 + size) + header + bytes(size)


def _ipv4(src: int, dst: int, protocol: int, size: int) -> bytes:
    return struct.pack(">BBHHHBBHII", 0x45, 0, 20 + size, 0, 0x4000, 64, protocol, 0, src, dst)


def _compiled(folder: Path) -> str:
    program = folder / "pcap_loop"
    source = _HERE / "peers" / "pcap_loop.c"
    command = ["gcc", "-O2", "-Wall", str(source), "-o", str(program), "-lpcap"]
    compiled = subprocess.run(command, capture_output=True, text=True)
    if compiled.returncode != 0:
        raise CaptureError(f"gcc {source.name}: {compiled.stderr}")
    return str(program)


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=_HERE.parent
    )


def _turn(number: int) -> list[str]:
    names = [peer.name for peer in PEERS]
    return names if number % 2 else names[::-1]


def _round(name: str, process: subprocess.Popen[str], packets: int) -> Times:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise CaptureError(f"{name} ended with {process.wait()}")
    counted, cpu, wall = map(int, line.split())
    if counted != packets:
        raise CaptureError(f"{name} counted {counted} of {packets} packets")
    return Times(cpu / packets, wall / packets)
