"""Years of uplink life in accelerated time: whatever happened, what was promised holds after each
step, and all is well again once the lines are."""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from unittest.mock import patch

from accelerated_gateway import AcceleratedGateway
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from model import FLIGHT_TIME, Packet
from plain_health import PlainHealth

from classifier.engine.decision import Decision
from classifier.policy import (
    FAMILIES,
    Balancer,
    Family,
    Gateway,
    Health,
    Member,
    Policy,
    Queue,
    Rule,
    Sticky,
    Target,
)
from classifier.policy import Uplink as UplinkPolicy
from classifier.uplinks.health import MOST_STRICT
from classifier.uplinks.state import State

NAMES = ("a", "b", "c")
STICKY = Sticky(timeout=3600.0)
SSH = 22
LONG = "long"
"""The profile of Hypothesis (`pytest --hypothesis-profile long`) of conftest.py."""
QUIET = 40
"""Good rounds after which flapping is forgotten here."""
NEVER = 1e6
"""Seconds between rounds that the probers make by themselves."""
TARGETS = {4: Target("198.51.100.1", "198.51.100.1"), 6: Target("2001:db8::1", "2001:db8::1")}

healths = st.none() | st.builds(
    Health,
    probe=st.just("icmp"),
    targets=st.sampled_from([(4,), (4, 6), (6,)]).map(lambda f: tuple(TARGETS[i] for i in f)),
    interval=st.just(NEVER),
    down=st.integers(1, 4),
    up=st.integers(1, 6),
    window=st.sampled_from([5, 30]),
    loss=st.sampled_from([40, 100]),
)


@st.composite
def policies(draw: st.DrawFn) -> Policy:
    uplinks = tuple(
        UplinkPolicy(
            name=name,
            id=number,
            interface=f"eth{number}",
            gateway=f"192.0.{number}.1",
            gateway6=f"2001:db8:{number}::1",
            flush=draw(st.sampled_from(["down", "down", "never"])),
            failback=draw(st.sampled_from(["keep", "move"])),
            health=draw(healths),
        )
        for number, name in enumerate(NAMES, 1)
    )
    members = tuple(Member(name, 1, draw(st.integers(1, 3))) for name in NAMES)
    least_up = draw(st.integers(1, 3))
    balancer = Balancer("all", "nth", members, STICKY, least_up=least_up)
    ssh = Rule("ssh", "a", strict=draw(st.booleans()), to_ports=((SSH, SSH),))
    return Policy(Gateway(), Queue(), uplinks, (balancer,), (ssh, Rule("rest", "all")))


