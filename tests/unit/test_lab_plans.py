"""The lab's sums and addresses, which need no kernel."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address

import pytest
from distribution import deviation, outside_interval

from classifier.config import parse_policy
from classifier.errors import LabError
from classifier.lab.addresses import assign
from classifier.lab.deviation import largest_deviation
from classifier.lab.flows import FiveTuple, FlowGenerator
from classifier.lab.packets import datagram, syn
from classifier.lab.report import Promise, Report, Sent
from classifier.policy import Policy

EVEN = {"a": 1, "b": 1}


def policy(uplinks: str, rules: str = "", lan: str = '"lan0"') -> Policy:
    return parse_policy(
        f"[gateway]\nlan = [{lan}]\n[uplinks]\n{uplinks}\n{rules}\n[[rules]]\nuse = 'direct'\n"
    )


@pytest.mark.parametrize(
    ("order", "weights", "largest"),
    [
        ("abab", EVEN, 0.5),
        ("aabb", EVEN, 1.0),
        ("aaaa", EVEN, 2.0),
        ("abx", EVEN, 1.0),
        ("aaabbcaa", {"a": 5, "b": 2, "c": 1}, 1.125),
        ("", EVEN, 0.0),
    ],
)
def test_the_largest_deviation_is_seen_also_in_the_middle(
    order: str, weights: dict[str, int], largest: float
) -> None:
    assert largest_deviation(order, weights) == largest


def test_deviation_at_the_end_counts_uplinks_that_nobody_wanted() -> None:
    assert deviation({"a": 5, "b": 5}, EVEN) == 0
    assert deviation({"a": 5, "b": 4, "c": 1}, EVEN) == 1


def test_a_share_far_from_chance_is_outside_of_the_interval() -> None:
    assert outside_interval({"a": 520, "b": 480}, EVEN) == []
    assert outside_interval({"a": 560, "b": 440}, EVEN) == ["a", "b"]
    assert outside_interval({"a": 500, "b": 499, "c": 1}, EVEN) == ["c"]


def test_the_lan_keeps_away_from_the_networks_of_the_rules() -> None:
    uplinks = "wired = { interface = 'eth0', gateway = '192.168.1.254' }"
    assert assign(policy(uplinks)).lans[0].network.subnet_of(IPv4Network("10.0.0.0/8"))
    rule = "[[rules]]\nto = ['10.0.0.0/8', '172.16.0.0/12']\nuse = 'wired'"
    network = assign(policy(uplinks, rule)).lans[0].network
    assert not network.overlaps(IPv4Network("10.0.0.0/8"))
    assert not network.overlaps(IPv4Network("172.16.0.0/12"))


@pytest.mark.parametrize("gateway", ["192.168.1.254", "192.168.1.1", "10.0.0.3", "10.0.0.4"])
def test_the_gateway_gets_an_address_beside_its_isp(gateway: str) -> None:
    link = assign(policy(f"wired = {{ interface = 'eth0', gateway = '{gateway}' }}")).uplinks[0]
    network = IPv4Network((link.own, link.prefix), strict=False)
    assert link.isp == IPv4Address(gateway)
    assert {link.own, link.isp} <= set(network.hosts()) and link.own != link.isp


def test_two_isps_with_one_address_leave_the_gateway_two() -> None:
    links = assign(
        policy(
            "a = { interface = 'eth0', gateway = '192.168.1.1' }\n"
            "b = { interface = 'eth1', gateway = '192.168.1.1' }"
        )
    ).uplinks
    assert len({link.own for link in links}) == 2


def test_main_default_routes_are_those_that_a_gateway_would_have() -> None:
    links = assign(
        policy(
            "a = { interface = 'eth0', gateway = '192.168.1.1' }\n"
            "b = { interface = 'eth1', gateway = 'auto', gateway6 = 'fe80::1' }\n"
            "c = { interface = 'ppp0' }"
        )
    ).uplinks
    assert [link.main for link in links] == [True, True, False]
    assert [link.main6 for link in links] == [False, True, False]
    assert [link.point_to_point for link in links] == [False, False, True]
    assert links[1].isp6 == IPv6Address("fe80::1")
    assert links[1].own6 is not None and links[1].own6.is_link_local is False


def test_the_loopback_interface_is_refused_by_name() -> None:
    loop = policy("a = { interface = 'eth0', gateway = 'auto' }", lan='"lo"')
    with pytest.raises(LabError, match="interface lo"):
        assign(loop)


def test_generated_flows_differ_and_repeat_with_their_seed() -> None:
    addresses = assign(policy("a = { interface = 'eth0', gateway = 'auto' }"))
    one, same, other = (FlowGenerator(addresses, seed) for seed in (1, 1, 2))
    flows = one.make(2000, "tcp", [80, 443])
    assert len({(flow.sport, flow.dst) for flow in flows}) == len(flows)
    assert len({flow.dst for flow in flows}) == len(flows), "remotes do not repeat"
    assert same.make(2000, "tcp", [80, 443]) == flows != other.make(2000, "tcp", [80, 443])
    small = one.make(4, "udp", 53, to="192.0.2.8/30", source="10.9.9.9")
    assert {flow.dst for flow in small} == {"192.0.2.9", "192.0.2.10"}
    assert {flow.src for flow in small} == {"10.9.9.9"}


@pytest.mark.parametrize(("src", "dst"), [("10.0.0.1", "192.0.2.1"), ("fd00::1", "2001:2::1")])
@pytest.mark.parametrize("odd", [b"", b"x", b"xy"])
def test_packets_made_by_hand_have_the_checksums_that_scapy_computes(
    src: str, dst: str, odd: bytes
) -> None:
    inet = pytest.importorskip("scapy.layers.inet")
    inet6 = pytest.importorskip("scapy.layers.inet6")
    ip = inet6.IPv6 if ":" in src else inet.IP
    for packet in (datagram(FiveTuple(17, src, 7, dst, 9), odd), syn(FiveTuple(6, src, 7, dst, 9))):
        parsed = ip(packet)
        layer = parsed.payload
        given = (getattr(parsed, "chksum", None), layer.chksum)
        if ip is inet.IP:
            del parsed.chksum
        del layer.chksum
        again = ip(bytes(parsed))
        assert (getattr(again, "chksum", None), again.payload.chksum) == given
        assert bytes(again) == packet


def test_a_lab_has_held_unless_a_promise_was_broken() -> None:
    sent = (Sent("all", 4, {"a": 2.0, "b": 2.0}, {"a": 2, "b": 1}),)
    kept, skipped, broken = (Promise("p", held, "f") for held in (True, None, False))
    assert Report(("a", "b"), sent, (kept, skipped), (), 1.0).held
    report = Report(("a", "b"), sent, (kept, broken), (), 1.0)
    assert not report.held
    assert report.data()["sent"][0]["lost"] == 1
    assert [promise["held"] for promise in report.data()["promises"]] == [True, False]
