"""Only our mark bits are written, on packets and on connections, in both directions."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from classifier.lab.flows import TCP

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
ALL = 0xFFFFFFFF


def foreign_bits(mask: int) -> tuple[int, int]:
    """Marks of somebody else on packets and on connections, in every byte, outside of ours."""
    return 0xA1553515 & ~mask, 0x5AAACAAA & ~mask


def mark_as_somebody_else(gateway: Lab, mask: int) -> None:
    """Every packet and connection gets bits of somebody else before the service sees it, and one
    that has not these and no other ones outside of our mask afterwards is dropped."""
    packet, connection = (f"{bits:#x}/{bits:#x}" for bits in foreign_bits(mask))
    kept = ["-m", "mark", "!", "--mark", f"{foreign_bits(mask)[0]:#x}/{ALL & ~mask:#x}"]
    for hook in ("PREROUTING", "OUTPUT"):
        mangle = ["iptables", "-w", "-t", "mangle", "-A", hook]
        gateway.gateway.run([*mangle, "-j", "MARK", "--set-xmark", packet])
        # At its first packet only, so that one who wipes it out is not helped by the next.
        first = ["-m", "conntrack", "--ctstate", "NEW"]
        gateway.gateway.run([*mangle, *first, "-j", "CONNMARK", "--set-xmark", connection])
    for chain, side in (("INPUT", "-i"), ("FORWARD", "-o"), ("OUTPUT", "-o")):
        drop = ["iptables", "-w", "-A", chain, "!", side, "lo", *kept, "-j", "DROP"]
        gateway.gateway.run(drop)


def connection_marks(gateway: Lab, *ports: int) -> Counter[int]:
    return Counter(c.mark for c in gateway.connections() if c.dport in ports)


@pytest.mark.parametrize("backend", ["native", "netfilterqueue"])
@pytest.mark.parametrize("mask", [0x3F00, 0x7F0000, 0xF0000000], ids=hex)
def test_foreign_bits_of_packets_and_connections_survive_in_both_directions(
    lab: StartLab, configuration: Configuration, mask: int, backend: str
) -> None:
    more = f'[queue]\nbackend = "{backend}"'
    gateway = lab(configuration(WEIGHTS, gateway=f"mask = {mask:#x}", more=more), service=False)
    mark_as_somebody_else(gateway, mask)
    gateway.start_service()
    connection = foreign_bits(mask)[1]
    wired, wifi1 = (connection | gateway.policy.mark(u) for u in gateway.policy.uplinks)

    for protocol, port in (("tcp", 8080), ("udp", 5353)):
        taken = gateway.connect(gateway.flows(40, protocol, port))
        assert Counter(taken.values()) == {"wired": 20, "wifi1": 20}
        assert connection_marks(gateway, port) == {wired: 20, wifi1: 20}

    own = gateway.connect(gateway.flows(20, "tcp", 8081, source=None), sender="gateway")
    assert Counter(own.values()) == {"wired": 10, "wifi1": 10}
    assert connection_marks(gateway, 8081) == {wired: 10, wifi1: 10}

    address = str(gateway.addresses.uplink("wifi1").own)
    bound = gateway.flows(5, "tcp", 8082, source=address)
    assert set(gateway.connect(bound, sender="gateway").values()) == {"wifi1"}
    assert connection_marks(gateway, 8082) == {wifi1: 5}

    gateway.serve(TCP, 2222, at="gateway")
    inbound = gateway.flows(5, "tcp", 2222, to=address, source="198.18.9.9")
    assert set(gateway.connect(inbound, sender="wifi1").values()) == {"gateway"}
    assert connection_marks(gateway, 2222) == {wifi1: 5}


def test_foreign_bits_survive_where_nobody_classifies(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    marks = gateway.policy.gateway.marks
    mark_as_somebody_else(gateway, marks.mask)
    gateway.start_service()
    gateway.service.kill()
    assert set(gateway.connect(gateway.flows(20, "tcp", 8080)).values()) == {"wired"}
    assert connection_marks(gateway, 8080) == {foreign_bits(marks.mask)[1] | marks.direct: 20}


def test_a_mark_that_a_socket_chose_in_our_bits_is_its_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    wifi1 = gateway.policy.mark(gateway.policy.uplink("wifi1"))
    choose = ["-p", "tcp", "--dport", "8080", "-j", "MARK", "--set-xmark", f"{wifi1:#x}/0x3f00"]
    gateway.gateway.run(["iptables", "-w", "-t", "mangle", "-I", "OUTPUT", *choose])
    own = gateway.connect(gateway.flows(10, "tcp", 8080, source=None), sender="gateway")
    assert set(own.values()) == {"wifi1"}
    assert connection_marks(gateway, 8080) == {wifi1: 10}
    assert gateway.status()["queue"]["packets"] == 0
