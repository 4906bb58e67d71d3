"""Sticky entries and turns that go on after a restart."""

from __future__ import annotations

import struct
import threading
from dataclasses import replace
from ipaddress import ip_address
from itertools import count

import pytest

from classifier.engine.engine import Engine
from classifier.engine.sticky_file import export_sticky, import_sticky
from classifier.errors import UsageError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = tuple(
    Uplink(name, number, f"up{number}", gateway6="auto")
    for number, name in enumerate(("wired", "wifi", "lte"), 1)
)
SEED = 7


def policy(sticky: Sticky | None, *uplinks: Uplink, method: str = "nth") -> Policy:
    uplinks = uplinks or UPLINKS
    members = tuple(Member(uplink.name, uplink.id) for uplink in uplinks)
    balancer = Balancer("all", method, members, sticky)  # type: ignore[arg-type]
    return Policy(Gateway(), Queue(), uplinks, (balancer,), (Rule("rest", "all"),))


def udp(remote: int, flow: int = 1, host: int = 1) -> bytes:
    ip = struct.pack(
        ">BBHHHBBHII", 0x45, 0, 28, 0, 0, 64, 17, 0, 0x0A000000 + host, 0x08000000 + remote
    )
    return ip + struct.pack(">HHHH", flow, 53, 8, 0)


def udp6(remote: int, flow: int = 1) -> bytes:
    addresses = ip_address("fd00::1").packed + ip_address((0x20010DB8 << 96) + remote).packed
    return (
        struct.pack(">IHBB", 6 << 28, 8, 17, 64) + addresses + struct.pack(">HHHH", flow, 53, 8, 0)
    )


def placed(engine: Engine, packets: list[bytes], now: int = 0) -> list[tuple[str, str | None]]:
    return [(d.reason, d.uplink) for d in engine.classify_many(packets, now)]


def test_every_remembered_remote_keeps_its_uplink_over_a_restart():
    before = Engine(policy(Sticky(size=100_000)), SEED)
    remotes = range(40_000)
    first = placed(before, [udp(r) for r in remotes] + [udp6(r) for r in remotes])
    saved = export_sticky(before, 1000)
    after = Engine(policy(Sticky(size=100_000)), SEED)
    assert import_sticky(after, saved, 50_000_000) == 80_000
    assert after.counters().sticky_entries == 80_000
    again = [udp(r, 2) for r in remotes] + [udp6(r, 2) for r in remotes]
    assert placed(after, again, 50_000_000) == [("sticky", uplink) for _, uplink in first]


def test_an_entry_lives_on_for_as_long_as_it_had_left():
    before = Engine(policy(Sticky(timeout=100)), SEED)
    before.classify(udp(1), 0)
    saved = export_sticky(before, 30_000)
    for elapsed, moment, reason in (
        (0, 69_999, "sticky"),
        (0, 70_000, "nth"),
        (20_000, 49_999, "sticky"),
        (20_000, 50_000, "nth"),
    ):
        after = Engine(policy(Sticky(timeout=100)), SEED)
        assert import_sticky(after, saved, 0, elapsed) == 1
        assert after.classify(udp(1, 2), moment).reason == reason
    assert import_sticky(Engine(policy(Sticky(timeout=100)), SEED), saved, 0, 70_000) == 0


def test_a_shorter_timeout_holds_for_what_was_saved_too():
    before = Engine(policy(Sticky(timeout=1e17)), SEED)
    before.classify(udp(1), 0)
    after = Engine(policy(Sticky(timeout=5)), SEED)
    import_sticky(after, export_sticky(before, 0), 0)
    assert after.classify(udp(1, 2), 5000).reason == "nth"


def test_nth_goes_on_where_it_was():
    before, whole = Engine(policy(None), SEED), Engine(policy(None), SEED)
    expected = placed(whole, [udp(r) for r in range(60)])
    for begin in range(12):
        before = Engine(policy(None), SEED)
        begun = placed(before, [udp(r) for r in range(begin)])
        after = Engine(policy(None), SEED)
        import_sticky(after, export_sticky(before, 0), 0)
        assert begun + placed(after, [udp(r) for r in range(begin, 60)]) == expected


def test_turns_of_each_family_go_on_apart_where_their_uplinks_differ():
    uplinks = (*UPLINKS, Uplink("old", 4, "up4"))
    flows = [udp(n) if n % 3 else udp6(n) for n in range(200)]
    expected = placed(Engine(policy(None, *uplinks), SEED), flows)
    before, after = Engine(policy(None, *uplinks), SEED), Engine(policy(None, *uplinks), SEED)
    begun = placed(before, flows[:17])
    import_sticky(after, export_sticky(before, 0), 0)
    assert begun + placed(after, flows[17:]) == expected


