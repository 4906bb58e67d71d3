"""`down [FILE]`: remove everything of ours from the host, whichever run left it."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from classifier.commands.directories import add_directories
from classifier.errors import HostError, ServiceError
from classifier.host import reading, steps
from classifier.host.diff import diff
from classifier.host.iptables.programs import IPTABLES, Variant, installed_variant
from classifier.host.plan import NOTHING
from classifier.queue.capabilities import require_net_admin
from classifier.queue.kernel_queues import kernel_queue
from classifier.queue.owner import owner
from classifier.service.control.client import ask

HELP = "remove everything of ours from the host, whichever run left it"

_SECONDS = 30.0
"""For a service to end what it is at: it may be looking at a large firewall."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", nargs="?", help="not read: what is ours is known without it"
    )
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    require_net_admin()
    # A service that runs would put right what is removed here.
    released = _released(options.runtime_dir, {})
    snapshot = reading.read(_variant(), ours_only=True)
    needed = diff(snapshot, NOTHING)
    if needed:
        steps.run_all(needed, done=_tell)
    else:
        print("nothing of ours was here")
    released = released and _released(options.runtime_dir, {"done": True})
    for number in sorted(snapshot.firewall.queued_to):
        if (queue := kernel_queue(number)) is not None:
            what = "with nothing left to classify" if released else "and puts the rules back"
            print(f"still running, {what}: {owner(queue.portid)}", file=sys.stderr)
    return 0


def _released(runtime_dir: Path, body: Mapping[str, bool]) -> bool:
    """Ask a service that runs to let go of the host; it takes it back unless `done` comes later."""
    with contextlib.suppress(ServiceError):
        ask(runtime_dir, "POST", "/release", body, seconds=_SECONDS)
        return True
    return False


def _variant() -> Variant:
    try:
        return installed_variant()
    except HostError:
        return "nft"  # without iptables there may be rules and routes of ours all the same


def _tell(step: steps.Step) -> None:
    for line in _lines(step):
        print(line, flush=True)


def _lines(step: steps.Step) -> Iterator[str]:
    match step:
        case steps.ChangeRules(variant, family, _, before):
            for chain in before.chains:
                yield f"removed {IPTABLES[family]}-{variant} -t {chain.table} chain {chain.name}"
        case steps.DeleteRule(there):
            yield f"removed ip -{there.rule.family} rule {there}"
        case steps.DeleteRoute(there):
            yield f"removed ip -{there.route.family} route {there}"
        case steps.WriteSysctl(key, value):
            yield f"restored sysctl {key} = {value}"
        case steps.DeleteBaseChains(created):
            for base in sorted(created, key=str):
                yield f"removed nft {'chain' if base.name else 'table'} {base}, if it was empty"
