"""Another policy for an engine that is at work."""

from __future__ import annotations

import struct
import threading
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from classifier.engine.engine import Engine
from classifier.engine.interfaces import LARGEST_NUMBER, numbered
from classifier.errors import UsageError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

WIRED = Uplink("wired", 1, "up1", gateway6="auto")
WIFI = Uplink("wifi", 2, "up2", gateway6="auto")
LTE = Uplink("lte", 3, "up3", gateway6="auto")


def policy(*uplinks: Uplink, sticky: Sticky | None = None, rules: tuple[Rule, ...] = ()) -> Policy:
    members = tuple(Member(uplink.name, 1) for uplink in uplinks)
    balancer = Balancer("all", "nth", members, sticky)
    rest = Rule("rest", "all")
    return Policy(Gateway(lan=("lan0",)), Queue(), uplinks, (balancer,), (*rules, rest))


def udp(flow: int = 1, remote: str = "8.8.8.8") -> bytes:
    addresses = ip_address("10.0.0.5").packed + ip_address(remote).packed
    ip = struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0) + addresses
    return ip + struct.pack(">HHHH", 1000 + flow, 53, 8, 0)


def test_a_new_uplink_takes_flows_only_when_it_is_said_to_be_usable():
    engine = Engine(policy(WIRED), 1)
    engine.replace_policy(policy(WIRED, WIFI, LTE), {"lte": (True, False)})
    assert engine.usable_families("wired") == (True, True)
    assert engine.usable_families("wifi") == (False, False)
    assert engine.usable_families("lte") == (True, False)
    assert {engine.classify(udp(n), 0).uplink for n in range(9)} == {"wired", "lte"}


def test_an_uplink_that_is_down_stays_down_over_a_reload():
    engine = Engine(policy(WIRED, WIFI), 1)
    engine.set_usable("wifi", False, True)
    engine.replace_policy(policy(WIFI, WIRED, LTE))
    assert engine.usable_families("wifi") == (False, True)


def test_flows_of_one_uplink_are_decided_anew_after_it_forgot_them_and_others_are_not():
    engine = Engine(policy(WIRED, WIFI), 1)
    before = {n: engine.classify(udp(n), 0).uplink for n in range(4)}
    engine.forget_in_flight("wifi")
    reasons = {n: engine.classify(udp(n), 0).reason for n in range(4)}
    assert reasons == {n: "in-flight" if up == "wired" else "nth" for n, up in before.items()}
    assert {engine.classify(udp(n), 0).reason for n in range(4)} == {"in-flight"}
    with pytest.raises(UsageError):
        engine.forget_in_flight("lte")


def test_an_uplink_that_loses_ipv6_in_the_file_takes_no_ipv6_flows():
    engine = Engine(policy(WIRED), 1)
    engine.replace_policy(policy(replace(WIRED, gateway6=None)), {"wired": (True, True)})
    assert engine.usable_families("wired") == (True, False)


def test_an_id_that_another_uplink_has_now_sends_no_flow_of_the_old_one_there():
    sticky = Sticky()
    engine = Engine(policy(WIRED, sticky=sticky), 1)
    assert engine.classify(udp(), 0).uplink == "wired"
    other = replace(WIFI, id=1)
    engine.replace_policy(policy(other, sticky=sticky), {"wifi": (True, True)})
    again = engine.classify(udp(), 0)
    assert (again.uplink, again.reason) == ("wifi", "nth")
    assert engine.counters().uplinks == {"wifi": 1}


def test_a_flow_in_flight_says_the_rule_that_took_it_wherever_that_stands_now():
    engine = Engine(policy(WIRED, rules=(Rule("dns", "wired", to_ports=((53, 53),)),)), 1)
    assert engine.classify(udp(), 0).rule == "dns"
    first = Rule("first", "direct", to=(ip_network("9.0.0.0/8"),))
    engine.replace_policy(policy(WIRED, rules=(first, Rule("dns", "direct"))))
    again = engine.classify(udp(), 0)
    assert (again.uplink, again.rule, again.reason) == ("wired", "dns", "in-flight")
    engine.replace_policy(policy(WIRED))
    assert engine.classify(udp(), 0).rule is None


