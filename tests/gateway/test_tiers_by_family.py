"""A standby takes over the one family that the uplinks before it have lost, and gives it back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from host_service import eventually
from host_snapshots import shell
from test_explain_live import asked

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}


def taken(gateway: Lab, family: int) -> set[str | None]:
    return set(gateway.connect(gateway.flows(10, "tcp", 8080, family=family)).values())


def test_an_uplink_that_lost_ipv4_gives_ipv4_flows_to_the_standby_and_keeps_those_of_ipv6(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS, uplink='gateway6 = "auto"')
    gateway = lab(text.replace("[uplinks.wifi1]", "[uplinks.wifi1]\ntier = 2"))

    def wired_says(reason: str) -> bool:
        wired = gateway.status()["uplinks"]["wired"]
        return (wired["state"], wired["reason"]) == ("up", reason)

    assert taken(gateway, 4) | taken(gateway, 6) == {"wired"}
    own = gateway.addresses.uplink("wired")
    address = f"{own.own}/{own.prefix} dev {own.interface}"
    shell(gateway.gateway, f"ip address del {address}")
    lost = "IPv4: eth0 has no IPv4 address; IPv6: not probed"
    eventually(lambda: wired_says(lost), "IPv4 is lost")
    assert taken(gateway, 4) == {"wifi1"}
    assert taken(gateway, 6) == {"wired"}
    explanation = asked(gateway, gateway.flows(1, "tcp", 8080)[0])
    assert (explanation["uplink"], explanation["reason"]) == ("wifi1", "nth")
    wanted = {name: uplink["wanted"] for name, uplink in gateway.status()["uplinks"].items()}
    assert wanted == {"wired": 0.5, "wifi1": 0.5}, "half of all flows were IPv4"
    shell(gateway.gateway, f"ip address add {address}")
    eventually(lambda: wired_says("not probed"), "IPv4 is back")
    assert taken(gateway, 4) | taken(gateway, 6) == {"wired"}
