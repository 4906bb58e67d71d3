"""From a configuration and the snapshot of a host to the exact text of what would be changed.

Each configuration in plans/ has its text beside it. After a change that is meant, write them anew
with UPDATE_PLANS=1 and read the difference.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from classifier.config import load_policy
from classifier.config.gateway import HELPERS
from classifier.errors import HostError
from classifier.host import ct_helpers, snapshot_json
from classifier.host.diff import diff
from classifier.host.iptables.chains import chains
from classifier.host.iptables.snapshot import FirewallSnapshot
from classifier.host.plan import Plan, plan
from classifier.host.snapshot import Connected, DefaultRoute, Link, Snapshot
from classifier.host.state import RoutingRule

PLANS = Path(__file__).parent / "plans"


def link(index: int, name: str, *addresses: str, **more: bool) -> Link:
    return Link(name, index, addresses=addresses, **more)


def sysctls(**changed: str) -> dict[str, str]:
    """A host that forwards nothing, filters reverse paths strictly and takes router adverts."""
    values = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}
    for name in ("all", "default", "eth0", "eth1", "eth2", "wwan0", "lan0"):
        values[f"net/ipv4/conf/{name}/rp_filter"] = "0"
        values[f"net/ipv4/conf/{name}/src_valid_mark"] = "0"
        values[f"net/ipv6/conf/{name}/accept_ra"] = "1"
    values["net/ipv4/conf/all/rp_filter"] = "1"
    return values | changed


HOST = Snapshot(
    firewall=FirewallSnapshot("nft"),
    links=(
        link(1, "lo"),
        link(2, "eth0", "192.168.1.1/24", "2001:db8:1::7/64"),
        link(3, "eth1", "172.16.0.2/30", "172.16.9.9/32", "2001:db8:2::7/64"),
        link(4, "eth2", "10.64.0.2/24"),
        link(5, "eth3", "10.9.0.2/24", up=False),
        link(6, "wwan0", "100.64.3.4/32", point_to_point=True),
        link(7, "lan0", "10.1.0.1/16", "2001:db8:a::1/64"),
        link(8, "lan1", "10.2.0.1/16"),
    ),
    defaults=(
        DefaultRoute(4, "eth2", "10.64.0.1", metric=200),
        DefaultRoute(4, "eth0", "192.168.1.254", metric=100),
        DefaultRoute(6, "eth0", "fe80::1", metric=1024),
    ),
    connected=tuple(
        Connected(network, name)
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
    boot_id="00000000-0000-0000-0000-000000000000",
)


def planned(name: str, host: Snapshot = HOST) -> Plan:
    return plan(load_policy(PLANS / f"{name}.toml"), host)


def text_of(host: Snapshot, made: Plan) -> str:
    notes = [f"# {note}" for note in (*made.refusals, *made.warnings)]
    return "".join(f"{line}\n" for line in (*notes, *(step.text for step in diff(host, made))))


@pytest.mark.parametrize("name", sorted(path.stem for path in PLANS.glob("*.toml")))
def test_a_configuration_plans_exactly_these_changes(name: str) -> None:
    text = text_of(HOST, planned(name))
    expected = PLANS / f"{name}.txt"
    if os.environ.get("UPDATE_PLANS") == "1":
        expected.write_text(text)
    assert text == expected.read_text()


def test_a_snapshot_that_travelled_as_json_gives_the_same_text() -> None:
    travelled = snapshot_json.load(snapshot_json.dump(HOST), "host.json")
    assert travelled == HOST
    assert text_of(travelled, planned("ipv6", travelled)) == text_of(HOST, planned("ipv6"))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"links": 3}', '{"firewall": {"variant": "x"}}'])
def test_what_is_no_snapshot_is_one_clear_error(text: str) -> None:
    with pytest.raises(HostError, match=r"host\.json: not a snapshot of a host"):
        snapshot_json.load(text, "host.json")


def test_ipv6_of_the_host_is_left_alone_when_no_uplink_takes_it() -> None:
    made = planned("three-uplinks")
    assert [path.family for path in made.paths] == [4]
    assert {rule.family for rule in made.rules} == {4}
    assert not [sysctl for sysctl in made.sysctls if "ipv6" in sysctl.key]


def test_interfaces_that_may_come_later_are_waited_for() -> None:
    made = planned("nothing-there-yet")
    assert made.refusals == ()
    assert made.warnings[:2] == (
        'gateway.lan: this host has no interface "lan7": waiting for it',
        'uplinks.wired.interface: this host has no interface "eth7": waiting for it',
    )
    assert made.routes == ()


def test_with_none_of_its_interfaces_a_policy_is_refused_and_all_are_named() -> None:
    elsewhere = dataclasses.replace(HOST, links=(Link("lo", 1), Link("ens3", 2), Link("ens4", 3)))
    made = planned("nothing-there-yet", elsewhere)
    assert made.refusals[:2] == (
        'gateway.lan: this host has no interface "lan7"; it has ens3, ens4',
        'uplinks.wired.interface: this host has no interface "eth7"; it has ens3, ens4',
    )
    assert len(made.refusals) == 4


@pytest.mark.parametrize(
    ("gateway", "refusal"),
    [
        ("192.168.1.1", "is an address of this host (eth0); name the router's"),
        ("172.16.0.2", "is an address of this host (eth1); name the router's"),
        ("203.0.113.1", "is in none of the networks of eth0; correct it, or set"),
    ],
)
def test_a_gateway_that_cannot_be_one_is_refused(gateway: str, refusal: str) -> None:
    policy = load_policy(PLANS / "three-uplinks.toml")
    wired = dataclasses.replace(policy.uplinks[0], gateway=gateway)
    wrong = dataclasses.replace(policy, uplinks=(wired, *policy.uplinks[1:]))
    [told] = plan(wrong, HOST).refusals
    assert told.startswith(f"uplinks.wired.gateway = {gateway}: {refusal}")


def test_a_gateway_outside_the_networks_is_taken_when_the_file_says_so() -> None:
    policy = load_policy(PLANS / "three-uplinks.toml")
    wired = dataclasses.replace(policy.uplinks[0], gateway="203.0.113.1", onlink=True)
    made = plan(dataclasses.replace(policy, uplinks=(wired, *policy.uplinks[1:])), HOST)
    assert made.refusals == ()
    assert made.routes[0].onlink


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
    """Every rule asks for our mark, an address of an uplink, or a socket bound to one, or is for
    own packets and comes after table default."""

    def concerns_an_uplink(rule: RoutingRule) -> bool:
        marked = rule.mark is not None and (rule.mark[0] != 0 or rule.inverted)
        last = rule.priority > 32767 and rule.in_interface == "lo"
        return last or marked or rule.source is not None or rule.out_interface is not None

    for name in ("three-uplinks", "ipv6", "only-the-lan"):
        assert all(concerns_an_uplink(rule) for rule in planned(name).rules)


def output_of(made: Plan) -> tuple[str, ...]:
    """The rules of IPv4's nfqc-output."""
    [output] = (c.rules for c in chains(made.paths[0]).chains if c.name == "nfqc-output")
    return output


