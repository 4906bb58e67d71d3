"""Flows of a replay start where the kernel's connection tracking starts them.

Packets made by hand cross a gateway one by one. Its kernel writes into the DSCP of each what it
took it for; the same packets in a capture have to come out of the tracker alike.
"""

from __future__ import annotations

import random
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from classifier.config import parse_policy
from classifier.engine.engine import Engine
from classifier.lab.namespace import Namespace
from classifier.replay.reader import CaptureReader
from classifier.replay.tracker import Tracker

IN, OUT = "192.168.1.2", "198.51.100.7"
INVALID, UNTRACKED, FIRST, LATER = 1, 2, 3, 4
NAMES = {INVALID: "untracked", UNTRACKED: "untracked", FIRST: "new flow", LATER: "known flow"}
ICMP, TCP, UDP, SCTP = 1, 6, 17, 132
ETHERNET = bytes.fromhex("0200000000010200000000020800")
# The verification tags that the two ends of an SCTP association chose, by who is meant to see them.
TAGS = {True: 5, False: 7}
POLICY = '[uplinks.a]\ninterface = "eth0"\ngateway = "192.0.2.1"\n'


@pytest.fixture(scope="module")
def gateway() -> Iterator[Crossing]:
    with ExitStack() as stack:
        yield Crossing(stack)


class Crossing:
    """A gateway between `lan0` and `wan0`, and the far ends of the two."""

    def __init__(self, stack: ExitStack) -> None:
        inside = stack.enter_context(Namespace.create("gateway"))
        outside = stack.enter_context(Namespace.create("around"))
        for name, network in (("lan0", "192.168.1.1/24"), ("wan0", "198.51.100.1/24")):
            far, around = f"{name}far", f"/proc/self/fd/{outside.fileno()}"
            inside.run(
                ["ip", "link", "add", name, "type", "veth", "peer", far, "netns", around],
                pass_fds=[outside.fileno()],
            )
            for place, link in ((inside, name), (outside, far)):
                place.sysctl(f"net.ipv6.conf.{link}.disable_ipv6", 1)
                place.run(["ip", "link", "set", link, "arp", "off", "up"])
            inside.run(["ip", "link", "set", name, "address", "02:00:00:00:00:01"])
            inside.run(["ip", "address", "add", network, "dev", name])
        inside.sysctl("net.ipv4.ip_forward", 1)
        mangle = ["iptables", "-w", "-t", "mangle", "-A", "PREROUTING"]
        dscp = {value: ["-j", "DSCP", "--set-dscp", str(value)] for value in NAMES}
        state = ["-m", "conntrack", "--ctstate"]
        for rule in (
            [*state, "INVALID", *dscp[INVALID]],
            [*state, "UNTRACKED", *dscp[UNTRACKED]],
            ["-m", "dscp", "!", "--dscp", "0", "-j", "ACCEPT"],
            ["-m", "connmark", "--mark", "0", *dscp[FIRST]],
            ["-m", "dscp", "--dscp", "0", *dscp[LATER]],
            ["-j", "CONNMARK", "--set-mark", "1"],
        ):
            inside.run([*mangle, *rule])
        # Neither of these can be known from a capture, and replay looks at neither.
        inside.sysctl("net.netfilter.nf_conntrack_checksum", 0)
        inside.sysctl("net.netfilter.nf_conntrack_tcp_be_liberal", 1)
        self._inside = inside
        self._links = {}
        for name in ("lan0far", "wan0far"):
            with outside.enter():
                link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
            stack.callback(link.close)
            link.bind((name, 0x0800))
            link.settimeout(10)
            self._links[name] = link

    def forget(self) -> None:
        self._inside.run(["conntrack", "-F"])

    def cross(self, packet: bytes) -> int:
        """What the kernel took the packet for."""
        near, far = self._links["lan0far"], self._links["wan0far"]
        if packet[12:16] == socket.inet_aton(OUT):
            near, far = far, near
        near.send(ETHERNET + packet)
        while True:
            arrived = far.recv(2048)[14:]
            if arrived[4:6] == packet[4:6] and arrived[9] == packet[9]:
                return arrived[1] >> 2


def ipv4(number: int, outward: bool, protocol: int, body: bytes) -> bytes:
    src, dst = (IN, OUT) if outward else (OUT, IN)
    head = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), number, 0x4000, 64, protocol, 0)
    head += socket.inet_aton(src) + socket.inet_aton(dst)
    total = sum(struct.unpack(">10H", head))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack(">H", checksum) + head[12:] + body


def ports(outward: bool, client: int) -> bytes:
    return struct.pack(">HH", *((client, 443) if outward else (443, client)))


def tcp(outward: bool, client: int, flags: int) -> bytes:
    # Sequence numbers of two ends that agree on everything: only flags make a difference.
    seq, ack = (1000, 2000) if outward else (2000, 1000)
    if flags & 0x02:
        seq -= 1
    return ports(outward, client) + struct.pack(">IIBBHHH", seq, ack, 0x50, flags, 64240, 0, 0)


