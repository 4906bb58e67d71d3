"""The engine, feature by feature."""

from __future__ import annotations

import threading
from dataclasses import replace
from ipaddress import ip_network

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.packet import Packet as ScapyPacket

from classifier import Classifier
from classifier.engine.engine import Engine
from classifier.errors import UsageError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = (
    Uplink("wired", 1, "eth0", gateway6="auto"),
    Uplink("wifi1", 2, "eth1"),
    Uplink("wifi2", 3, "eth2", gateway6="auto"),
)
ALL = tuple(Member(uplink.name, 1) for uplink in UPLINKS)
DIRECT_MARK = 0x3F00


def policy(*rules: Rule, balancers: tuple[Balancer, ...] = ()) -> Policy:
    balancers = balancers or (Balancer("all", "nth", ALL),)
    return Policy(Gateway(lan=("lan0",)), Queue(), UPLINKS, balancers, rules)


def sticky_policy(**changes: object) -> Policy:
    sticky = replace(Sticky("remote", timeout=600), **changes)  # type: ignore[arg-type]
    return policy(Rule("rest", "all"), balancers=(Balancer("all", "nth", ALL, sticky),))


def tcp(dst: str = "8.8.8.8", dport: int = 443, sport: int = 40000, src: str = "10.0.0.5") -> bytes:
    ip: ScapyPacket = IPv6(src=src, dst=dst) if ":" in dst else IP(src=src, dst=dst)
    return bytes(ip / TCP(sport=sport, dport=dport))


def udp(dst: str = "8.8.8.8", dport: int = 53, sport: int = 40000) -> bytes:
    return bytes(IP(src="10.0.0.5", dst=dst) / UDP(sport=sport, dport=dport))


def test_a_flow_that_no_rule_takes_is_direct():
    decision = Classifier(policy(), seed=1).classify(tcp(), 0.0)
    assert (decision.uplink, decision.rule, decision.reason) == (None, None, "direct")
    assert decision.mark == DIRECT_MARK


def test_the_first_rule_that_matches_takes_the_flow():
    rules = (
        Rule("home", "direct", to=(ip_network("192.168.0.0/16"),)),
        Rule("interactive", "wired", protocols=(6,), to_ports=((21, 22), (443, 443))),
        Rule("rest", "wifi2"),
    )
    c = Classifier(policy(*rules), seed=1)
    assert c.classify(tcp("192.168.3.4"), 0.0).rule == "home"
    assert c.classify(tcp(dport=22), 0.0).rule == "interactive"
    assert c.classify(udp(dport=443), 0.0).rule == "rest"
    assert c.classify(tcp(dport=23), 0.0).mark == 3 << 8
    assert c.counters().rules == (1, 1, 2)


def test_rules_for_ports_leave_packets_without_ports_alone():
    c = Classifier(policy(Rule("ports", "drop", to_ports=((0, 65535),)), Rule("rest", "wired")), 1)
    ping = bytes(IP(src="10.0.0.5", dst="8.8.8.8") / ICMP(id=443))
    assert c.classify(ping, 0.0).rule == "rest"
    assert c.classify(udp(dport=0, sport=0), 0.0).rule == "ports"


def test_rules_for_interfaces_and_users_need_to_know_them():
    rules = (
        Rule("guests", "wifi1", in_interfaces=("guest",)),
        Rule("backup", "wifi2", users=(0, 34)),
        Rule("rest", "wired"),
    )
    c = Classifier(policy(*rules), seed=1)
    taken = [
        c.classify(tcp(sport=1), 0.0, "guest").rule,
        c.classify(tcp(sport=2), 0.0, "lan0").rule,
        c.classify(tcp(sport=3), 0.0, "never-heard-of").rule,
        c.classify(tcp(sport=4), 0.0, user=34).rule,
        c.classify(tcp(sport=5), 0.0, user=35).rule,
        c.classify(tcp(sport=6), 0.0).rule,
    ]
    assert taken == ["guests", "rest", "rest", "backup", "rest", "rest"]
    assert c.engine.interface_number("guest") > 0
    assert c.engine.interface_number("lan0") > 0
    assert c.engine.interface_number("never-heard-of") == 0


