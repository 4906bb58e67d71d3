"""The bounded tables when full: they forget, but never the newest, and are never wrong."""

from __future__ import annotations

from ipaddress import ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from model import Packet, siphash
from packets import render

from classifier import Classifier
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

UPLINKS = tuple(Uplink(name, number, f"eth{number}") for number, name in enumerate("abc", 1))
MEMBERS = tuple(Member(uplink.name, 1) for uplink in UPLINKS)


def classifier(size: int, timeout: float = 100.0) -> Classifier:
    balancer = Balancer("all", "nth", MEMBERS, Sticky("remote", timeout, size=size))
    return Classifier(
        Policy(Gateway(), Queue(), UPLINKS, (balancer,), (Rule("rest", "all"),)), seed=1
    )


def visit(number: int, remote: int) -> bytes:
    """A flow of its own for each number, to one of the remotes."""
    src = ip_address(0x0A000000 + number)
    return render(Packet(src, ip_address(0x08000000 + remote), 17, 1, 2))


operations = st.lists(
    st.one_of(
        st.integers(0, 40),
        st.tuples(st.just("wait"), st.floats(0, 60)),
        st.tuples(st.sampled_from("abc"), st.booleans()),
    ),
    max_size=150,
)


@settings(max_examples=300, deadline=None)
@given(size=st.integers(1, 12), operations=operations)
def test_a_full_table_answers_right_or_not_at_all(size, operations):
    c = classifier(size)
    known: dict[int, tuple[str, float]] = {}
    now = 0.0
    for number, operation in enumerate(operations):
        if isinstance(operation, tuple) and operation[0] == "wait":
            now = round(now + operation[1], 3)
        elif isinstance(operation, tuple):
            c.set_up(*operation)
            if not operation[1]:
                known = {r: k for r, k in known.items() if k[0] != operation[0]}
        else:
            decision = c.classify(visit(2 * number, operation), now)
            if decision.reason == "sticky":
                assert operation in known
                assert decision.uplink == known[operation][0]
                assert now < known[operation][1]
            if decision.uplink is not None:
                known[operation] = (decision.uplink, now + 100.0)
                again = c.classify(visit(2 * number + 1, operation), now)
                assert (again.reason, again.uplink) == ("sticky", decision.uplink)
        assert c.counters().sticky_entries <= size


def test_what_is_visited_often_outlives_what_is_not():
    c = classifier(64)
    number = 0
    for second in range(400):
        for remote in (*range(8), 1000 + second):
            c.classify(visit(number, remote), second / 10)
            number += 1
    kept = [c.classify(visit(number + r, r), 40.0).reason for r in range(8)]
    assert kept == ["sticky"] * 8
    assert c.counters().sticky_entries == 64


def test_a_table_in_use_sheds_what_has_expired():
    c = classifier(1000, timeout=10.0)
    c.classify_many([visit(n, n) for n in range(1000)], 0.0)
    assert c.counters().sticky_entries == 1000
    c.classify_many([visit(n, n) for n in range(1000, 1700)], 10.0)
    assert c.counters().sticky_entries == 700


def test_the_models_siphash_is_the_one_of_the_paper():
    key = bytes(range(16))
    k0, k1 = int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")
    assert siphash(k0, k1, bytes(range(15)), compress=2, finish=4) == 0xA129CA6149BE45E5
