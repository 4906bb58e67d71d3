"""`plan FILE`: print what the policy needs on this host; changes nothing."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

from classifier.commands.directories import add_state_dir
from classifier.config import load_policy
from classifier.host import facts
from classifier.host.ids import stored_ids
from classifier.host.plan import plan
from classifier.host.render import render
from classifier.queue.capabilities import require_net_admin

HELP = "print what would be changed on this host, as text that can be read and diffed"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    add_state_dir(parser)


def run(options: argparse.Namespace) -> int:
    policy = stored_ids(options.state_dir, load_policy(options.file))
    require_net_admin()  # iptables tells nobody else what there is
    host_plan = plan(policy, facts.read())
    if options.json:
        json.dump(dataclasses.asdict(host_plan), sys.stdout, indent=2)
        print()
    else:
        print(render(host_plan), end="")
    return 0