def test_a_changed_timeout_counts_from_the_next_use():
    engine = Engine(policy(WIRED, WIFI, sticky=Sticky(timeout=100)), 1)
    engine.classify(udp(1), 0)
    engine.replace_policy(policy(WIRED, WIFI, sticky=Sticky(timeout=10)))
    assert engine.classify(udp(2), 90_000).reason == "sticky"
    assert engine.classify(udp(3), 100_000).reason == "nth"


@pytest.mark.parametrize(
    "change", [{"by": "local"}, {"prefix4": 24}, {"prefix6": 64}, {"size": 100}]
)
def test_a_table_whose_key_or_size_changes_begins_empty(change):
    engine = Engine(policy(WIRED, WIFI, sticky=Sticky()), 1)
    engine.classify(udp(1), 0)
    engine.replace_policy(policy(WIRED, WIFI, sticky=replace(Sticky(), **change)))
    assert engine.counters().sticky_entries == 0
    assert engine.classify(udp(2), 0).reason == "nth"


def bad_policies() -> list[tuple[Policy, dict[str, tuple[bool, bool]], type[Exception], str]]:
    huge = policy(WIRED, sticky=Sticky(size=2**57))
    weight = replace(policy(WIRED), balancers=(Balancer("all", "nth", (Member("wired", 0),)),))
    return [
        (policy(WIRED, replace(WIFI, id=1)), {}, UsageError, "id 1 is that of wired"),
        (weight, {}, UsageError, "weight 0 of wired"),
        (huge, {}, MemoryError, f"{2**57} entries"),
        (policy(WIRED), {"wifi": (True, True)}, UsageError, "no uplink 'wifi'"),
    ]


@pytest.mark.parametrize(("bad", "usable", "error", "message"), bad_policies())
def test_a_policy_that_is_refused_changes_nothing(bad, usable, error, message):
    good = policy(WIRED, WIFI, sticky=Sticky())
    engine = Engine(good, 1)
    first = engine.classify(udp(1), 0)
    before = engine.counters()
    with pytest.raises(error, match=message):
        engine.replace_policy(bad, usable)
    assert engine.policy is good
    assert engine.counters() == before
    assert engine.classify(udp(1), 0) == replace(first, reason="in-flight")
    assert engine.classify(udp(2), 0).reason == "sticky"


def test_a_packet_numbered_before_a_reload_is_not_taken_for_another_interface():
    def guests(*interfaces: str) -> Policy:
        return policy(WIRED, rules=(Rule("guests", "drop", in_interfaces=interfaces),))

    engine = Engine(guests("guest"), 1)
    guest, lan = engine.interface_number("guest"), engine.interface_number("lan0")
    engine.replace_policy(guests("aaa", "bbb", "guest"))
    assert (engine.interface_number("guest"), engine.interface_number("lan0")) == (guest, lan)
    engine.replace_policy(guests("aaa"))
    assert engine.interface_number("guest") == 0
    assert engine.decide_one(udp(1), guest, -1, 0) == (0, 0x100)
    assert engine.decide_one(udp(2), engine.interface_number("aaa"), -1, 0) == (1, 0)
    engine.replace_policy(guests("guest", "zzz"))
    assert engine.interface_number("guest") == guest


def test_numbers_of_interfaces_are_given_again_only_when_there_are_no_others():
    many = {f"veth{n}": n for n in range(2, LARGEST_NUMBER + 1)}
    one = policy(WIRED, rules=(Rule("more", "direct", in_interfaces=("new",)),))
    assert numbered(policy(WIRED), many)["lan0"] == 1
    again = numbered(one, {"lan0": 1, **many})
    assert again == {"lan0": 1, "new": 2}


def test_too_many_interfaces_are_refused():
    names = tuple(f"veth{n}" for n in range(LARGEST_NUMBER))
    engine = Engine(policy(WIRED), 1)
    with pytest.raises(UsageError, match="must be at most 65535"):
        engine.replace_policy(policy(WIRED, rules=(Rule("many", "direct", in_interfaces=names),)))
    assert engine.interface_number("lan0") == 1


