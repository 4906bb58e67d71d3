"""Only our mark bits are written, on packets and on connections."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1}
OURS, FOREIGN_PACKET, FOREIGN_CONNECTION = 0x3F00, 0x50000, 0x70000000


def test_foreign_bits_of_packet_and_connection_survive(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    foreign = (
        f"PREROUTING -i lan0 -j MARK --set-xmark {FOREIGN_PACKET:#x}/{FOREIGN_PACKET:#x}",
        "PREROUTING -i lan0 -j CONNMARK --set-xmark "
        f"{FOREIGN_CONNECTION:#x}/{FOREIGN_CONNECTION:#x}",
    )
    for rule in foreign:
        gateway.gateway.run(["iptables", "-w", "-t", "mangle", "-A", *rule.split()])
    # Counted where nothing of ours comes any more.
    kept = ["-A", "FORWARD", "-m", "mark", "--mark", f"{FOREIGN_PACKET:#x}/{~OURS & 0xFFFFFFFF:#x}"]
    gateway.gateway.run(["iptables", "-w", *kept, "-i", "lan0", "-j", "ACCEPT"])
    gateway.gateway.run(["iptables", "-w", "-A", "FORWARD", "-i", "lan0", "-j", "DROP"])
    gateway.start_service()

    taken = gateway.connect(gateway.flows(40, "tcp", 8080))
    assert sorted(map(str, taken.values())) == ["wifi1"] * 20 + ["wired"] * 20
    marks = {c.mark for c in gateway.connections() if c.dport == 8080}
    assert marks == {FOREIGN_CONNECTION | 0x100, FOREIGN_CONNECTION | 0x200}