def test_turns_of_other_weights_begin_anew():
    before = Engine(policy(None), SEED)
    placed(before, [udp(r) for r in range(4)])
    changed = policy(None)
    members = tuple(Member(uplink.name, 1) for uplink in UPLINKS)
    changed = replace(changed, balancers=(replace(changed.balancers[0], members=members),))
    after = Engine(changed, SEED)
    import_sticky(after, export_sticky(before, 0), 0)
    assert [u for _, u in placed(after, [udp(1), udp(2), udp(3)])] == ["wired", "wifi", "lte"]


def test_entries_of_uplinks_that_are_gone_or_down_or_have_another_id_are_left_out():
    before = Engine(policy(Sticky()), SEED)
    placed(before, [udp(r) for r in range(600)])
    saved = export_sticky(before, 0)
    renamed = Engine(policy(Sticky(), UPLINKS[0], replace(UPLINKS[1], name="new")), SEED)
    assert import_sticky(renamed, saved, 0) == 100
    moved = Engine(policy(Sticky(), UPLINKS[0], replace(UPLINKS[1], id=3)), SEED)
    assert import_sticky(moved, saved, 0) == 100
    down = Engine(policy(Sticky()), SEED)
    down.set_usable("lte", False, True)
    assert import_sticky(down, saved, 0) == 300


@pytest.mark.parametrize(
    ("sticky", "entries"),
    [
        (Sticky(size=50_000), 60),
        (Sticky(size=10), 10),
        (Sticky(by="local"), 0),
        (Sticky(prefix4=24), 0),
        (None, 0),
    ],
)
def test_entries_go_on_where_they_mean_the_same(sticky, entries):
    before = Engine(policy(Sticky()), SEED)
    placed(before, [udp(r) for r in range(60)])
    after = Engine(policy(sticky), SEED)
    import_sticky(after, export_sticky(before, 0), 0)
    assert after.counters().sticky_entries == entries


def test_what_is_remembered_already_stays_as_it_is():
    before = Engine(policy(Sticky()), SEED)
    placed(before, [udp(r) for r in range(60)])
    after = Engine(policy(Sticky()), SEED)
    now = placed(after, [udp(r) for r in range(59, 29, -1)])
    assert import_sticky(after, export_sticky(before, 0), 0) == 30
    assert placed(after, [udp(r, 2) for r in range(59, 29, -1)]) == [("sticky", u) for _, u in now]


def test_no_host_holds_more_after_a_restart_than_before():
    """Who holds which entry is saved too: a flood pushes out the flooder's own entries first."""
    before = Engine(policy(Sticky(size=2000)), SEED)
    remotes = [udp(r, host=1) for r in range(100)]
    placed(before, remotes)
    placed(before, [udp(1000 + r, host=2) for r in range(1800)])
    after = Engine(policy(Sticky(size=2000)), SEED)
    import_sticky(after, export_sticky(before, 0), 0)
    placed(after, [udp(10_000 + r, host=2) for r in range(20_000)])
    again = placed(after, [udp(r, 2, host=1) for r in range(100)])
    assert {reason for reason, _ in again} == {"sticky"}


def test_entries_of_another_seed_are_refused():
    saved = export_sticky(Engine(policy(Sticky()), 1), 0)
    with pytest.raises(UsageError, match="another seed"):
        import_sticky(Engine(policy(Sticky()), 2), saved, 0)


def test_nothing_that_stays_is_missed_while_entries_come_and_go():
    engine = Engine(policy(Sticky(size=20_000, timeout=1000)), SEED)
    stay = [udp(r) for r in range(5000)]
    first = placed(engine, stay)
    stop = threading.Event()

    def come_and_go() -> None:
        """IPv6 entries, which are forgotten and then removed as others are inserted."""
        for remote in count():
            engine.decide_one(udp6(remote), 0, -1, 0)
            if remote % 5000 == 0:
                for uplink in UPLINKS:
                    engine.set_usable(uplink.name, True, False)
                    engine.set_usable(uplink.name, True, True)
            if stop.is_set():
                return

    thread = threading.Thread(target=come_and_go, daemon=True)
    thread.start()
    saved = [export_sticky(engine, 0) for _ in range(20)]
    stop.set()
    thread.join(60)
    for data in saved:
        after = Engine(policy(Sticky(size=20_000, timeout=1000)), SEED)
        import_sticky(after, data, 0)
        assert placed(after, [udp(r, 2) for r in range(5000)]) == [("sticky", u) for _, u in first]