class UplinkYears(RuleBasedStateMachine):
    @initialize(policy=policies())
    def begin(self, policy: Policy) -> None:
        # Five minutes of rounds after each flap would be most of the time that this takes.
        self.shorter = patch("classifier.uplinks.health.FLAP_MEMORY", QUIET)
        self.shorter.start()
        self.folder = tempfile.TemporaryDirectory()
        self.health: dict[str, dict[Family, PlainHealth]] = {}
        self.asked: dict[str, str] = dict.fromkeys(NAMES, "auto")
        self.follow_health(policy, None)
        self.before: dict[tuple[str, Family], State] = {}
        self.established: dict[Packet, str] = {}
        self.sticky: dict[tuple[Family, object], tuple[str, int]] = {}
        self.in_flight: dict[Packet, tuple[str | None, int]] = {}
        self.flows = 0
        self.gateway = AcceleratedGateway(policy, Path(self.folder.name), self.connections_end)
        self.settled()

    def teardown(self) -> None:
        if hasattr(self, "gateway"):
            self.gateway.close()
            self.shorter.stop()
            self.folder.cleanup()

    # What happens.

    @rule(name=st.sampled_from(NAMES), part=st.sampled_from(["exists", "up", "carrier"]))
    def a_link_is_lost_or_back(self, name: str, part: str) -> None:
        self.gateway.change_link(name, **{part: not getattr(self.gateway.lines[name], part)})
        self.settled()

    @rule(name=st.sampled_from(NAMES), family=st.sampled_from(FAMILIES))
    def an_address_is_lost_or_back(self, name: str, family: Family) -> None:
        addresses = self.gateway.lines[name].addresses ^ {family}
        self.gateway.change_link(name, addresses=addresses)
        self.settled()

    @rule(name=st.sampled_from(NAMES), families=st.sampled_from([(4,), (6,), (4, 6)]))
    def a_line_goes_dead_or_lives_again(self, name: str, families: tuple[Family, ...]) -> None:
        answers = self.gateway.lines[name].answers
        for family in families:
            answers[family] = not answers[family]

    @rule(
        count=st.sampled_from([1, 2, 3, 5, 10, 50]),
        lossy=st.sampled_from([0.0, 0.0, 0.0, 0.2, 0.5]),
        seed=st.integers(0, 1000),
    )
    def time_goes_by(self, count: int, lossy: float, seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(count):
            self.one_round(chance, lossy)
        self.settled()

    @rule(name=st.sampled_from(NAMES), asked=st.sampled_from(["auto", "up", "down", "drain"]))
    def it_is_steered_by_hand(self, name: str, asked: str) -> None:
        self.asked[name] = asked
        self.gateway.steer(name, asked)  # type: ignore[arg-type]
        self.settled()

    @rule(policy=policies(), only_weights=st.booleans())
    def the_policy_is_another(self, policy: Policy, only_weights: bool) -> None:
        old = self.gateway.policy
        if only_weights:
            policy = replace(
                old, uplinks=tuple(replace(u, weight=u.weight + 1) for u in old.uplinks)
            )
        self.follow_health(policy, old)
        # What was left alone when it went down is left alone still.
        self.established = {
            packet: name
            for packet, name in self.established.items()
            if old.uplink(name).flush == "down"
        }
        self.gateway.reload(policy)
        self.settled()

    @rule()
    def it_restarts(self) -> None:
        for name, machines in self.health.items():
            for family, machine in machines.items():
                targets = machine.targets
                machines[family] = PlainHealth(machine.health, targets, self.is_good(name, family))
        self.in_flight.clear()
        self.before.clear()
        self.gateway.restart()
        self.settled()

    @rule(
        family=st.sampled_from(FAMILIES),
        remote=st.integers(1, 3),
        port=st.sampled_from([80, 80, 80, SSH]),
    )
    def a_flow_begins(self, family: Family, remote: int, port: int) -> None:
        addresses = (
            ("10.0.0.1", f"8.8.8.{remote}") if family == 4 else ("fd00::1", f"2600::{remote}")
        )
        src, dst = map(ip_address, addresses)
        self.flows += 1
        packet = Packet(src, dst, 17, 1024 + self.flows % 60000, port)
        decision = self.gateway.decide(packet)
        if port == SSH and (self.usable("a", family) or self.gateway.policy.rules[0].strict):
            expected = "a" if self.usable("a", family) else None
            assert (decision.rule, decision.uplink) == ("ssh", expected)
        else:
            self.check_balanced(packet, family, decision)
        self.in_flight[packet] = decision.uplink, self.gateway.now + FLIGHT_TIME
        if decision.uplink is not None:
            self.established[packet] = decision.uplink

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def a_packet_follows_while_the_flow_is_in_flight(self, data: st.DataObject) -> None:
        packet = data.draw(st.sampled_from(list(self.in_flight)))
        uplink, expires = self.in_flight.pop(packet)
        family = packet.src.version
        decision = self.gateway.decide(packet)
        if self.gateway.now < expires and (uplink is None or self.usable(uplink, family)):
            assert (decision.uplink, decision.reason) == (uplink, "in-flight")
        elif packet.dport != SSH:
            self.check_balanced(packet, family, decision)

    @rule()
    def all_is_well_again_by_itself(self) -> None:
        for name in NAMES:
            self.gateway.lines[name].answers = {4: True, 6: True}
            self.gateway.change_link(
                name, exists=True, up=True, carrier=True, addresses=frozenset(FAMILIES)
            )
            self.settled()
            self.it_is_steered_by_hand(name, "auto")
        limits = [u.health for u in self.gateway.policy.uplinks if u.health]
        longest = max((max(h.up * MOST_STRICT, h.window) for h in limits), default=0)
        for _ in range(longest):
            self.one_round()
        assert set(self.gateway.uplinks.states.values()) == {"up"}
        for _ in range(QUIET):
            self.one_round()
        for prober in self.gateway.uplinks.probers.values():
            assert not any(prober.verdict(family).flapping for family in FAMILIES)

    # What holds, whatever happened.

    @invariant()
    def every_state_has_its_reason(self) -> None:
        if hasattr(self, "gateway"):
            for shown in self.gateway.uplinks.shown.values():
                assert shown.reason and "None" not in shown.reason

    @invariant()
    def no_connection_stays_on_a_dead_uplink_while_another_lives(self) -> None:
        if not hasattr(self, "gateway"):
            return
        for packet, uplink in self.established.items():
            family = packet.src.version
            others = any(self.state(o, family) == "up" for o in NAMES if o != uplink)
            flushed = self.gateway.policy.uplink(uplink).flush == "down"
            assert not (flushed and others and self.state(uplink, family) == "down")

    def settled(self) -> None:
        """After each look: states, the engine and what is remembered are as the model says."""
        shown = self.gateway.uplinks.by_family
        assert shown == {(n, f): self.state(n, f) for n in NAMES for f in FAMILIES}
        engine = self.gateway.classifier.engine
        for name in NAMES:
            able = tuple(self.usable(name, family) for family in FAMILIES)
            assert engine.usable_families(name) == able
        in_use = {family: self.in_use(family) for family in FAMILIES}
        self.sticky = {
            key: entry for key, entry in self.sticky.items() if entry[0] in in_use[key[0]]
        }
        self.before = dict(shown)

    def connections_end(self, uplink: UplinkPolicy, family: Family) -> None:
        """Only where another uplink takes the flows, which it does by now."""
        name = uplink.name
        states = {one: self.state(one, family) for one in NAMES}
        assert any(state == "up" for one, state in states.items() if one != name)
        moved = any(
            self.tier(one.name) < self.tier(name)
            and (self.before.get((one.name, family)), states[one.name]) == ("down", "up")
            for one in self.gateway.policy.uplinks
            if one.failback == "move"
        )
        assert moved or (states[name] == "down" and uplink.flush == "down")
        able = self.gateway.classifier.engine.usable_families(name)
        assert able[FAMILIES.index(family)] == (states[name] == "up")
        self.established = {
            packet: taken
            for packet, taken in self.established.items()
            if (taken, packet.src.version) != (name, family)
        }
        # Flows of the other family are still on this uplink, and decided anew as they were.
        self.in_flight = {p: entry for p, entry in self.in_flight.items() if entry[0] != name}

    def check_balanced(self, packet: Packet, family: Family, decision: Decision) -> None:
        able = self.in_use(family)
        key = (family, packet.dst)
        remembered, expires = self.sticky.pop(key, (None, 0))
        if remembered is not None and self.gateway.now < expires:
            assert (decision.uplink, decision.reason) == (remembered, "sticky")
        elif able:
            assert decision.uplink in able and decision.reason == "nth"
        else:
            assert (decision.uplink, decision.reason) == (None, "fallback")
        if decision.uplink is not None:
            self.sticky[key] = decision.uplink, self.gateway.now + round(STICKY.timeout * 1000)

    # The model.

    def one_round(self, chance: random.Random | None = None, lossy: float = 0.0) -> None:
        lost: list[bool] = []
        for name, machines in self.health.items():
            line = self.gateway.lines[name]
            for family, machine in machines.items():
                answers = line.carries(family) and line.answers[family]
                if answers:
                    lost.append(chance is not None and chance.random() < lossy)
                    answers = not lost[-1]
                machine.round([0.01 if answers else None])
        answered = iter(lost)
        looks = self.gateway.looks
        self.gateway.round(lambda: next(answered))
        if self.gateway.looks != looks:
            self.settled()

    def follow_health(self, policy: Policy, old: Policy | None) -> None:
        for uplink in policy.uplinks:
            before = old.uplink(uplink.name).health if old else None
            if uplink.health == before and old:
                continue
            bad = {f for f in FAMILIES if before and not self.is_good(uplink.name, f)}
            self.health.pop(uplink.name, None)
            if uplink.health:
                families = [target.family for target in uplink.health.targets]
                self.health[uplink.name] = {
                    f: PlainHealth(uplink.health, 1, good=f not in bad) for f in families
                }
        self.health = {name: self.health[name] for name in NAMES if name in self.health}

    def is_good(self, name: str, family: Family) -> bool:
        machines = self.health.get(name)
        if not machines:
            return True
        return (machines.get(family) or next(iter(machines.values()))).good

    def state(self, name: str, family: Family) -> State:
        asked = self.asked[name]
        if asked == "down" or not self.gateway.lines[name].carries(family):
            return "down"
        if asked == "up":
            return "up"
        if not self.is_good(name, family):
            return "down"
        return "draining" if asked == "drain" else "up"

    def usable(self, name: str, family: Family) -> bool:
        return self.state(name, family) == "up"

    def tier(self, name: str) -> int:
        (balancer,) = self.gateway.policy.balancers
        return next(member.tier for member in balancer.members if member.uplink == name)

    def in_use(self, family: Family) -> set[str]:
        """Who takes flows of a family: the lowest tiers that have as many uplinks up for it as are
        wanted, or all that are up."""
        (balancer,) = self.gateway.policy.balancers
        up: set[str] = set()
        for tier in (1, 2, 3):
            up |= {n for n in NAMES if self.tier(n) == tier and self.usable(n, family)}
            if len(up) >= balancer.least_up:
                break
        return up


TestUplinkYears = UplinkYears.TestCase
TestUplinkYears.settings = (
    settings(deadline=None)
    if settings.get_current_profile_name() == LONG
    else settings(max_examples=20, stateful_step_count=30, deadline=None)
)
