"""The rules that `explain` says were tried end where the engine decides."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from classifier.engine.engine import Engine
from classifier.policy import Gateway, Policy, Queue, Rule, Uplink
from classifier.service.explain.explanation import explained
from classifier.service.explain.flow import Flow

UPLINKS = (Uplink("a", 1, "eth0", gateway6="auto"), Uplink("b", 2, "eth1"))
NETWORKS = [ip_network(n) for n in ("10.0.0.0/30", "10.0.0.2/32", "fd00::/126", "fd00::2/128")]
ADDRESSES = {4: [ip_address(f"10.0.0.{i}") for i in range(1, 6)],
             6: [ip_address(f"fd00::{i}") for i in range(1, 6)]}  # fmt: skip
PORTS = st.integers(1, 5)


def some(values: list[object]) -> st.SearchStrategy[tuple[object, ...]]:
    return st.lists(st.sampled_from(values), max_size=2, unique=True).map(tuple)


@st.composite
def rules(draw: st.DrawFn) -> tuple[Rule, ...]:
    made = []
    for number in range(draw(st.integers(0, 5))):
        protocols = draw(some([6, 17]))
        ranges = some([(1, 2), (3, 3)]) if protocols else st.just(())
        made.append(
            Rule(
                f"rule {number}",
                use=draw(st.sampled_from(["a", "b", "direct", "drop"])),
                strict=draw(st.booleans()),
                from_=draw(some(NETWORKS)),  # type: ignore[arg-type]
                to=draw(some(NETWORKS)),  # type: ignore[arg-type]
                protocols=protocols,  # type: ignore[arg-type]
                from_ports=draw(ranges),  # type: ignore[arg-type]
                to_ports=draw(ranges),  # type: ignore[arg-type]
                in_interfaces=draw(some(["lan0", "lan1"])),  # type: ignore[arg-type]
                family=draw(st.sampled_from([None, "ipv4", "ipv6"])),
                users=draw(some([0, 1000])),  # type: ignore[arg-type]
                dscp=draw(some([0, 46])),  # type: ignore[arg-type]
            )
        )
    return tuple(made)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    addresses = st.sampled_from(ADDRESSES[draw(st.sampled_from([4, 6]))])
    protocol = draw(st.sampled_from([6, 17, 47]))
    local = draw(st.booleans())
    return Flow(
        protocol,
        draw(addresses),
        draw(addresses),
        draw(PORTS) if protocol != 47 else None,
        draw(PORTS) if protocol != 47 else None,
        None if local else draw(st.sampled_from(["lan0", "lan1"])),
        draw(st.sampled_from([0, 46])),
        draw(st.sampled_from([None, 0, 1000])) if local else None,
    )


@given(rules=rules(), flow=flows(), up=st.booleans())
def test_the_last_rule_of_the_way_is_the_one_that_the_engine_takes(
    rules: tuple[Rule, ...], flow: Flow, up: bool
) -> None:
    policy = Policy(Gateway(lan=("lan0", "lan1")), Queue(), UPLINKS, rules=rules)
    engine = Engine(policy, 1)
    engine.set_usable("b", up, up)
    found = explained(policy, engine, flow)
    assert [step.takes for step in found.way[:-1]] == [False] * len(found.way[:-1])
    last = found.way[-1] if found.way else None
    assert found.rule == (last.rule if last and last.takes else None)
    if found.rule is None:
        assert len(found.way) == len(rules), "every rule has its reason"
