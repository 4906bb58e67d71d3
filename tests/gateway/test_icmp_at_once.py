"""Pings that come at once: what the kernel makes of them, and the way out of docs/operations.md."""

from __future__ import annotations

import platform
import re
import signal
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from queued import until

from classifier.queue.kernel_queues import kernel_queue

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
ECHO_REQUEST = 8


def echoes(gateway: Lab, count: int, to: str = "203.0.113.9") -> list[bytes]:
    """What `ping -l COUNT` sends: requests of one identifier, one behind the other."""
    source = str(gateway.addresses.lans[0].hosts[10])
    packets = []
    for number in range(count):
        message = with_checksum(struct.pack("!BBHHH", ECHO_REQUEST, 0, 0, 77, number), 2)
        header = struct.pack("!BBHHHBBH", 0x45, 0, 28, 0, 0x4000, 64, 1, 0)
        addresses = bytes(map(int, f"{source}.{to}".split(".")))
        packets.append(with_checksum(header + addresses, 10) + message)
    return packets


def with_checksum(data: bytes, at: int) -> bytes:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return (
        data[:at] + struct.pack("!H", ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF) + data[at + 2 :]
    )


def arrived(gateway: Lab) -> dict[str, int]:
    """Echo requests that the far end of each uplink has got (RFC 2011: icmpInEchos)."""
    counts = {}
    for name, isp in gateway.isps.items():
        with isp.enter():
            names, values = re.findall(
                r"^Icmp: (.*)$", Path("/proc/thread-self/net/snmp").read_text(), re.M
            )
        counts[name] = int(dict(zip(names.split(), values.split(), strict=True))["InEchos"])
    return counts


def waiting(gateway: Lab) -> int:
    with gateway.gateway.enter():
        queue = kernel_queue(0)
    return queue.waiting if queue else 0


def refused(gateway: Lab) -> int:
    """Packets that conntrack did not take because another one of their flow was there already."""
    shown = gateway.gateway.run(["conntrack", "-S"]).stdout
    return sum(map(int, re.findall(r"insert_failed=(\d+)", shown)))


def resolves_clashes_of_icmp() -> bool:
    """Linux from 7.0 on: "netfilter: nf_conntrack: enable icmp clash support"."""
    return int(platform.release().split(".")[0]) >= 7


def test_of_echoes_that_wait_together_older_kernels_let_the_first_pass_alone(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    before = sum(arrived(gateway).values()), refused(gateway)
    gateway.service.signal(signal.SIGSTOP)
    gateway.inject(echoes(gateway, 5))
    until(lambda: waiting(gateway) == 5)
    gateway.service.signal(signal.SIGCONT)
    passing = 5 if resolves_clashes_of_icmp() else 1
    until(lambda: sum(arrived(gateway).values()) == before[0] + passing)
    if passing == 1:
        until(lambda: refused(gateway) == before[1] + 4)
    # All five had the same answer, and the flow is known now: nothing more is lost.
    gateway.inject(echoes(gateway, 5))
    until(lambda: sum(arrived(gateway).values()) == before[0] + passing + 5)
    assert gateway.status()["queue"]["packets"] == 5
    assert gateway.status()["queue"]["in-flight"] == 4
    assert sorted(arrived(gateway).values())[0] == 0, "one flow, one uplink"


@pytest.mark.parametrize("when", ["before the start", "while it runs"])
def test_echoes_that_a_rule_keeps_off_the_queue_all_pass(
    lab: StartLab, configuration: Configuration, when: str
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    rule = re.search(r"iptables -t mangle -I PREROUTING (.*-j ACCEPT)", operations())
    assert rule is not None
    command = ["iptables", "-w", "-t", "mangle", "-I", "PREROUTING", *rule[1].split()]
    if when == "before the start":
        gateway.gateway.run(command)
    gateway.start_service()
    if when == "while it runs":
        gateway.gateway.run(command)
    gateway.service.signal(signal.SIGSTOP)
    gateway.inject(echoes(gateway, 5))
    until(lambda: sum(arrived(gateway).values()) == 5)
    gateway.service.signal(signal.SIGCONT)
    assert gateway.status()["queue"]["packets"] == 0
    assert gateway.status()["warnings"] == []


def operations() -> str:
    return (Path(__file__).parents[2] / "docs/operations.md").read_text()