def test_a_rule_whose_uplink_is_down_falls_through_unless_it_is_strict():
    rules = (
        Rule("loose", "wifi1", to_ports=((80, 80),)),
        Rule("strict", "wifi1", strict=True, to_ports=((443, 443),)),
        Rule("rest", "wired"),
    )
    c = Classifier(policy(*rules), seed=1)
    assert c.classify(tcp(dport=80), 0.0).reason == "pinned"
    c.set_up("wifi1", False)
    loose, strict = c.classify(tcp(dport=80, sport=2), 0.0), c.classify(tcp(dport=443), 0.0)
    assert (loose.rule, loose.uplink) == ("rest", "wired")
    assert (strict.rule, strict.uplink, strict.reason, strict.mark) == ("strict", None, "drop", 0)
    c.set_up("wifi1", True)
    assert c.classify(tcp(dport=443, sport=2), 0.0).uplink == "wifi1"


def test_ipv6_flows_use_only_uplinks_that_have_ipv6():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    used = {c.classify(tcp("2001:db8::1", sport=n, src="fd00::5"), 0.0).uplink for n in range(50)}
    assert used == {"wired", "wifi2"}
    c.set_up("wifi1", True)
    assert c.engine.usable_families("wifi1") == (True, False)


@pytest.mark.parametrize(
    ("fallback", "uplink", "reason", "mark"),
    [
        ("direct", None, "fallback", DIRECT_MARK),
        ("drop", None, "drop", 0),
        ("wifi2", "wifi2", "fallback", 0x300),
        ("other", "wifi2", "fallback", 0x300),
    ],
)
def test_the_fallback_takes_what_no_uplink_of_the_balancer_can(fallback, uplink, reason, mark):
    balancers = (
        Balancer("all", "nth", ALL[:2], Sticky(), fallback=fallback),
        Balancer("other", "nth", ALL[2:], Sticky()),
    )
    c = Classifier(policy(Rule("rest", "all"), balancers=balancers), seed=1)
    c.set_up("wired", False)
    c.set_up("wifi1", False)
    decision = c.classify(tcp(), 0.0)
    assert (decision.uplink, decision.reason, decision.mark) == (uplink, reason, mark)
    assert decision.rule == "rest"


def test_a_fallback_uplink_that_is_down_leaves_the_flow_direct():
    balancers = (Balancer("all", "nth", ALL[:1], fallback="wifi2"),)
    c = Classifier(policy(Rule("rest", "all"), balancers=balancers), seed=1)
    c.set_up("wired", False)
    c.set_up("wifi2", False)
    decision = c.classify(tcp(), 0.0)
    assert (decision.uplink, decision.reason) == (None, "fallback")


def test_a_cycle_of_fallbacks_ends():
    balancers = (
        Balancer("all", "nth", ALL[:1], fallback="other"),
        Balancer("other", "hash", ALL[:1], fallback="all"),
    )
    c = Classifier(policy(Rule("rest", "all"), balancers=balancers), seed=1)
    c.set_up("wired", False)
    assert c.classify(tcp(), 0.0).reason == "fallback"


def test_packets_of_one_flow_in_the_same_moment_stay_together():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    decisions = c.classify_many([udp()] * 10 + [udp(sport=1)] * 10, 0.0)
    assert len({d.uplink for d in decisions[:10]}) == len({d.uplink for d in decisions[10:]}) == 1
    assert [d.reason for d in decisions] == (["nth"] + ["in-flight"] * 9) * 2
    assert {d.rule for d in decisions} == {"rest"}
    assert c.counters().in_flight == 18
    assert sum(c.counters().uplinks.values()) == 2


