"""`run FILE`: the gateway service, in the foreground."""

from __future__ import annotations

import argparse
import asyncio
import logging
import resource
from pathlib import Path

from classifier.commands.directories import add_directories
from classifier.config import load_policy
from classifier.errors import ServiceError
from classifier.policy import Policy
from classifier.queue.capabilities import require_net_admin
from classifier.service.gateway import Service
from classifier.service.run_settings import RunSettings
from classifier.service.signals import Signals

HELP = "run the gateway service in the foreground; SIGTERM stops it and cleans up"

_FILES = 30
"""File descriptors that a service holds at once, or needs for a moment; two more per queue."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument(
        "--keep",
        action="store_true",
        help="leave rules and routes in place at the end, for the next start to take over",
    )
    add_directories(parser)


def run(options: argparse.Namespace) -> int:
    logging.basicConfig(level=logging.INFO, format="nfq-classifier: %(message)s")
    policy = load_policy(options.file)
    require_net_admin()
    _require_files(policy)
    settings = RunSettings(
        Path(options.file).absolute(),
        options.runtime_dir,
        options.state_dir,
        options.seed,
        options.keep,
    )
    with Signals() as signals:
        asyncio.run(Service(policy, settings).run(signals))
    return 0


def _require_files(policy: Policy) -> None:
    least = _FILES + 2 * policy.queue.count
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < least:
        raise ServiceError(
            f"RLIMIT_NOFILE = {limit}: must be at least {least} file descriptors"
            " (ulimit -n; systemd: LimitNOFILE=)"
        )
