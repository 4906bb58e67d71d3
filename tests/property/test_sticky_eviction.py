"""Which sticky entry a full table gives up: the promise of docs/configuration.md, step by step."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from probes import StickyTable

TIMEOUT = 1000
SEARCHED_AT_ONCE = 48
"""Entries up to which a table is searched as a whole before one used again has to go."""

Entry = tuple[int, int | None, bool]
"""When it is no longer valid, who holds it, whether it was used again."""


def digest(*words: int) -> int:
    """As good as those of the engine: 64 bits that have nothing to do with each other."""
    return random.Random(repr(words)).getrandbits(64)


HOSTS = [digest(0, n) for n in range(6)]
KEYS = [digest(1, n) for n in range(120)]


class Watched:
    """A table of which every step is held against the promise."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.table = StickyTable(capacity)
        self.now = 0
        self.gone = Counter[str]()

    def visit(self, key: int, host: int) -> None:
        before: dict[int, Entry] = self.table.entries()
        remembered = self.table.visit(key, host, self.now, TIMEOUT)
        after: dict[int, Entry] = self.table.entries()
        assert remembered == (key in before and before[key][0] > self.now)
        assert after[key][0] == self.now + TIMEOUT
        assert after[key][2] == remembered
        if remembered:
            assert after == before | {key: after[key]}
            fewer = held(before)[host] < held(before)[before[key][1]]
            assert after[key][1] == (host if fewer else before[key][1])
        else:
            assert after[key][1] == host
            before.pop(key, None)  # it had expired
            self.inserted(before, {k: entry for k, entry in after.items() if k != key})
        assert self.table.counted() == (dict(held(after)), len(held(after)))
        assert len(after) <= self.capacity

    def inserted(self, before: dict[int, Entry], after: dict[int, Entry]) -> None:
        there = {k: e for k, e in before.items() if k in after or e[0] > self.now}
        removed = [there[k] for k in there.keys() - after.keys()]
        assert len(removed) <= 1
        if not removed:
            return
        assert len(there) == self.capacity
        _, holder, again = removed[0]
        counts = held(there)
        large = {h for h, n in counts.items() if n * 2 * len(counts) > self.capacity}
        assert holder in large
        if again:
            assert all(e[2] or e[0] <= self.now for e in there.values() if e[1] in large)
        self.gone["again" if again else "once"] += 1


def held(entries: dict[int, Entry]) -> Counter[int | None]:
    return Counter(host for _, host, _ in entries.values())


@settings(max_examples=100, deadline=None)
@given(
    capacity=st.integers(1, SEARCHED_AT_ONCE),
    steps=st.lists(
        st.tuples(st.sampled_from(KEYS), st.sampled_from(HOSTS), st.sampled_from([0, 0, 1, 300])),
        max_size=200,
    ),
)
def test_an_entry_goes_only_where_that_was_promised(capacity, steps):
    watched = Watched(capacity)
    for key, host, wait in steps:
        watched.now += wait
        watched.visit(key, host)


def test_no_valid_entry_goes_against_the_promise_in_full_tables():
    gone = Counter[str]()
    for seed in range(40):
        chance = random.Random(seed)
        watched = Watched(chance.randint(1, SEARCHED_AT_ONCE))
        keys = KEYS[: watched.capacity * 2 + 1]
        for _ in range(200):
            watched.now += chance.choice((0, 0, 0, 0, 1, 40))
            # The first hosts and keys are seen more often than the last.
            host = HOSTS[min(chance.randrange(6), chance.randrange(6))]
            watched.visit(keys[min(chance.randrange(len(keys)) for _ in range(2))], host)
        gone += watched.gone
    assert gone["once"] > 100
    assert gone["again"] > 100


def test_hosts_beyond_those_that_can_be_told_apart_share_what_one_would_have():
    """5,000 addresses of one sender take nothing from a host that came before."""
    table = StickyTable(20_000)
    for key in range(2):
        table.visit(digest(2, key), HOSTS[0], 0, TIMEOUT)
    for sender in range(5_000):
        for key in range(8):
            table.visit(digest(3, sender, key), digest(4, sender), 1, TIMEOUT)
    counts, hosts = table.counted()
    assert hosts <= 4096
    assert counts[None] > 1
    assert counts[HOSTS[0]] == 2
    assert sum(counts.values()) == 20_000


def test_one_used_again_goes_seldom_while_one_in_ten_is_used_once():
    table = StickyTable(4_000)
    again = [digest(5, key) for key in range(3_600)]
    for _ in range(2):
        for key in again:
            table.visit(key, HOSTS[0], 0, TIMEOUT)
    for key in range(4_000):
        table.visit(digest(6, key), HOSTS[0], 1, TIMEOUT)
    left = table.entries()
    assert sum(key in left for key in again) > 0.98 * 3_600