def test_a_flow_in_flight_is_decided_anew_after_five_seconds():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    c.classify(udp(), 100.0)
    assert c.classify(udp(), 104.999).reason == "in-flight"
    assert c.classify(udp(), 105.0).reason == "nth"


def test_a_flow_in_flight_on_an_uplink_that_went_down_is_decided_anew():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    first = c.classify(udp(), 0.0)
    c.set_up(str(first.uplink), False)
    again = c.classify(udp(), 0.0)
    assert again.uplink not in (None, first.uplink)
    assert c.classify(udp(), 0.0) == replace(again, reason="in-flight")


@pytest.mark.parametrize(("use", "mark"), [("direct", DIRECT_MARK), ("drop", 0)])
def test_flows_left_alone_or_dropped_are_in_flight_too(use, mark):
    c = Classifier(policy(Rule("rule", use)), seed=1)
    assert c.classify(udp(), 0.0).reason == use
    again = c.classify(udp(), 0.0)
    assert (again.uplink, again.rule, again.reason, again.mark) == (None, "rule", "in-flight", mark)


def test_a_remote_keeps_its_uplink_as_long_as_it_is_visited():
    c = Classifier(sticky_policy(timeout=600), seed=1)
    first = c.classify(tcp(sport=1), 0.0)
    for visit in range(2, 50):
        decision = c.classify(tcp(sport=visit), 599.0 * (visit - 1))
        assert (decision.uplink, decision.reason) == (first.uplink, "sticky")
    assert c.classify(tcp(sport=50), 599.0 * 48 + 600.0).reason == "nth"


@pytest.mark.parametrize(
    ("by", "same_remote", "same_host"),
    [("remote", True, False), ("local", False, True), ("local+remote", False, False)],
)
def test_what_a_sticky_entry_goes_by(by, same_remote, same_host):
    c = Classifier(sticky_policy(by=by), seed=1)
    c.classify(tcp("8.8.8.8", src="10.0.0.1"), 0.0)
    other_host = c.classify(tcp("8.8.8.8", src="10.0.0.2"), 0.0)
    assert (other_host.reason == "sticky") == same_remote
    c = Classifier(sticky_policy(by=by), seed=1)
    c.classify(tcp("8.8.8.8", src="10.0.0.1"), 0.0)
    other_remote = c.classify(tcp("8.8.4.4", src="10.0.0.1"), 0.0)
    assert (other_remote.reason == "sticky") == same_host
    assert c.classify(tcp("8.8.8.8", src="10.0.0.1", sport=9), 0.0).reason == "sticky"


def test_sticky_entries_of_an_uplink_that_goes_down_are_forgotten():
    c = Classifier(sticky_policy(), seed=1)
    first = str(c.classify(tcp(), 0.0).uplink)
    c.classify_many([tcp(f"9.9.9.{n}") for n in range(90)], 0.0)
    assert c.counters().sticky_entries == 91
    c.set_up(first, False)
    assert c.counters().sticky_entries == 60
    c.set_up(first, True)
    assert c.classify(tcp(sport=2), 0.0).reason == "nth"


def test_sticky_flows_do_not_move_the_turns():
    c = Classifier(sticky_policy(), seed=1)
    placed = []
    for n in range(9):
        placed.append(c.classify(tcp(f"9.9.9.{n}"), 0.0).uplink)
        for sport in range(1, 5):
            assert c.classify(tcp("9.9.9.0", sport=sport + 10 * n), 0.0).reason == "sticky"
    assert placed == ["wired", "wifi1", "wifi2"] * 3


def test_malformed_packets_are_left_untouched_and_counted():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    for data in (b"", b"\x45", tcp()[:39]):
        decision = c.classify(data, 0.0)
        assert (decision.uplink, decision.rule, decision.mark) == (None, None, 0)
        assert decision.reason == "malformed"
    counters = c.counters()
    assert (counters.packets, counters.malformed, counters.direct) == (3, 3, 0)


