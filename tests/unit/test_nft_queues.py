"""Queue statements of nft, in the words of `nft -j` (libnftables-json(5)).

In words only, because not every kernel that tests run on has NFT_QUEUE to make them.
"""

from __future__ import annotations

import json

import pytest

from classifier.host.nftables import marks
from classifier.policy import Gateway, Policy, Queue, Uplink

POLICY = Policy(Gateway(lan=("eth2",)), Queue(first=4, count=2), (Uplink("wired", 1, "eth0"),))


def told(*statements: object, chain: str = "c") -> list[str]:
    rule = {"family": "inet", "table": "t", "chain": chain, "handle": 7, "expr": list(statements)}
    listing = {"nftables": [{"metainfo": {"version": "1.0.6"}}, {"rule": rule}]}
    return list(marks.conflicts(f"{json.dumps(listing)}\n", POLICY))


@pytest.mark.parametrize(
    ("queue", "number"),
    [
        ({"num": 4}, 4),
        ({"num": 5, "flags": "bypass"}, 5),
        ({"num": {"range": [0, 7]}, "flags": ["bypass", "fanout"]}, 4),
        ({"num": {"range": [5, 6]}}, 5),
    ],
)
def test_a_statement_that_sends_to_a_queue_of_ours_is_named(queue: object, number: int) -> None:
    assert told({"counter": None}, {"queue": queue}) == [
        f"nft rule inet t c handle 7 sends packets to queue {number}, which is ours;"
        " change it, or queue.first"
    ]


@pytest.mark.parametrize(
    "queue",
    [
        None,  # queue 0
        {"num": 3},
        {"num": {"range": [6, 9]}},
        {"num": {"numgen": {"mode": "inc", "mod": 2, "offset": 4}}},  # known only with the packet
        {"flags": "bypass"},
    ],
)
def test_a_statement_that_sends_elsewhere_is_no_conflict(queue: object) -> None:
    assert told({"queue": queue}) == []


def test_a_chain_of_ours_in_a_table_of_others_is_no_conflict() -> None:
    assert told({"queue": {"num": 4}}, chain="nfqc-queue") == []
