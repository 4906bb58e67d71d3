"""The policy: uplinks, balancers and rules as frozen values, after every check has passed.

Nothing here reads a file, a clock or the host. `classifier.config` makes these values from TOML,
the engine compiles them, and the host plan is computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any, Literal

Family = Literal[4, 6]
"""IPv4 or IPv6."""
FAMILIES: tuple[Family, ...] = (4, 6)

Network = IPv4Network | IPv6Network
PortRange = tuple[int, int]
"""First and last port of a range, both included."""

DIRECT = "direct"
DROP = "drop"
RESERVED_NAMES = frozenset({DIRECT, DROP})

METHOD_OPTIONS: Mapping[str, Mapping[str, float]] = {
    "nth": {},
    "weighted": {},
    "hash": {},
    "least-loaded": {"tolerance": 1},
    "overflow": {"share": 80},
    "fastest": {"tolerance": 0.01},
}
"""The built-in methods, with their options and what these are unless told otherwise: percent of the
capacity; of `fastest`, seconds."""
BY_WEIGHTS = frozenset({"nth", "weighted", "hash"})
"""The methods that go by nothing but weights, so that it can be said what each uplink will get."""


@dataclass(frozen=True, slots=True)
class Marks:
    """How uplink ids are written into the mark bits that are ours.

    The two highest values under the mask are not uplinks: the highest means `direct`, the one
    below marks a packet on its way through the queue, and stays on it only when no classifier
    answered.
    """

    mask: int

    @property
    def shift(self) -> int:
        return (self.mask & -self.mask).bit_length() - 1

    @property
    def largest_id(self) -> int:
        """Uplink ids run from 1 to this; an id also has to fit in one byte."""
        return min((self.mask >> self.shift) - 2, 253)

    @property
    def direct(self) -> int:
        return self.mask

    @property
    def unclassified(self) -> int:
        return self.mask & ~(1 << self.shift)

    def of(self, uplink_id: int) -> int:
        return uplink_id << self.shift


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a line can carry, in bytes per second."""

    down: int
    """From the internet to the gateway."""
    up: int


ProbeKind = Literal["icmp", "tcp", "dns", "http"]


@dataclass(frozen=True, slots=True)
class Target:
    """What a health probe asks."""

    text: str
    """As it is written in the file: its name in reports and metrics; http: the URL."""
    host: str
    """An address in its usual spelling; http: a host name, too."""
    port: int = 0
    """0 for icmp."""
    name: str = ""
    """dns: the name that is asked for."""

    @property
    def family(self) -> Family:
        """Which of an uplink's families it judges; a host name is asked over IPv4."""
        return 6 if ":" in self.host else 4


@dataclass(frozen=True, slots=True)
class Health:
    """How an uplink is probed, and when it counts as down; see `classifier.uplinks.health`."""

    probe: ProbeKind
    targets: tuple[Target, ...]
    interval: float = 1.0
    """Seconds from the start of one round, in which all targets are asked, to the next."""
    timeout: float = 1.0
    """Seconds after which an answer counts as lost."""
    down: int = 3
    """Bad rounds in a row after which the uplink is down."""
    up: int = 5
    """Good rounds in a row that it needs to come back."""
    need: int = 1
    """Targets that must answer in a good round; each family by itself."""
    window: int = 30
    """Rounds over which loss and latency are measured."""
    loss: int = 40
    """Percent; down above."""
    loss_ok: int = 10
    """Percent; comes back at this or below."""
    latency: float = 1.0
    """Seconds; down above."""
    latency_ok: float = 0.5
    """Seconds; comes back at this or below."""


