"""`check FILE`: validate a configuration and print the policy that comes out of it."""

from __future__ import annotations

import argparse
import json
import sys

from classifier.commands.policy_text import policy_data, policy_text
from classifier.commands.saved_state import add_saved_state, saved_state
from classifier.config import load_policy
from classifier.config.advice import warnings

HELP = "validate a configuration and print the effective policy"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--json", action="store_true", help="print the policy as JSON")
    add_saved_state(parser)


def run(options: argparse.Namespace) -> int:
    saved = saved_state(load_policy(options.file), options)
    policy = saved.policy
    advice = (
        *warnings(policy),
        *(f"uplink {name} is out of use: {why}" for name, why in saved.out_of_use.items()),
    )
    if options.json:
        json.dump({**policy_data(policy), "warnings": advice}, sys.stdout, indent=2)
        print()
    else:
        print(policy_text(policy, advice), end="")
    return 0
