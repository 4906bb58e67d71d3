"""Failback "move": whoever was on a standby uplink is on the returned one, however young a flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab


def steer(gateway: Lab, name: str, state: str) -> None:
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    gateway.service.command("uplink", name, state, *where)


def test_a_flow_that_goes_on_from_the_same_port_moves_too_when_it_has_only_begun(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration({"wired": 1, "wifi1": 1}, uplink='failback = "move"')
    gateway = lab(text.replace("[uplinks.wifi1]", "[uplinks.wifi1]\ntier = 2"))
    flows = gateway.flows(20, "udp", 5000)

    def taken_by() -> set[frozenset[str]]:
        gateway.tap.clear()
        gateway.send(flows)
        gateway.tap.wait(lambda tap: all(tap.uplinks(flows).values()), what="every flow")
        return set(gateway.tap.uplinks(flows).values())

    steer(gateway, "wired", "down")
    assert taken_by() == {frozenset({"wifi1"})}
    steer(gateway, "wired", "auto")
    assert taken_by() == {frozenset({"wired"})}