def test_time_that_goes_back_stands_still():
    c = Classifier(sticky_policy(timeout=10), seed=1)
    c.classify(tcp(sport=1), 1000.0)
    assert c.classify(tcp(sport=2), 5.0).reason == "sticky"
    assert c.classify(tcp(sport=3), 1009.9).reason == "sticky"


def test_the_same_seed_repeats_everything_and_no_seed_does_not():
    balancers = (Balancer("all", "weighted", ALL),)
    packets = [udp(sport=n) for n in range(100)]
    p = policy(Rule("rest", "all"), balancers=balancers)
    assert Classifier(p, 5).classify_many(packets, 0.0) == Classifier(p, 5).classify_many(
        packets, 0.0
    )
    assert Classifier(p).classify_many(packets, 0.0) != Classifier(p).classify_many(packets, 0.0)


def test_an_uplink_that_is_not_in_the_policy_cannot_be_set():
    c = Classifier(policy(), seed=1)
    with pytest.raises(UsageError, match="no uplink 'lte'"):
        c.set_up("lte", True)
    with pytest.raises(UsageError, match="no uplink 'lte'"):
        c.engine.set_usable_families({"wired": (False, False), "lte": (True, True)})
    assert c.engine.usable_families("wired") == (True, True)


def test_thousands_of_rules_are_matched_in_their_order():
    rules = [
        Rule(
            f"net {n}", "wired" if n % 2 else "wifi1", to=(ip_network((0x0B000000 + n * 256, 24)),)
        )
        for n in range(3000)
    ]
    rules.insert(1500, Rule("early", "wifi2", to=(ip_network("11.0.8.0/21"),)))
    rules.append(Rule("late", "wifi2", to=(ip_network("11.0.0.0/8"),)))
    c = Classifier(policy(*rules), seed=1)
    assert c.classify(tcp("11.0.8.1"), 0.0).rule == "net 8"
    assert c.classify(tcp("11.11.183.1"), 0.0).rule == "net 2999"
    assert c.classify(tcp("11.11.184.1"), 0.0).rule == "late"
    c.set_up("wifi1", False)
    assert c.classify(tcp("11.0.8.2"), 0.0).rule == "early"
    assert c.classify(tcp("11.0.7.2"), 0.0).rule == "net 7"


def test_ten_thousand_networks_in_one_rule_match_exactly():
    networks = tuple(ip_network((0x0B000000 + n * 512, 24)) for n in range(10_000))
    c = Classifier(policy(Rule("list", "wired", to=networks), Rule("rest", "wifi2")), seed=1)
    for n in range(0, 10_000, 97):
        inside, outside = 0x0B000000 + n * 512 + 255, 0x0B000000 + n * 512 + 256
        for address, rule in ((inside, "list"), (outside, "rest")):
            dst = ".".join(str(octet) for octet in address.to_bytes(4))
            assert c.classify(tcp(dst), 0.0).rule == rule


def test_threads_that_share_an_engine_share_its_turns():
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    batches = [[udp(sport=n, dport=t) for n in range(1, 2001)] for t in range(4)]
    threads = [
        threading.Thread(target=c.classify_many, args=(batch, 0.0), daemon=True)
        for batch in batches
    ]
    for thread in threads:
        thread.start()
    for state in (False, True) * 20:
        c.engine.set_usable("wired", True, state)
    for thread in threads:
        thread.join(60)
    assert c.counters().packets == 8000
    flows = c.counters().uplinks.values()
    assert max(flows) - min(flows) <= 1


def test_an_engine_for_few_flows_still_keeps_the_newest_in_flight():
    engine = Engine(policy(Rule("rest", "all")), 1, in_flight=3)
    for n in range(500):
        assert engine.classify(udp(sport=n), 0).reason == "nth"
        assert engine.classify(udp(sport=n), 0).reason == "in-flight"


@pytest.mark.parametrize("seed", [-1, -(2**200), 2**200, 2**64 - 1, 0])
def test_any_integer_is_a_seed(seed):
    packets = [udp(sport=n) for n in range(20)]
    decisions = Classifier(sticky_policy(), seed).classify_many(packets, 0.0)
    assert decisions == Classifier(sticky_policy(), seed).classify_many(packets, 0.0)


