"""`check FILE`: validate a configuration and print the policy that comes out of it."""

from __future__ import annotations

import argparse
import json
import sys

from classifier.commands.policy_text import policy_data, policy_text
from classifier.config import load_policy
from classifier.config.advice import warnings

HELP = "validate a configuration and print the effective policy"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument("--json", action="store_true", help="print the policy as JSON")


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.file)
    advice = warnings(policy)
    if options.json:
        json.dump({**policy_data(policy), "warnings": advice}, sys.stdout, indent=2)
        print()
    else:
        print(policy_text(policy, advice), end="")
    return 0