def test_every_decision_of_a_thread_is_right_by_one_policy_while_they_are_replaced():
    """Two threads decide without the GIL; wired is in all policies, lte and wifi take turns."""
    sticky = Sticky(size=500)
    host = Rule("host", "wired", from_=(ip_network("10.0.0.5"),), to=(ip_network("9.9.9.9"),))
    first = policy(WIRED, WIFI, sticky=sticky, rules=(host,))
    second = policy(LTE, WIRED, sticky=sticky, rules=(Rule("new", "drop", dscp=(3,)), host))
    third = policy(WIRED, sticky=Sticky(size=700))
    engine = Engine(first, 1)
    stop = threading.Event()
    both_decide = threading.Barrier(3)
    broken: list[object] = []
    decided = [0, 0]

    def decide(thread: int) -> None:
        packets = [udp(n, f"8.8.{thread}.{n % 250}") for n in range(1000)]
        pinned = udp(1, "9.9.9.9")
        both_decide.wait(60)
        while not stop.is_set():
            for packet in packets:
                action, mark = engine.decide_one(packet, 0, -1, decided[thread])
                if action != 0 or mark not in (0x100, 0x200, 0x300):
                    broken.append((action, mark))
                decided[thread] += 1
            seen = engine.classify(pinned, decided[thread])
            if seen.uplink != "wired":
                broken.append(seen)

    threads = [threading.Thread(target=decide, args=(n,), daemon=True) for n in range(2)]
    for thread in threads:
        thread.start()
    both_decide.wait(60)
    usable = (True, True)
    for _ in range(334):
        engine.replace_policy(second, {"lte": usable})
        engine.replace_policy(third)
        engine.replace_policy(first, {"wifi": usable})
    stop.set()
    for thread in threads:
        thread.join(60)
    counters = engine.counters()
    assert not broken
    assert min(decided) >= 1000
    assert counters.packets >= sum(decided)
    assert counters.sticky_entries <= counters.sticky_size == 500


def test_all_entries_of_an_uplink_that_goes_down_are_forgotten_at_once_and_for_good():
    """Though they are in the table still: forgetting them is no walk through it."""
    engine = Engine(policy(WIRED, WIFI, sticky=Sticky(size=200_000)), 1)
    packets = [udp(1, f"8.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(20_000)]
    engine.classify_many(packets, 0)
    assert engine.counters().sticky_entries == 20_000
    engine.set_usable("wifi", False, False)
    assert engine.counters().sticky_entries == 10_000
    engine.set_usable("wifi", True, True)
    assert engine.classify(udp(2, "8.0.0.1"), 10_000).reason == "nth"
    # Each entry is remembered again, by way of a table that has room for more.
    reasons = [d.reason for d in engine.classify_many(packets, 10_000)]
    assert reasons.count("nth") == 10_000 - 1
    assert engine.counters().sticky_entries == 20_000


def test_an_uplink_that_flaps_more_often_than_there_are_tags_is_always_forgotten():
    engine = Engine(policy(WIRED, sticky=Sticky(size=100_000)), 1)
    for flap in range(1500):
        now = 10_000 * flap if flap < 20 else 200_000
        remote = f"8.8.{flap >> 8}.{flap & 255}"
        assert engine.classify(udp(1, remote), now).reason == "nth"
        assert engine.classify(udp(2, remote), now).reason == "sticky"
        engine.set_usable("wired", False, True)
        assert engine.counters().sticky_entries == 0
        engine.set_usable("wired", True, True)
        assert engine.classify(udp(3, remote), now).reason == "nth"
        assert engine.classify(udp(4, remote), now).reason == "sticky"


def test_forgotten_entries_give_their_room_to_new_ones():
    size = 1000
    engine = Engine(policy(WIRED, WIFI, sticky=Sticky(size=size)), 1)
    old = [udp(1, f"8.8.{n >> 8}.{n & 255}") for n in range(size)]
    new = [udp(1, f"9.9.{n >> 8}.{n & 255}") for n in range(size)]
    engine.classify_many(old, 0)
    engine.classify_many([udp(2, f"8.8.{n >> 8}.{n & 255}") for n in range(size)], 0)
    engine.set_usable("wifi", False, False)
    engine.classify_many(new[: size // 2], 0)
    kept = [engine.classify(udp(3, f"9.9.{n >> 8}.{n & 255}"), 0).reason for n in range(size // 2)]
    assert kept == ["sticky"] * (size // 2)
