"""Fixtures for tests on a real kernel: a virtual gateway that runs the real service.

Everything in this folder is marked `gateway`. A test reads as a story::

    def test_flows_are_shared_out_by_weight(lab, configuration):
        gateway = lab(configuration({"wired": 34, "wifi1": 33, "wifi2": 33}))
        flows = gateway.flows(300, "tcp", 8080)          # from hosts of the LAN, to anywhere
        taken = gateway.connect(flows)                   # {flow: uplink it took, None if it failed}
        order = [taken[flow] for flow in flows]
        assert largest_deviation(order, {"wired": 34, "wifi1": 33, "wifi2": 33}) < 1

    def test_no_flow_is_split_across_uplinks(lab, configuration):
        gateway = lab(configuration({"wired": 1, "wifi1": 1}))
        gateway.tap                                      # counts from here on
        gateway.send(gateway.flows(200, "udp", 5000), packets=10)
        gateway.tap.wait_for_packets(2000)
        assert gateway.tap.split_flows() == []

`lab(text)` builds the gateway of a configuration, starts the service in it and waits until it is
ready; `lab(text, service=False)` leaves that to the test (`gateway.start_service("--seed", "7")`).
Give `seed=7` to start the service with that seed. All labs of a test are closed when it ends, and
what their services wrote is shown when it fails.

What a lab offers (see `classifier.lab.lab.Lab`, and `tap`, `gateway_service`, `traffic` there):

- `gateway.lan`, `gateway.gateway`, `gateway.isps["wired"]`: namespaces (`run`, `enter`, `sysctl`)
- `connect` (TCP), `ask` (UDP with an answer), `send` (UDP without), `open` (a TCP connection that
  stays), `ftp_transfer`, `inject` (packets made by hand, see
  `classifier.lab.packets`);
  `sender="gateway"` sends the gateway's own flows (make them with `source=None`), `sender="wifi1"`
  sends from the internet behind an uplink
- `gateway.tap`: what arrived at which ISP, `order()`, `split_flows()`, `uplinks(flows)`
- `gateway.service`: `stop`, `kill`, `reload`, `signal`, `status`, `config` (its file), `log`
- `gateway.connections()`: the connections that the gateway's kernel knows, with their marks
- `gateway.addresses`: `uplink("wifi1").own`, `lans[0].hosts` and so on

`classifier.lab.deviation` has `largest_deviation`; `distribution` beside these folders has
`deviation` and `outside_interval`, for the counts at the end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

import pytest

from classifier.host.iptables.programs import Variant
from classifier.lab.lab import Lab
from classifier.lab.namespace import Namespace

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.gateway)


class StartLab(Protocol):
    def __call__(
        self, config: str, *options: str, service: bool = True, seed: int | None = None
    ) -> Lab: ...


class Configuration(Protocol):
    def __call__(
        self,
        weights: Mapping[str, int],
        *,
        method: str = "nth",
        balancer: str = "",
        gateway: str = "",
        uplink: str = "",
        rules: str = "",
        more: str = "",
    ) -> str: ...


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[StartLab]:
    """`lab(text, *options of run, service=True, seed=None)` -> a running `Lab`."""
    with ExitStack() as undo:

        def start(config: str, *options: str, service: bool = True, seed: int | None = None) -> Lab:
            directory = tmp_path / f"lab{sum(1 for _ in tmp_path.iterdir())}"
            directory.mkdir()
            file = directory / "gateway.toml"
            file.write_text(config)
            built = Lab(file, directory)
            undo.callback(_show_log, built)
            undo.callback(built.close)
            if service:
                built.start_service(*(() if seed is None else ("--seed", str(seed))), *options)
            return built

        yield start


class UseIptables(Protocol):
    def __call__(self, variant: Variant) -> None: ...


@pytest.fixture
def use_iptables(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> UseIptables:
    """`use_iptables("legacy")`: from here on `iptables` and the like are of that variant."""

    def use(variant: Variant) -> None:
        programs = tmp_path_factory.mktemp("programs")
        for family in ("iptables", "ip6tables"):
            for action in ("", "-save", "-restore"):
                target = Path("/usr/sbin") / f"{family}-{variant}{action}"
                (programs / f"{family}{action}").symlink_to(target)
        monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")

    return use


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host on its own: a namespace with nothing but loopback, for what needs no gateway."""
    with Namespace.create("host") as host:
        yield host


def _show_log(lab: Lab) -> None:
    if lab.service.log.exists():
        # Shown by pytest when the test fails.
        print(f"--- the service of {lab.service.config} wrote:\n{lab.service.log.read_text()}")


@pytest.fixture
def configuration() -> Configuration:
    """`configuration(weights)` -> the text of a gateway that balances all flows over uplinks.

    Uplinks are named by the keys of `weights`, on eth0, eth1 and so on, with gateways 192.0.2.1,
    192.0.3.1 and so on; the LAN is on lan0. The balancer is called "all". TOML lines are added:
    `gateway` to [gateway], `uplink` to every uplink, `balancer` to the balancer, `rules` before
    the rule "the rest" (whole [[rules]] tables), `more` at the end (other tables).
    """

    def make(
        weights: Mapping[str, int],
        *,
        method: str = "nth",
        balancer: str = "",
        gateway: str = "",
        uplink: str = "",
        rules: str = "",
        more: str = "",
    ) -> str:
        parts = [f'[gateway]\nlan = ["lan0"]\n{gateway}\n']
        for number, (name, weight) in enumerate(weights.items()):
            parts.append(
                f'[uplinks.{name}]\ninterface = "eth{number}"\n'
                f'gateway = "192.0.{2 + number}.1"\nweight = {weight}\n{uplink}\n'
            )
        names = ", ".join(f'"{name}"' for name in weights)
        parts.append(
            f'[balancers.all]\nmethod = "{method}"\nuplinks = [{names}]\n{balancer}\n'
            f'{rules}\n[[rules]]\nname = "the rest"\nuse = "all"\n{more}\n'
        )
        return "\n".join(parts)

    return make
