"""`simulate FILE`: synthetic flows through a policy, over uplinks whose capacities fill."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from classifier.commands import progress
from classifier.commands.replay_options import html_report, written_over
from classifier.commands.replay_options.summary_json import summary as replay_summary
from classifier.commands.table import Column, render
from classifier.config import load_policy
from classifier.policy import Policy
from classifier.simulate import Durations, Simulation, distributions, read_traffic, traffic
from classifier.simulate import run as run_simulation

if TYPE_CHECKING:
    from classifier.report import Subject

_FOOT = (
    "Bytes are what flows download; uploads are not simulated. Loads are what the uplinks carried,"
    " which is never more than their capacity."
)
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
        "--together",
        action="store_true",
        help="with --parallel: the clients wait for each other, and begin the next flows at once",
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
    html_report.arguments(parser)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")


def run(options: argparse.Namespace) -> int:
    written_over.check(options)
    policy = load_policy(options.file)
    wanted = read_traffic(
        flows=options.flows,
        remotes=options.remotes,
        arrivals=options.arrivals,
        parallel=options.parallel,
        together=options.together,
        hosts=options.hosts,
        lan=options.lan,
        bytes=options.bytes,
        ports=options.ports,
        flow_rate=options.flow_rate,
    )
    with progress.shown("flows", wanted.flows) as bar:
        simulation = run_simulation(
            policy,
            wanted,
            seed=options.seed,
            in_interface=options.in_interface,
            at=options.at,
            watch=options.report is not None,
            progress=bar.reach,
        )
    if options.report is not None:
        html_report.write(options.report, simulation, _subject(policy, options))
    if options.json:
        print(json.dumps(summary(simulation), indent=2))
    else:
        print(text(simulation), end="")
    for failure in simulation.failures():
        print(f"nfq-classifier: {failure}", file=sys.stderr)
    return 0


def _subject(policy: Policy, options: argparse.Namespace) -> Subject:
    """What the page is about: the policy, and what was simulated."""
    from classifier.report import Subject

    if options.parallel is None:
        begin = f"arrivals {options.arrivals or traffic.ARRIVALS}"
    else:
        together = " together" if options.together else ""
        begin = f"{options.parallel:.0f} parallel{together}"
    described = [
        f"{options.flows:.0f} flows",
        f"remotes {options.remotes}",
        begin,
        f"{options.hosts:.0f} hosts of {options.lan}",
        f"bytes {options.bytes}",
        f"ports {options.ports}",
        f"flow rate {options.flow_rate}",
        *(f"at {event}" for event in options.at),
    ]
    return Subject(policy, options.file, described, command="simulate", foot=_FOOT)


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