def test_own_flows_are_queued_on_every_path_of_a_multipath_default_route() -> None:
    defaults = (DefaultRoute(4, "eth0", "192.168.1.254"), DefaultRoute(4, "eth1", "172.16.0.1"))
    output = output_of(planned("three-uplinks", dataclasses.replace(HOST, defaults=defaults)))
    assert "-o eth0 -j nfqc-queue" in output
    assert "-o eth1 -j nfqc-queue" in output
    assert "-o eth2 -j MARK --set-xmark 0x300/0x3f00" in output


def last_rules(made: Plan) -> list[str]:
    return [str(rule) for rule in made.rules if rule.family == 4 and rule.priority > 32767]


def test_the_first_lookup_of_own_packets_finds_an_uplink_in_the_order_of_the_policy() -> None:
    policy = load_policy(PLANS / "three-uplinks.toml")
    turned = dataclasses.replace(policy, uplinks=tuple(reversed(policy.uplinks)))
    assert last_rules(plan(turned, HOST)) == [
        f"pref {40801 + place} fwmark 0x0/0x3f00 iif lo lookup {table} protocol 78"
        for place, table in enumerate((20803, 20802, 20801))
    ]
    forwarding_only = dataclasses.replace(policy.gateway, local=False)
    assert last_rules(plan(dataclasses.replace(policy, gateway=forwarding_only), HOST)) == []


def test_without_a_default_route_own_flows_are_classified_where_their_first_lookup_leads() -> None:
    links = tuple(dataclasses.replace(one, up=one.up and one.name != "eth0") for one in HOST.links)
    made = planned("three-uplinks", dataclasses.replace(HOST, links=links, defaults=()))
    assert "-o eth1 -d 192.168.1.0/24 -j RETURN" in output_of(made), "what is not classified"
    assert tuple(
        rule for rule in output_of(made) if rule.startswith("-o") and " -d " not in rule
    ) == (
        "-o eth0 -j MARK --set-xmark 0x100/0x3f00",
        # Both: it stays there when nobody decides.
        "-o eth1 -j MARK --set-xmark 0x200/0x3f00",
        "-o eth1 -j nfqc-queue",
        "-o eth2 -j MARK --set-xmark 0x300/0x3f00",
    )
    direct = "fwmark 0x3f00/0x3f00"
    assert [str(rule) for rule in made.rules if direct in str(rule)] == [
        f"pref 20803 {direct} goto 20805 protocol 78",
        f"pref 20805 {direct} lookup main suppress_prefixlength 0 protocol 78",
    ]
    assert made.warnings[-1] == (
        "the main table has no IPv4 default route: flows that are direct, and forwarded ones that"
        " no classifier answers, have no way out"
    )


def test_without_a_default_route_and_own_flows_nothing_else_is_planned() -> None:
    policy = load_policy(PLANS / "three-uplinks.toml")
    forwarding_only = dataclasses.replace(policy.gateway, local=False)
    made = dataclasses.replace(policy, gateway=forwarding_only)
    usual, without = plan(made, HOST), plan(made, dataclasses.replace(HOST, defaults=()))
    assert without.rules == usual.rules
    assert output_of(without) == output_of(usual)


def test_every_helper_that_a_file_may_name_is_known_to_the_host() -> None:
    assert set(HELPERS) == set(ct_helpers.NAMES)
