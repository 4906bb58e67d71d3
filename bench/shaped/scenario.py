"""What is downloaded, over which lines, by which methods: the same on wires and on paper."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATES = {"fast": 20, "middle": 10, "slow": 5}
"""Mbit/s."""
CLIENTS = 60
PORT = 8080
# Networks for documentation, which no simulated remote is in.
_GATEWAYS = ("192.0.2.1", "198.51.100.1", "203.0.113.1")
_CONFIG = """
[gateway]
lan = ["lan0"]
{uplinks}
[balancers.all]
method = "{method}"
uplinks = ["fast", "middle", "slow"]
[[rules]]
name = "all"
use = "all"
"""


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    method: str | None
    """Of the balancer; None: the kernel's `statistic`."""
    exact: bool
    """Whether a flow's uplink follows from the flows before it and the seed alone, not from time
    and load."""
    knows_load: bool = False


CONTENDERS = (
    Contender("least-loaded", "least-loaded", exact=False, knows_load=True),
    Contender("nth", "nth", exact=True),
    Contender("statistic", None, exact=True),
    Contender("hash", "hash", exact=True),
)


@dataclass(frozen=True, slots=True)
class Scenario:
    what: str
    weights: Mapping[str, int]
    statistic: str
    """Mode of the kernel's `statistic`: `nth` takes turns, which needs equal weights; `random`
    draws for each flow by itself, as our `weighted`."""
    remotes: int
    together: bool
    """Whether the clients begin all at once, when the last one of all is done."""
    flows: int
    """That begin; what is measured ends with the beginning of the last one."""
    size: int
    """Bytes of a download."""
    target: float | None = None
    """Percent of the lines that least-loaded has to use."""

    def draws(self, one: Contender) -> bool:
        """Whether nothing can foretell what this contender does with one flow."""
        return one.method is None and self.statistic == "random"

    def policy(self, method: str) -> str:
        """TOML."""
        uplinks = "\n".join(
            f'[uplinks.{name}]\ninterface = "eth{number}"\ngateway = "{gateway}"\n'
            f'capacity = "{rate}mbit"\nweight = {self.weights[name]}'
            for number, ((name, rate), gateway) in enumerate(
                zip(RATES.items(), _GATEWAYS, strict=True)
            )
        )
        return _CONFIG.format(uplinks=uplinks, method=method)


EQUAL = Scenario(
    "equal weights; each client begins a download, from another remote, when its last is done",
    {"fast": 1, "middle": 1, "slow": 1},
    statistic="nth",
    remotes=1_000_000_000,
    together=False,
    flows=300,
    size=150_000,
    target=95.0,
)
"""Nobody tells the methods by weights which line is the fastest. Those that do not know the load
all have the slow line as bottleneck, with a third of the flows: they differ by chance only."""

BURSTS = Scenario(
    "weights 4, 2, 1; all clients download from one remote at once, again when all are done",
    {"fast": 4, "middle": 2, "slow": 1},
    statistic="random",
    remotes=1,
    together=True,
    flows=CLIENTS * 6,
    size=150_000,
)
"""The weights are those of the lines. nth keeps to them within one flow, as does least-loaded;
draws miss them by some flows in each burst, and it ends with the slowest line; hash has one uplink
for one remote."""

SCENARIOS = (EQUAL, BURSTS)