def sctp(outward: bool, client: int, chunk: int, tag: int) -> bytes:
    body = struct.pack(">BBHI", chunk, 0, 20, TAGS[outward]) + bytes(12)
    return ports(outward, client) + struct.pack(">II", tag, 0) + body


def icmp(kind: int, rest: int, body: bytes = b"") -> bytes:
    data = struct.pack(">BBHI", kind, 0, 0, rest) + body
    return data + bytes(len(data) % 2)


def random_packet(chance: random.Random, number: int, protocol: int) -> bytes:
    outward = chance.random() < 0.5
    client = chance.choice((4000, 5000))
    if protocol == TCP:
        usual = (0x02, 0x02, 0x12, 0x12, 0x10, 0x10, 0x10, 0x18, 0x11, 0x11, 0x14, 0x04)
        flags = chance.choice(usual) if chance.random() < 0.95 else chance.randrange(256)
        return ipv4(number, outward, TCP, tcp(outward, client, flags))
    if protocol == UDP:
        body = ports(outward, client) + struct.pack(">HH", 8, 0)
        return ipv4(number, outward, UDP, body)
    if chance.random() < 0.5:
        return ipv4(number, outward, ICMP, icmp(chance.randrange(20), chance.choice((1, 2)) << 16))
    # An error about a packet that may have been sent, to whoever may have sent it.
    quoted = ipv4(number, chance.random() < 0.5, UDP, ports(not outward, client) + bytes(4))
    kind = chance.choice((3, 4, 5, 11, 12))
    return ipv4(number, outward, ICMP, icmp(kind, 0, quoted))


class Replayed:
    """The tracker, packet by packet."""

    def __init__(self, folder) -> None:
        self._tracker = Tracker(Engine(parse_policy(POLICY), 1))
        self._path = folder / "one.pcap"
        self._untracked = self._flows = self._time = 0

    def take(self, packet: bytes) -> str:
        self._time += 1
        head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 101)
        head += struct.pack("<IIII", 0, self._time, len(packet), len(packet))
        self._path.write_bytes(head + packet)
        with CaptureReader(str(self._path)) as reader:
            while self._tracker.read(reader):
                pass
        _, malformed, untracked, _ = self._tracker.counts()
        flows, self._flows = self._flows, len(self._tracker.log)
        lost, self._untracked = self._untracked, malformed + untracked
        if self._untracked > lost:
            return "untracked"
        return "new flow" if self._flows > flows else "known flow"


@pytest.mark.parametrize(
    ("protocols", "count"),
    [((TCP,), 2500), ((UDP, ICMP), 800), ((50, 47, 200), 100)],
    ids=["TCP", "UDP and ICMP", "others"],
)
def test_every_packet_is_to_its_flow_what_it_is_to_the_kernel(
    gateway: Crossing, tmp_path, protocols, count
):
    chance, replayed = random.Random(5), Replayed(tmp_path)
    gateway.forget()
    seen = set()
    history: list[str] = []
    for number in range(1, count + 1):
        protocol = chance.choice(protocols)
        if protocol in (TCP, UDP, ICMP):
            packet = random_packet(chance, number, protocol)
        else:
            packet = ipv4(number, chance.random() < 0.5, protocol, bytes(12))
        kernel, ours = NAMES[gateway.cross(packet)], replayed.take(packet)
        history.append(f"{packet.hex()} {kernel}")
        assert ours == kernel, "\n".join(history[-12:])
        seen.add(kernel)
    assert {"new flow", "known flow"} <= seen


def test_an_sctp_flow_starts_and_goes_on_as_it_does_for_the_kernel(gateway: Crossing, tmp_path):
    replayed = Replayed(tmp_path)
    gateway.forget()
    # Every kind of chunk out of the blue, each from another port; INIT with and without its tag.
    story = [(True, 6000 + chunk, chunk, TAGS[False]) for chunk in range(16)]
    story.append((True, 6100, 1, 0))
    # An association from INIT to SHUTDOWN COMPLETE.
    story += [
        (outward, 6200, chunk, 0 if chunk == 1 else TAGS[not outward])
        for outward, chunk in (
            (True, 1), (False, 2), (True, 10), (False, 11), (True, 0), (False, 3), (False, 0),
            (True, 4), (False, 5), (True, 7), (False, 8), (True, 14),
        )
    ]  # fmt: skip
    outcomes = []
    for number, (outward, client, chunk, tag) in enumerate(story, 1):
        packet = ipv4(number, outward, SCTP, sctp(outward, client, chunk, tag))
        kernel, ours = NAMES[gateway.cross(packet)], replayed.take(packet)
        outcomes.append(kernel)
        assert ours == kernel, (outward, client, chunk)
    assert set(outcomes[:17]) == {"new flow", "untracked"}
    assert outcomes[17:] == ["new flow"] + ["known flow"] * 11