@dataclass(frozen=True, slots=True)
class Uplink:
    name: str
    id: int
    """1 to `Marks.largest_id`; decides mark and routing table, stable over restarts."""
    interface: str
    gateway: str | None = None
    """IPv4 address, "auto", or None on a point-to-point link."""
    gateway6: str | None = None
    """IPv6 address or "auto"; None: this uplink takes no IPv6 flows."""
    weight: int = 1
    masquerade: bool = True
    onlink: bool = False
    """The gateway is in none of the interface's networks, and that is intended."""
    tier: int = 1
    """Lower first; see `Balancer.least_up`."""
    capacity: Capacity | None = None
    flush: Literal["down", "never"] = "down"
    """Whether its connections are ended when it goes down and another uplink can take them."""
    failback: Literal["keep", "move"] = "keep"
    """What becomes of flows that others took while it was down, once it is back."""
    health: Health | None = None
    """None: it is not probed."""

    @property
    def families(self) -> tuple[Family, ...]:
        """Those whose flows it takes; every uplink takes IPv4."""
        return (4,) if self.gateway6 is None else FAMILIES


@dataclass(frozen=True, slots=True)
class Sticky:
    by: Literal["remote", "local", "local+remote"] = "remote"
    timeout: float = 600.0
    """Seconds an entry lives after the last new flow that used it."""
    prefix4: int = 32
    prefix6: int = 128
    size: int = 65536
    """Maximum number of entries."""


@dataclass(frozen=True, slots=True)
class Member:
    """One uplink of a balancer with its weight there."""

    uplink: str
    weight: int
    tier: int = 1


@dataclass(frozen=True, slots=True)
class Balancer:
    name: str
    method: str
    """One of `METHOD_OPTIONS`, or "package.module:Class" for a method of one's own."""
    members: tuple[Member, ...]
    sticky: Sticky | None = None
    fallback: str = DIRECT
    """Used when no member can take the flow: direct, drop, or the name of an uplink or balancer."""
    least_up: int = 1
    """Uplinks that have to be up; the next tier joins while fewer are in those before. For IPv4 and
    IPv6 each by itself."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of the method. Of one's own: what its constructor is given."""
    custom: type | None = None
    """The class of a method of one's own."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A match and what to use. An empty tuple or None matches everything."""

    name: str
    use: str
    strict: bool = False
    from_: tuple[Network, ...] = ()
    to: tuple[Network, ...] = ()
    protocols: tuple[int, ...] = ()
    from_ports: tuple[PortRange, ...] = ()
    to_ports: tuple[PortRange, ...] = ()
    in_interfaces: tuple[str, ...] = ()
    family: Literal["ipv4", "ipv6"] | None = None
    users: tuple[int, ...] = ()
    """Numeric user ids; only the gateway's own (locally originated) flows have one."""
    dscp: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Gateway:
    lan: tuple[str, ...] = ()
    local: bool = True
    mask: int = 0x3F00
    firewall: Literal["auto", "nftables", "iptables"] = "auto"
    helpers: tuple[str, ...] = ()
    control_group: str | None = None
    """Name of the group that may use the control socket, besides root and the service's user."""
    on_change: tuple[str, ...] = ()
    """A program's path and its arguments, started when an uplink has changed; empty: none."""

    @property
    def marks(self) -> Marks:
        return Marks(self.mask)


@dataclass(frozen=True, slots=True)
class Queue:
    first: int = 0
    count: int = 1
    length: int = 8192
    backend: Literal["native", "netfilterqueue"] = "native"
    overload: Literal["accept", "drop"] = "accept"

    @property
    def numbers(self) -> range:
        return range(self.first, self.first + self.count)


@dataclass(frozen=True, slots=True)
class Policy:
    gateway: Gateway
    queue: Queue
    uplinks: tuple[Uplink, ...]
    balancers: tuple[Balancer, ...] = ()
    rules: tuple[Rule, ...] = ()
    _by_name: dict[str, Uplink] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", {uplink.name: uplink for uplink in self.uplinks})

    def uplink(self, name: str) -> Uplink:
        return self._by_name[name]

    def mark(self, uplink: Uplink) -> int:
        return self.gateway.marks.of(uplink.id)

    @property
    def ipv6(self) -> bool:
        """Whether any uplink takes IPv6 flows; if none does, the host's IPv6 is left alone."""
        return any(uplink.gateway6 is not None for uplink in self.uplinks)

    def with_ids(self, ids: Mapping[str, int]) -> Policy:
        """The same policy with the uplink ids of `ids` (name to id), which must name them all."""
        return replace(self, uplinks=tuple(replace(u, id=ids[u.name]) for u in self.uplinks))
