"""`simulate FILE`: synthetic flows through a policy, over uplinks whose capacities fill."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from classifier.commands.replay_options.summary_json import summary as replay_summary
from classifier.commands.table import Column, render
from classifier.config import load_policy
from classifier.simulate import Durations, Simulation, distributions, read_traffic, traffic
from classifier.simulate import run as run_simulation

HELP = "run synthetic flows through a policy: how its uplinks would fill"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument(
        "--flows",
        metavar="N",
        type=_number,
        default=traffic.FLOWS,
        help=f"flows in all, such as 1e6 (default: {traffic.FLOWS})",
    )
    parser.add_argument(
        "--remotes",
        metavar="SPEC",
        default=traffic.REMOTES,
        help=f"zipf:S[:N] or uniform:N (default: {traffic.REMOTES})",
    )
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--arrivals",
        metavar="SPEC",
        help="poisson:RATE or constant:RATE, in flows per second "
        f"(default: {traffic.ARRIVALS} without --parallel)",
    )
    begin.add_argument(
        "--parallel",
        metavar="N",
        type=_number,
        help="N clients, each of which begins a flow when its last one has ended",
    )
    parser.add_argument(
        "--hosts",
        metavar="N",
        type=_number,
        default=traffic.HOSTS,
        help=f"LAN hosts (default: {traffic.HOSTS})",
    )
    parser.add_argument(
        "--lan",
        metavar="CIDR",
        default=traffic.LAN,
        help=f"network of the LAN hosts, IPv4 or IPv6 (default: {traffic.LAN})",
    )
    parser.add_argument(
        "--bytes",
        metavar="SPEC",
        default=traffic.BYTES,
        help="size of a flow: pareto:SHAPE[:SMALLEST[:LARGEST]], exponential:MEAN or "
        f"constant:BYTES (default: {traffic.BYTES})",
    )
    parser.add_argument(
        "--ports",
        metavar="LIST",
        default=traffic.PORTS,
        help=f"protocols and destination ports with weights (default: {traffic.PORTS})",
    )
    parser.add_argument(
        "--flow-rate",
        metavar="RATE",
        default=traffic.FLOW_RATE,
        help=f"the most that one flow gets (default: {traffic.FLOW_RATE})",
    )
    parser.add_argument(
        "--in-interface",
        metavar="NAME",
        help="input interface of all flows (default: that of gateway.lan if there is only one)",
    )
    parser.add_argument(
        "--at",
        metavar="EVENT",
        action="append",
        default=[],
        help='an uplink that fails or returns, such as "120s wired down" (also up, drain, auto; '
        "repeatable)",
    )
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.file)
    wanted = read_traffic(
        flows=options.flows,
        remotes=options.remotes,
        arrivals=options.arrivals,
        parallel=options.parallel,
        hosts=options.hosts,
        lan=options.lan,
        bytes=options.bytes,
        ports=options.ports,
        flow_rate=options.flow_rate,
    )
    with _progress(wanted.flows) as progress:
        simulation = run_simulation(
            policy,
            wanted,
            seed=options.seed,
            in_interface=options.in_interface,
            at=options.at,
            progress=progress,
        )
    if options.json:
        print(json.dumps(summary(simulation), indent=2))
    else:
        print(text(simulation), end="")
    for failure in simulation.failures():
        print(f"nfq-classifier: {failure}", file=sys.stderr)
    return 0


def summary(simulation: Simulation) -> dict[str, object]:
    """The simulation as JSON."""
    said = replay_summary(simulation)
    return {
        **said,
        "uplinks": {
            name: {**asdict(use), **asdict(simulation.loads[name])}
            for name, use in simulation.uplinks.items()
        },
        "seconds": simulation.seconds,
        "offered": simulation.offered,
        "throughput": simulation.throughput,
        "durations": asdict(simulation.durations),
    }


def text(simulation: Simulation) -> str:
    """The simulation for people."""
    sums = [
        ("flows", str(simulation.flows)),
        ("seconds", f"{simulation.seconds:.1f}"),
        ("offered", _rate(simulation.offered)),
        ("throughput", _rate(simulation.throughput)),
    ]
    width = max(len(value) for _, value in sums)
    uplinks: list[Sequence[object]] = [
        (
            name,
            use.flows,
            f"{use.share:.2%}",
            *map(_rate, (load.capacity, load.throughput, load.peak)),
            "" if load.utilisation is None else f"{load.utilisation:.1%}",
            load.most_flows,
            *_durations(load.durations),
        )
        for (name, use), load in zip(
            simulation.uplinks.items(), simulation.loads.values(), strict=True
        )
    ]
    others = [("(direct)", simulation.direct), ("(dropped)", simulation.dropped)]
    uplinks += [(way, use.flows, *[""] * 9) for way, use in others if use.flows]
    titles = ["flows", "share", "capacity", "carried", "peak", "used", "at once"]
    titles += ["mean s", "median", "95 %"]
    return "\n".join(
        (
            "".join(f"{name:<10}  {value:>{width}}\n" for name, value in sums),
            render([Column("uplink"), *(Column(title, right=True) for title in titles)], uplinks),
            render(
                [Column("rule"), Column("flows", right=True)],
                [(rule.name, rule.flows) for rule in simulation.rules],
            ),
        )
    )


def _rate(value: int | None) -> str:
    """Bytes per second as people say rates of lines."""
    if value is None:
        return ""
    for unit, factor in (("Gbit/s", 125_000_000), ("Mbit/s", 125_000), ("kbit/s", 125)):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value * 8} bit/s"


def _durations(durations: Durations) -> list[str]:
    values = (durations.mean, durations.median, durations.p95)
    return ["" if seconds is None else f"{seconds:.3g}" for seconds in values]


def _number(text: str) -> float:
    value = distributions.number(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"{text} must be a number such as 5000 or 1e6")
    return value


@contextmanager
def _progress(flows: int) -> Iterator[Callable[[int], None] | None]:
    """A bar on stderr where that is a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich import progress
    from rich.console import Console

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as bars:
        task = bars.add_task("flows", total=flows)
        yield lambda begun: bars.update(task, completed=begun)
