"""Ourselves: the whole replay, flow tracking and policy; the same protocol as pcap_loop.c."""

from __future__ import annotations

import sys
import time

from bench.traffic import POLICY
from classifier.config import parse_policy
from classifier.replay import Replay


def main() -> None:
    policy = parse_policy(POLICY)
    for _ in sys.stdin:
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        run = Replay(policy, seed=7, keep=False)
        run.read(sys.argv[1])
        report = run.report()
        print(report.packets, time.process_time_ns() - cpu, time.monotonic_ns() - wall, flush=True)


main()
