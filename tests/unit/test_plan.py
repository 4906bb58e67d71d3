"""From a configuration and the facts of a host to the exact text of what would be changed.

Each configuration in plans/ has its text beside it. After a change that is meant, write them anew
with UPDATE_PLANS=1 and read the difference.
"""

from __future__ import annotations

import dataclasses
import json
import os
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from classifier.config import load_policy
from classifier.host.facts import Connected, DefaultRoute, HostFacts, Interface
from classifier.host.plan import plan
from classifier.host.render import render
from classifier.host.state import HostPlan, RoutingRule

PLANS = Path(__file__).parent / "plans"


def interface(index: int, name: str, *addresses: str, **more: bool) -> Interface:
    return Interface(name, index, addresses=tuple(map(ip_interface, addresses)), **more)


def sysctls(**changed: str) -> dict[str, str]:
    """A host that forwards nothing, filters reverse paths strictly and takes router adverts."""
    values = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}
    for name in ("all", "default", "eth0", "eth1", "eth2", "wwan0", "lan0"):
        values[f"net/ipv4/conf/{name}/rp_filter"] = "0"
        values[f"net/ipv4/conf/{name}/src_valid_mark"] = "0"
        values[f"net/ipv6/conf/{name}/accept_ra"] = "1"
    values["net/ipv4/conf/all/rp_filter"] = "1"
    return values | changed


HOST = HostFacts(
    interfaces=(
        interface(1, "lo"),
        interface(2, "eth0", "192.168.1.1/24", "2001:db8:1::7/64"),
        interface(3, "eth1", "172.16.0.2/30", "172.16.9.9/32", "2001:db8:2::7/64"),
        interface(4, "eth2", "10.64.0.2/24"),
        interface(5, "eth3", "10.9.0.2/24", up=False),
        interface(6, "wwan0", "100.64.3.4/32", point_to_point=True),
        interface(7, "lan0", "10.1.0.1/16", "2001:db8:a::1/64"),
        interface(8, "lan1", "10.2.0.1/16"),
    ),
    defaults=(
        DefaultRoute(4, "eth2", "10.64.0.1", metric=200),
        DefaultRoute(4, "eth0", "192.168.1.254", metric=100),
        DefaultRoute(6, "eth0", "fe80::1", metric=1024),
    ),
    connected=tuple(
        Connected(ip_network(network), name)
        for network, name in (
            ("192.168.1.0/24", "eth0"),
            ("172.16.0.0/30", "eth1"),
            ("10.64.0.0/24", "eth2"),
            ("10.1.0.0/16", "lan0"),
            ("10.2.0.0/16", "lan1"),
            ("2001:db8:1::/64", "eth0"),
            ("2001:db8:2::/64", "eth1"),
            ("2001:db8:a::/64", "lan0"),
            ("fe80::/64", "eth0"),
        )
    ),
    sysctls=sysctls(),
    variant="nft",
)


def planned(name: str, facts: HostFacts = HOST) -> HostPlan:
    return plan(load_policy(PLANS / f"{name}.toml"), facts)


@pytest.mark.parametrize("name", sorted(path.stem for path in PLANS.glob("*.toml")))
def test_a_configuration_plans_exactly_these_changes(name: str) -> None:
    text = render(planned(name))
    expected = PLANS / f"{name}.txt"
    if os.environ.get("UPDATE_PLANS") == "1":
        expected.write_text(text)
    assert text == expected.read_text()


def test_a_plan_is_the_same_every_time_and_can_be_written_as_json() -> None:
    first = planned("ipv6")
    assert first == planned("ipv6")
    assert json.loads(json.dumps(dataclasses.asdict(first)))["sysctls"][0]["value"] == "2"


def test_ipv6_of_the_host_is_left_alone_when_no_uplink_takes_it() -> None:
    made = planned("three-uplinks")
    assert [firewall.family for firewall in made.firewalls] == [4]
    assert {rule.family for rule in made.rules} == {4}
    assert not [sysctl for sysctl in made.sysctls if "ipv6" in sysctl.key]


def test_missing_interfaces_are_all_named() -> None:
    made = planned("nothing-there-yet")
    assert made.missing == ("lan7", "eth7")
    assert made.routes == ()
    assert "there is no interface eth7" in render(made)


def test_reverse_path_filters_that_are_off_stay_off() -> None:
    off = dataclasses.replace(HOST, sysctls=sysctls(**{"net/ipv4/conf/all/rp_filter": "0"}))
    keys = [sysctl.key for sysctl in planned("three-uplinks", off).sysctls]
    assert keys == ["net/ipv4/ip_forward"]


def test_a_filter_that_is_loose_already_only_learns_to_ask_by_the_mark() -> None:
    loose = dataclasses.replace(HOST, sysctls=sysctls(**{"net/ipv4/conf/all/rp_filter": "2"}))
    wanted = {sysctl.key: sysctl.value for sysctl in planned("three-uplinks", loose).sysctls}
    assert "net/ipv4/conf/eth0/rp_filter" not in wanted
    assert wanted["net/ipv4/conf/eth0/src_valid_mark"] == "1"


def test_unmarked_packets_are_routed_as_if_we_were_not_there() -> None:
    """Every rule asks for our mark, an address of an uplink, or a socket bound to one."""

    def concerns_an_uplink(rule: RoutingRule) -> bool:
        marked = rule.mark is not None and (rule.mark[0] != 0 or rule.inverted)
        return marked or rule.source is not None or rule.out_interface is not None

    for name in ("three-uplinks", "ipv6", "only-the-lan"):
        assert all(concerns_an_uplink(rule) for rule in planned(name).rules)


def test_own_flows_are_queued_on_every_path_of_a_multipath_default_route() -> None:
    defaults = (DefaultRoute(4, "eth0", "192.168.1.254"), DefaultRoute(4, "eth1", "172.16.0.1"))
    made = planned("three-uplinks", dataclasses.replace(HOST, defaults=defaults))
    [output] = [c.rules for f in made.firewalls for c in f.chains if c.name == "nfqc-output"]
    assert "-o eth0 -j nfqc-queue" in output
    assert "-o eth1 -j nfqc-queue" in output
    assert "-o eth2 -j MARK --set-xmark 0x300/0x3f00" in output
