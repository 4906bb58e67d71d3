"""What traffic is simulated, as frozen values that have been checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_network

from classifier.config.names import PROTOCOL_NAMES
from classifier.config.reading import WrongValueError
from classifier.config.values import rate
from classifier.errors import UsageError
from classifier.policy import Network
from classifier.simulate import distributions
from classifier.simulate.distributions import Distribution

FLOWS = 100_000
REMOTES = "zipf:1.1"
ARRIVALS = "poisson:100"
HOSTS = 100
LAN = "192.168.0.0/16"
BYTES = "pareto:1.2:10k:1g"
PORTS = "tcp/443:7,udp/443:2,tcp/80:1"
FLOW_RATE = "100mbit"

_MOST_FLOWS = 10**10
_MOST_CLIENTS = 1_000_000
_LARGEST_WEIGHT = 1_000_000
_SERVICE = re.compile(r"(tcp|udp)/([0-9]{1,5})(?::([0-9]{1,7}))?")


@dataclass(frozen=True, slots=True)
class Service:
    """A kind of flows."""

    protocol: int
    port: int
    """Destination port."""
    weight: int


@dataclass(frozen=True, slots=True)
class Traffic:
    flows: int
    """How many begin in all."""
    parallel: int | None
    """Clients, each of which begins a flow when its last one has ended; None: flows begin at times
    of their own, `gaps` apart."""
    together: bool
    """Whether these clients wait for each other: they begin all at once, when all have ended."""
    gaps: Distribution
    """Seconds from one flow's beginning to the next one's."""
    remotes: Distribution
    """The rank of a flow's remote, from 1 on."""
    hosts: int
    """LAN hosts, each as likely as the others to begin a flow."""
    lan: Network
    """Their addresses are the first ones of this network."""
    sizes: Distribution
    """Bytes of a flow."""
    services: tuple[Service, ...]
    flow_rate: int
    """Bytes per second that one flow gets at most."""


def read_traffic(
    *,
    flows: float = FLOWS,
    remotes: str = REMOTES,
    arrivals: str | None = None,
    parallel: float | None = None,
    together: bool = False,
    hosts: float = HOSTS,
    lan: str = LAN,
    bytes: str = BYTES,
    ports: str = PORTS,
    flow_rate: str = FLOW_RATE,
) -> Traffic:
    """Reads what is written as on the command line; UsageError names what is wrong."""
    if parallel is not None and arrivals is not None:
        raise UsageError(
            f"parallel {parallel}: not together with arrivals, because each client begins a flow "
            "when its last one has ended"
        )
    if together and parallel is None:
        raise UsageError("together: only with parallel, whose clients begin all at once")
    network = _network(lan)
    return Traffic(
        flows=_whole("flows", flows, _MOST_FLOWS),
        parallel=None if parallel is None else _whole("parallel", parallel, _MOST_CLIENTS),
        together=together,
        gaps=distributions.arrivals(arrivals or ARRIVALS),
        remotes=distributions.remotes(remotes),
        hosts=_hosts(hosts, network),
        lan=network,
        sizes=distributions.sizes(bytes),
        services=_services(ports),
        flow_rate=_rate(flow_rate),
    )


def _whole(option: str, value: float, highest: int, why: str = "") -> int:
    if not 1 <= value <= highest or value != int(value):
        raise UsageError(f"{option} {value:g}: must be a whole number from 1 to {highest}{why}")
    return int(value)


def _network(text: str) -> Network:
    try:
        return ip_network(text)
    except ValueError as error:
        raise UsageError(f"lan {text}: {error}") from None


def _hosts(value: float, lan: Network) -> int:
    # Neither the network's own address nor the last one, which is for broadcasts.
    room = min(lan.num_addresses - 2, distributions.LARGEST_COUNT)
    if room < 1:
        raise UsageError(f"lan {lan}: has no addresses for hosts")
    return _whole("hosts", value, room, f", as many as lan {lan} has addresses for")


def _services(text: str) -> tuple[Service, ...]:
    services = []
    for part in text.split(","):
        match = _SERVICE.fullmatch(part.strip())
        if match is None or not 1 <= int(match[2]) <= 65535:
            raise UsageError(
                f"ports {text}: {part.strip()!r} must be tcp/PORT[:WEIGHT] or udp/PORT[:WEIGHT], "
                "with a port from 1 to 65535"
            )
        weight = int(match[3] or 1)
        if not 1 <= weight <= _LARGEST_WEIGHT:
            raise UsageError(
                f"ports {text}: the weight of {part.strip()!r} must be from 1 to {_LARGEST_WEIGHT}"
            )
        services.append(Service(PROTOCOL_NAMES[match[1]], int(match[2]), weight))
    return tuple(services)


def _rate(text: str) -> int:
    try:
        return rate(text)
    except WrongValueError as error:
        raise UsageError(f"flow-rate {text}: {error}") from None
