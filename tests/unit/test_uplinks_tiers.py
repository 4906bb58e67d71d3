"""The next tier is used when the tiers before it have too few uplinks up, and only then."""

from __future__ import annotations

import pytest

from classifier.policy import Balancer, Member
from classifier.uplinks.tiers import taking

MEMBERS = (
    Member("fibre", 5, tier=1),
    Member("lte", 1, tier=3),
    Member("dsl", 2, tier=1),
    Member("neighbour", 1, tier=2),
    Member("cable", 3, tier=1),
)

# Names that are up, least_up, names that take new flows.
CASES = [
    ("fibre dsl cable neighbour lte", 1, "fibre dsl cable"),
    ("dsl neighbour lte", 1, "dsl"),
    ("neighbour lte", 1, "neighbour"),
    ("lte", 1, "lte"),
    ("", 1, ""),
    ("unknown", 1, ""),
    ("fibre dsl cable neighbour lte", 2, "fibre dsl cable"),
    ("fibre dsl neighbour lte", 2, "fibre dsl"),
    ("dsl neighbour lte", 2, "dsl neighbour"),
    ("dsl lte", 2, "lte dsl"),
    ("lte", 2, "lte"),
    ("fibre dsl cable neighbour lte", 4, "fibre dsl neighbour cable"),
    ("dsl neighbour lte", 3, "lte dsl neighbour"),
    ("fibre lte", 5, "fibre lte"),
]


@pytest.mark.parametrize(("up", "least_up", "wanted"), CASES)
def test_flows_go_to_the_lowest_tiers_that_have_enough_uplinks(
    up: str, least_up: int, wanted: str
) -> None:
    balancer = Balancer("all", "nth", MEMBERS, least_up=least_up)
    assert [member.uplink for member in taking(balancer, up.split())] == wanted.split()


def test_members_keep_their_weights() -> None:
    balancer = Balancer("all", "nth", MEMBERS)
    assert taking(balancer, {"dsl", "cable"}) == (Member("dsl", 2), Member("cable", 3))
