"""The engine once more, in plain Python: dictionaries, loops, and nothing fast.

It shares no code with the engine but the policy's values. Its tables are never full, so that it
says what has to be decided as long as nothing is evicted.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from math import gcd, log
from typing import Any

from classifier.policy import Balancer, Network, Policy, Rule, Sticky

WORD = (1 << 64) - 1
FLIGHT_TIME = 5000


@dataclass(frozen=True)
class Packet:
    """A packet as its sender would describe it."""

    src: IPv4Address | IPv6Address
    dst: IPv4Address | IPv6Address
    protocol: int = 17
    sport: int | None = None
    dport: int | None = None
    """Ports; None for protocols that have none."""
    dscp: int = 0
    interface: str | None = None
    user: int | None = None

    @property
    def family(self) -> int:
        return self.src.version


def splitmix(state: int) -> tuple[int, int]:
    """The next state and the number drawn."""
    state = (state + 0x9E3779B97F4A7C15) & WORD
    return state, mix(state)


def mix(z: int) -> int:
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & WORD
    return z ^ (z >> 31)


def siphash(k0: int, k1: int, message: bytes, compress: int = 1, finish: int = 3) -> int:
    """SipHash with `compress` rounds per word and `finish` at the end, from the paper."""
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rotate(x: int, bits: int) -> int:
        return ((x << bits) | (x >> (64 - bits))) & WORD

    def rounds(count: int) -> None:
        nonlocal v0, v1, v2, v3
        for _ in range(count):
            v0 = (v0 + v1) & WORD
            v1 = rotate(v1, 13) ^ v0
            v0 = rotate(v0, 32)
            v2 = (v2 + v3) & WORD
            v3 = rotate(v3, 16) ^ v2
            v0 = (v0 + v3) & WORD
            v3 = rotate(v3, 21) ^ v0
            v2 = (v2 + v1) & WORD
            v1 = rotate(v1, 17) ^ v2
            v2 = rotate(v2, 32)

    full = len(message) - len(message) % 8
    words = [int.from_bytes(message[i : i + 8], "little") for i in range(0, full, 8)]
    tail = message[full:] + bytes(7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for word in [*words, int.from_bytes(tail, "little")]:
        v3 ^= word
        rounds(compress)
        v0 ^= word
    v2 ^= 0xFF
    rounds(finish)
    return v0 ^ v1 ^ v2 ^ v3


class Turns:
    """The nth method over some uplinks."""

    def __init__(self, shares: dict[str, int]) -> None:
        divisor = gcd(*shares.values()) or 1
        self.uplinks = list(shares)
        self.weights = [weight // divisor for weight in shares.values()]
        self.total = sum(self.weights)
        self.owed = [0] * len(shares)
        self.by_deadline = len(shares) > 3 and not self.smooth_is_close()
        self.shares = shares
        self.behind = dict.fromkeys(shares, 0)
        """Of methods that look for the best uplinks first."""

    def smooth_is_close(self) -> bool:
        """Whether nginx's rule keeps within one flow of the ideal, as far as we care to look."""
        if self.total > 10000:
            return False
        self.by_deadline = False
        close = True
        for _ in range(self.total):
            self.next()
            close = close and all(abs(owed) < self.total for owed in self.owed)
        self.owed = [0] * len(self.owed)
        return close

    def next(self) -> str:
        self.owed = [o + w for o, w in zip(self.owed, self.weights, strict=True)]
        positions = range(len(self.owed))
        if self.by_deadline:
            taken = min(
                (i for i in positions if self.owed[i] > 0),
                key=lambda i: (-((self.owed[i] - self.total) // self.weights[i]), -self.owed[i], i),
            )
        else:
            taken = max(positions, key=lambda i: (self.owed[i], -i))
        self.owed[taken] -= self.total
        return self.uplinks[taken]

    def next_among(self, best: list[str]) -> str:
        """Smooth weighted round robin over some of the uplinks, which may be others next time."""
        for name in best:
            self.behind[name] += self.shares[name]
        taken = max(best, key=lambda name: self.behind[name])
        self.behind[taken] -= sum(self.shares[name] for name in best)
        return taken


@dataclass
class Load:
    """What is known of one uplink; bytes per second, down and up."""

    rate: tuple[float, float] = (0.0, 0.0)
    awaited: tuple[float, float] = (0.0, 0.0)
    latency: float | None = None
    placed: int = 0
    """Flows until the last measurement."""


class ByAddress:
    """A method of a user, that fails for some flows."""

    @staticmethod
    def index(dst: Any, sport: int, count: int) -> int:
        if sport == 22:
            raise ValueError("not for 22")
        return (int(dst) + sport) % count

    def select(self, flow: Any, uplinks: Any, now: float) -> Any:
        return uplinks[self.index(flow.dst, flow.sport, len(uplinks))]


class Model:
    def __init__(self, policy: Policy, seed: int) -> None:
        self.flows = {u.name: 0 for u in policy.uplinks}
        self.loads = {u.name: Load() for u in policy.uplinks}
        self.expected = (0.0, 0.0)
        self.policy = policy
        state, self.k0 = splitmix(seed & WORD)
        self.random, self.k1 = splitmix(state)
        self.usable = {
            4: {u.name for u in policy.uplinks},
            6: {u.name for u in policy.uplinks if u.gateway6 is not None},
        }
        self.sticky: dict[str, dict[Any, tuple[str, int]]] = {b.name: {} for b in policy.balancers}
        self.in_flight: dict[Any, tuple[str | None, str | None, int, int]] = {}
        self.turns: dict[str, dict[int, Turns]] = {b.name: {} for b in policy.balancers}
        self.begin_turns()

    def set_usable(self, usable: dict[str, tuple[bool, bool]]) -> None:
        for name, able in usable.items():
            for family, wanted in zip((4, 6), able, strict=True):
                if wanted and (family == 4 or self.policy.uplink(name).gateway6 is not None):
                    self.usable[family].add(name)
                else:
                    self.usable[family].discard(name)
        for balancer in self.policy.balancers:
            in_use = {family: self.shares(balancer, family) for family in (4, 6)}
            self.sticky[balancer.name] = {
                key: entry
                for key, entry in self.sticky[balancer.name].items()
                if entry[0] in in_use[key[0]]
            }
        self.begin_turns()

    def set_loads(
        self,
        loads: dict[str, tuple[float, float, float | None, float, float]],
        expected: tuple[float, float],
        fading: float,
    ) -> None:
        for name, (down, up, latency, *shown) in loads.items():
            old, new = self.loads[name], self.flows[name] - self.loads[name].placed
            awaited = tuple(
                max(0.0, fading * (a + e * new) - s)
                for a, e, s in zip(old.awaited, self.expected, shown, strict=True)
            )
            self.loads[name] = Load((down, up), awaited, latency, self.flows[name])
        self.expected = expected

    def load(self, name: str, more: int = 0) -> float:
        """The share of its capacity in use once `more` flows are there, of the fuller direction."""
        load, capacity = self.loads[name], self.policy.uplink(name).capacity
        if capacity is None:
            return 0.0
        rates = (
            load.rate[i]
            + load.awaited[i]
            + self.expected[i] * (self.flows[name] + more - load.placed)
            for i in (0, 1)
        )
        return max(r / c for r, c in zip(rates, (capacity.down, capacity.up), strict=True))

    def replace_policy(self, policy: Policy, usable: dict[str, tuple[bool, bool]]) -> None:
        """What stays is what has the same name, and of uplinks also the same id."""
        before, old_usable = self.policy, self.usable
        ids = {u.name: u.id for u in before.uplinks}
        kept = {u.name for u in policy.uplinks if ids.get(u.name) == u.id}
        self.policy = policy
        self.flows = {u.name: self.flows[u.name] if u.name in kept else 0 for u in policy.uplinks}
        self.loads = {
            u.name: self.loads[u.name] if u.name in kept else Load() for u in policy.uplinks
        }
        self.usable = {4: set(), 6: set()}
        for uplink in policy.uplinks:
            now = tuple(uplink.name in kept & old_usable[family] for family in (4, 6))
            ipv4, ipv6 = usable.get(uplink.name, now)
            self.usable[4] |= {uplink.name} if ipv4 else set()
            self.usable[6] |= {uplink.name} if ipv6 and uplink.gateway6 is not None else set()
        self.in_flight = {
            key: (uplink, rule, mark, expires)
            for key, (uplink, rule, mark, expires) in self.in_flight.items()
            if uplink is None or uplink in kept
        }
        balancers = {b.name: b for b in before.balancers}
        sticky, turns = self.sticky, self.turns
        self.sticky = {b.name: {} for b in policy.balancers}
        self.turns = {b.name: {} for b in policy.balancers}
        for balancer in policy.balancers:
            old = balancers.get(balancer.name)
            if old is None:
                continue
            members = {m.uplink for m in balancer.members} & kept
            in_use = {family: self.shares(balancer, family) for family in (4, 6)}
            if table_key(old) is not None and table_key(old) == table_key(balancer):
                self.sticky[balancer.name] = {
                    key: (uplink, expires)
                    for key, (uplink, expires) in sticky[balancer.name].items()
                    if uplink in kept & in_use[key[0]].keys()
                }
            if old.method == balancer.method == "nth":
                weights = {m.uplink: m.weight for m in balancer.members}
                self.turns[balancer.name] = {
                    family: t
                    for family, t in turns[balancer.name].items()
                    if set(t.uplinks) <= members
                    and t.weights == Turns({u: weights[u] for u in t.uplinks}).weights
                }
        self.begin_turns()

    def forget_in_flight(self, name: str | None) -> None:
        self.in_flight = {key: flow for key, flow in self.in_flight.items() if flow[0] != name}

    def shares(self, balancer: Balancer, family: int) -> dict[str, int]:
        """Those of the lowest tiers that have `least_up` uplinks for the family, or all that do."""
        able = [m for m in balancer.members if m.uplink in self.usable[family]]
        for tier in sorted({m.tier for m in able}):
            chosen = {m.uplink: m.weight for m in able if m.tier <= tier}
            if len(chosen) >= balancer.least_up:
                return chosen
        return {m.uplink: m.weight for m in able}

    def begin_turns(self) -> None:
        """Families with the same uplinks take turns together; uplinks that stay keep theirs."""
        for balancer in self.policy.balancers:
            old = self.turns[balancer.name]
            shares = {family: self.shares(balancer, family) for family in (4, 6)}
            kept = {f: t for f, t in old.items() if t.uplinks == list(shares[f])}
            if shares[4] == shares[6]:
                turns = kept.get(4) or kept.get(6) or Turns(shares[4])
                self.turns[balancer.name] = {4: turns, 6: turns}
            else:
                self.turns[balancer.name] = {f: kept.get(f) or Turns(shares[f]) for f in (4, 6)}

    def decide(self, packet: Packet, now: int) -> tuple[str | None, str | None, str, int]:
        """Uplink, rule, reason and mark, as in classifier.engine.decision.Decision."""
        key = (packet.src, packet.dst, packet.protocol, packet.sport, packet.dport)
        if key in self.in_flight:
            uplink, rule, mark, expires = self.in_flight[key]
            if now < expires and (uplink is None or uplink in self.usable[packet.family]):
                # The rule that took it, as long as the policy has one of that name.
                known = rule in {there.name for there in self.policy.rules}
                return uplink, rule if known else None, "in-flight", mark
        taken = self.first_match(packet)
        uplink, reason = self.follow(taken, packet, now)
        if reason == "drop":
            mark = 0
        elif uplink is None:
            mark = self.policy.gateway.marks.direct
        else:
            mark = self.policy.mark(self.policy.uplink(uplink))
            self.flows[uplink] += 1
        name = taken.name if taken else None
        self.in_flight[key] = (uplink, name, mark, now + FLIGHT_TIME)
        return uplink, name, reason, mark

    def first_match(self, packet: Packet) -> Rule | None:
        uplinks = {u.name for u in self.policy.uplinks}
        for rule in self.policy.rules:
            down = rule.use in uplinks and rule.use not in self.usable[packet.family]
            if matches(rule, packet) and (rule.strict or not down):
                return rule
        return None

    def follow(self, rule: Rule | None, packet: Packet, now: int) -> tuple[str | None, str]:
        """The uplink, if any, and the reason."""
        balancers = {b.name: b for b in self.policy.balancers}
        use, fallen = rule.use if rule else "direct", False
        while use in balancers:
            uplink, reason = self.balance(balancers[use], packet, now)
            if uplink:
                return uplink, "fallback" if fallen else reason
            use, fallen = balancers[use].fallback, True
        if use == "drop":
            return None, "drop"
        if use in self.usable[packet.family]:
            return use, "fallback" if fallen else "pinned"
        if use != "direct" and not fallen:
            return None, "drop"
        return None, "fallback" if fallen else "direct"

    def balance(self, balancer: Balancer, packet: Packet, now: int) -> tuple[str | None, str]:
        shares = self.shares(balancer, packet.family)
        words = sticky_words(balancer.sticky or Sticky(), packet)
        entries = self.sticky[balancer.name]
        remembers = balancer.sticky is not None and balancer.method != "hash"
        key = (packet.family, words)
        uplink: str | None = None
        if remembers and key in entries:
            uplink, expires = entries.pop(key)
            if now < expires and uplink in shares:
                entries[key] = (uplink, now + round(balancer.sticky.timeout * 1000))
                return uplink, "sticky"
        if not shares:
            return None, ""
        reason = balancer.method
        turns = self.turns[balancer.name][packet.family]
        if balancer.method == "nth":
            uplink = turns.next()
        elif balancer.method == "weighted":
            uplink = self.draw(shares)
        elif balancer.method == "hash":
            uplink = self.rendezvous(shares, words)
        elif balancer.custom:
            uplink, reason = self.custom(shares, packet)
        else:
            uplink = self.by_load(balancer, turns)
        if remembers:
            entries[key] = (uplink, now + round(balancer.sticky.timeout * 1000))
        return uplink, reason

    def custom(self, shares: dict[str, int], packet: Packet) -> tuple[str, str]:
        try:
            index = ByAddress.index(packet.dst, packet.sport or 0, len(shares))
        except ValueError:
            return self.draw(shares), "weighted"
        return list(shares)[index], "custom"

    def by_load(self, balancer: Balancer, turns: Turns) -> str:
        names, (option,) = turns.uplinks, balancer.options.values()
        if balancer.method == "least-loaded":
            loads = {name: self.load(name, 1) for name in names}
            least = min(loads.values())
            return turns.next_among([n for n in names if loads[n] <= least + option / 100])
        if balancer.method == "overflow":
            loads = {name: self.load(name) for name in names}
            with_room = [name for name in names if loads[name] < option / 100]
            return with_room[0] if with_room else min(names, key=lambda name: loads[name])
        measured = {n: self.loads[n].latency for n in names if self.loads[n].latency is not None}
        if not measured:
            return turns.next_among(names)
        least = min(measured.values())
        return turns.next_among([n for n in names if measured.get(n, 1e9) <= least + option])

    def draw(self, shares: dict[str, int]) -> str:
        # Lemire's multiplication; what it rejects has a chance below total / 2^64.
        self.random, number = splitmix(self.random)
        left = number * sum(shares.values()) >> 64
        for uplink, weight in shares.items():
            if left < weight:
                return uplink
            left -= weight
        raise AssertionError("the draw is below the sum of weights")

    def rendezvous(self, shares: dict[str, int], words: tuple[int, ...]) -> str:
        message = b"".join(word.to_bytes(8, "little") for word in words)
        digest = siphash(self.k0, self.k1, message)

        def score(uplink: str) -> float:
            name = uplink.encode()
            salt = siphash(self.k0, self.k1, name + bytes(-len(name) % 8))
            u = ((mix((digest + salt) & WORD) >> 12) + 0.5) / 2**52
            return -shares[uplink] / log(u)

        return max(shares, key=score)


def table_key(balancer: Balancer) -> tuple[object, ...] | None:
    """What two sticky tables must have alike to mean the same; None where there is none."""
    sticky = balancer.sticky
    if sticky is None or balancer.method == "hash":
        return None
    return sticky.by, sticky.prefix4, sticky.prefix6, sticky.size


def matches(rule: Rule, packet: Packet) -> bool:
    return all(
        (
            rule.family is None or rule.family == f"ipv{packet.family}",
            not rule.from_ or any(contains(network, packet.src) for network in rule.from_),
            not rule.to or any(contains(network, packet.dst) for network in rule.to),
            not rule.protocols or packet.protocol in rule.protocols,
            not rule.from_ports or in_ranges(packet.sport, rule.from_ports),
            not rule.to_ports or in_ranges(packet.dport, rule.to_ports),
            not rule.in_interfaces or packet.interface in rule.in_interfaces,
            not rule.users or packet.user in rule.users,
            not rule.dscp or packet.dscp in rule.dscp,
        )
    )


def contains(network: Network, address: IPv4Address | IPv6Address) -> bool:
    return network.version == address.version and address in network


def in_ranges(port: int | None, ranges: tuple[tuple[int, int], ...]) -> bool:
    return port is not None and any(low <= port <= high for low, high in ranges)


def sticky_words(sticky: Sticky, packet: Packet) -> tuple[int, ...]:
    """Remote and local address, cut to the prefix; 0 what is not asked for. IPv4 ones share a word,
    IPv6 ones take two each."""
    remote, local = (
        int(masked(address, sticky)) if asked in sticky.by else 0
        for asked, address in (("remote", packet.dst), ("local", packet.src))
    )
    if packet.family == 4:
        return (remote << 32 | local,)
    return (remote >> 64, remote & WORD, local >> 64, local & WORD)


def masked(address: IPv4Address | IPv6Address, sticky: Sticky) -> IPv4Address | IPv6Address:
    bits, prefix = (32, sticky.prefix4) if address.version == 4 else (128, sticky.prefix6)
    cut = int(address) >> (bits - prefix) << (bits - prefix)
    return ip_address(cut.to_bytes(bits // 8))
