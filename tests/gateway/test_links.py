"""Interfaces that are not there yet, vanish, come back as others: all followed without a reload."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from host_service import eventually
from host_snapshots import shell

from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab, UseIptables

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
FROM_LAN = '[[rules]]\nname = "from the LAN"\nin_interface = "lan0"\nuse = "wifi1"'


def wire(gateway: Lab, name: str) -> None:
    """Make the interface of an uplink anew, with both ends as the lab had made them."""
    uplink, isp = gateway.addresses.uplink(name), gateway.isps[name]
    near, far = f"dev {uplink.interface}", f"dev {ISP_INTERFACE}"
    ends = f"name {uplink.interface} type veth peer name {ISP_INTERFACE}"
    place = f"/proc/self/fd/{isp.fileno()}"
    link = f"ip link add {ends} netns {place}".split()
    gateway.gateway.run(link, pass_fds=[isp.fileno()])
    shell(isp, f"ip addr add {uplink.isp}/{uplink.prefix} {far}; ip link set {far} up")
    shell(
        gateway.gateway,
        f"ip addr add {uplink.own}/{uplink.prefix} {near}; ip link set {near} up",
    )


def wire_lan(gateway: Lab) -> None:
    """Make the interface of the LAN anew."""
    [lan] = gateway.addresses.lans
    place = f"/proc/self/fd/{gateway.lan.fileno()}"
    link = f"ip link add name {lan.interface} type veth peer name lan0 netns {place}".split()
    gateway.gateway.run(link, pass_fds=[gateway.lan.fileno()])
    near, far, length = f"dev {lan.interface}", "dev lan0", lan.network.prefixlen
    shell(
        gateway.lan,
        f"ip addr add {lan.router}/{length} {far}; ip link set {far} up\n"
        f"ip route add default via {lan.gateway} {far}",
    )
    shell(gateway.gateway, f"ip addr add {lan.gateway}/{length} {near}; ip link set {near} up")


def wait_for(gateway: Lab, **states: str) -> None:
    def there() -> bool:
        uplinks = gateway.status()["uplinks"]
        return {name: uplinks[name]["state"] for name in states} == states

    eventually(there, f"uplinks are {states}")


def taken(gateway: Lab, count: int = 10) -> dict[str | None, int]:
    answers = list(gateway.connect(gateway.flows(count, "tcp", 8080)).values())
    return {name: answers.count(name) for name in set(answers)}


def test_an_uplink_that_is_not_there_at_the_start_is_waited_for_and_used_when_it_comes(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    shell(gateway.gateway, "ip link del eth1")
    missing = 'uplinks.wifi1.interface: this host has no interface "eth1": waiting for it'
    planned = gateway.service.command("plan", str(gateway.service.config)).stdout
    assert planned.startswith(f"# warnings:\n#   {missing}\n")
    gateway.start_service()
    assert missing in gateway.status()["warnings"]
    assert gateway.status()["uplinks"]["wifi1"]["reason"] == "no interface eth1"
    assert taken(gateway) == {"wired": 10}
    wire(gateway, "wifi1")
    wait_for(gateway, wifi1="up")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}
    assert missing not in gateway.status()["warnings"]


def test_an_uplink_that_a_reload_brings_may_come_later_too(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    shell(gateway.gateway, "ip link del eth1")
    gateway.service.config.write_text(configuration({"wired": 1}))
    gateway.start_service()
    gateway.service.config.write_text(configuration(WEIGHTS))
    gateway.service.command("reload", "--runtime-dir", str(gateway.service.runtime_dir))
    assert taken(gateway) == {"wired": 10}
    wire(gateway, "wifi1")
    wait_for(gateway, wifi1="up")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}


def test_flows_of_a_lan_interface_are_classified_from_the_first_one_on_when_it_comes_back(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, rules=FROM_LAN), service=False)
    shell(gateway.gateway, "ip link del lan0")
    gateway.start_service()
    missing = 'gateway.lan: this host has no interface "lan0": waiting for it'
    assert missing in gateway.status()["warnings"]
    for _ in range(2):
        wire_lan(gateway)
        # The rule knows the interface by its index, which is another one each time.
        assert taken(gateway) == {"wifi1": 10}
        shell(gateway.gateway, "ip link del lan0")
    assert gateway.stop_service() == 0


def test_an_uplink_made_anew_is_used_however_often_and_that_is_no_fight(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    for _ in range(6):
        shell(gateway.gateway, "ip link del eth1")
        wire(gateway, "wifi1")
        eventually(lambda: "wifi1" in taken(gateway, 2), "wifi1 is used again")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}
    assert gateway.status()["healed"] == 0


def test_an_uplink_that_is_switched_off_and_on_is_used_however_often_and_that_is_no_fight(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    for _ in range(6):
        shell(gateway.gateway, "ip link set eth1 down; ip link set eth1 up")
        eventually(lambda: "wifi1" in taken(gateway, 2), "wifi1 is used again")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}
    assert gateway.status()["healed"] == 0


def test_an_interface_is_followed_by_its_name(lab: StartLab, configuration: Configuration) -> None:
    gateway = lab(configuration(WEIGHTS))
    shell(gateway.gateway, "ip link set eth1 down; ip link set eth1 name stick up")
    wait_for(gateway, wifi1="down")
    assert taken(gateway) == {"wired": 10}
    shell(gateway.gateway, "ip link set stick down; ip link set stick name eth1 up")
    wait_for(gateway, wifi1="up")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}


def test_after_all_uplinks_were_gone_each_is_used_when_it_is_back(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    shell(gateway.gateway, "ip link del eth1")
    shell(gateway.isps["wired"], f"ip link set {ISP_INTERFACE} down")
    wait_for(gateway, wired="down", wifi1="down")
    wire(gateway, "wifi1")
    wait_for(gateway, wifi1="up")
    assert taken(gateway) == {"wifi1": 10}
    shell(gateway.isps["wired"], f"ip link set {ISP_INTERFACE} up")
    wait_for(gateway, wired="up")
    assert taken(gateway) == {"wired": 5, "wifi1": 5}


def test_connections_of_the_only_uplink_go_on_after_it_lost_its_carrier(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1}))
    with gateway.open(gateway.flows(1, "tcp", 8080)[0]) as connection:
        shell(gateway.isps["wired"], f"ip link set {ISP_INTERFACE} down")
        wait_for(gateway, wired="down")
        shell(gateway.isps["wired"], f"ip link set {ISP_INTERFACE} up")
        wait_for(gateway, wired="up")
        assert connection.echo() == b"still there?"
    assert taken(gateway) == {"wired": 10}


def test_a_change_that_is_refused_keeps_no_uplink_from_coming_back(
    lab: StartLab, configuration: Configuration, use_iptables: UseIptables
) -> None:
    use_iptables("nft")
    gateway = lab(configuration(WEIGHTS))
    restore = Path(os.environ["PATH"].split(":")[0], "iptables-nft-restore")
    restore.write_text("#!/bin/sh\necho not today >&2\nexit 1\n")
    restore.chmod(0o755)
    shell(gateway.gateway, "iptables -t mangle -F nfqc-memory")
    eventually(lambda: "not today" in gateway.service.log.read_text(), "the refusal is told")
    shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} down")
    wait_for(gateway, wifi1="down")
    shell(gateway.isps["wifi1"], f"ip link set {ISP_INTERFACE} up")
    eventually(lambda: "wifi1" in taken(gateway, 2), "wifi1 is used again")