def test_an_entry_that_is_to_live_forever_does_not_end_at_once():
    c = Classifier(sticky_policy(timeout=1.8e16), seed=1)
    c.classify(tcp(sport=1), 1e9)
    assert c.classify(tcp(sport=2), 1e9 + 1e8).reason == "sticky"


def test_the_end_of_time_is_a_time_like_any_other():
    for moment in (1e14, 1.8e16, 1e300):
        c = Classifier(sticky_policy(), seed=1)
        assert c.classify(tcp(sport=1), moment).reason == "nth"
        assert c.classify(tcp(sport=1), moment).uplink is not None


@pytest.mark.parametrize("moment", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_time_is_refused(moment):
    c = Classifier(policy(Rule("rest", "all")), seed=1)
    with pytest.raises(UsageError, match="now"):
        c.classify(tcp(), moment)
    with pytest.raises(UsageError, match="now"):
        c.classify_many([tcp()], moment)
    assert c.counters().packets == 0


@pytest.mark.parametrize("weight", [0, -1, 2**48 + 1, 2**62, 2**70])
@pytest.mark.parametrize("method", ["nth", "weighted", "hash"])
def test_a_weight_that_no_share_can_be_made_of_is_refused(method, weight):
    balancer = Balancer("all", method, (Member("wired", weight), Member("wifi1", weight)))
    with pytest.raises(UsageError, match=f"balancer all: weight {weight} of wired"):
        Classifier(policy(Rule("rest", "all"), balancers=(balancer,)), seed=1)


@pytest.mark.parametrize("number", [0, -1, -200_000, 62, 254, 256, 2**40])
def test_an_uplink_whose_mark_has_no_room_under_the_mask_is_refused(number):
    uplinks = (replace(UPLINKS[0], id=number), *UPLINKS[1:])
    with pytest.raises(UsageError, match=f"uplink wired: id {number}"):
        Engine(replace(policy(Rule("rest", "all")), uplinks=uplinks), 1)


def test_two_uplinks_with_one_id_are_refused():
    uplinks = (UPLINKS[0], replace(UPLINKS[1], id=1), UPLINKS[2])
    with pytest.raises(UsageError, match="uplink wifi1: id 1 is that of wired"):
        Engine(replace(policy(Rule("rest", "all")), uplinks=uplinks), 1)


@pytest.mark.parametrize("size", [2**57, 2**58, 2**62])
def test_a_table_larger_than_any_memory_is_refused(size):
    with pytest.raises(MemoryError, match=f"{size} entries"):
        Engine(policy(Rule("rest", "all")), 1, in_flight=size)
    with pytest.raises(MemoryError, match=f"{size} entries"):
        Classifier(sticky_policy(size=size), seed=1)


def test_as_many_uplinks_as_there_can_be_share_by_the_largest_weights():
    uplinks = tuple(Uplink(f"u{n}", n, f"eth{n}") for n in range(1, 254))
    for method in ("nth", "weighted", "hash"):
        members = tuple(Member(u.name, 65535 - u.id % 2) for u in uplinks)
        balancer = Balancer("all", method, members)
        gateway = Gateway(mask=0xFF00)
        c = Classifier(Policy(gateway, Queue(), uplinks, (balancer,), (Rule("rest", "all"),)), 1)
        decisions = c.classify_many([udp(f"8.8.{n % 256}.{n >> 8}") for n in range(2530)], 0.0)
        assert {d.mark for d in decisions} <= {u.id << 8 for u in uplinks}
        flows = c.counters().uplinks.values()
        assert sum(flows) == 2530
        if method == "nth":
            assert max(flows) - min(flows) <= 2
        c.set_up("u253", False)
        assert c.classify(tcp("9.9.9.9"), 0.0).uplink not in (None, "u253")
