"""The native queue with an engine that has one balancer, and no rule but the one that uses it."""

from __future__ import annotations

import sys
import time

from bench.peers.ours import read
from classifier.config import parse_policy
from classifier.engine.classifier import Classifier

POLICY = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
gateway = "192.168.1.254"
[uplinks.wifi1]
interface = "eth1"
gateway = "172.16.0.1"
[uplinks.wifi2]
interface = "eth2"
gateway = "172.17.0.1"
[balancers.all]
method = "{method}"
options = {options}
uplinks = ["wired", "wifi1", "wifi2"]
[[rules]]
use = "all"
"""
_OPTIONS = {
    "source_quota:SourceQuota": '{ uplink = "wired", quotas = { "192.168.1.0/24" = 4000 } }'
}


def main() -> None:
    method, places, number = sys.argv[1:]
    sys.path.extend(places.split(":"))
    policy = parse_policy(POLICY.format(method=method, options=_OPTIONS.get(method, "{}")))
    engine = Classifier(policy, seed=7).engine
    engine.clock = time.monotonic  # as in the service
    read(engine, int(number))
    if errors := engine.counters().balancers["all"].errors:
        raise SystemExit(f"{method} failed {errors} times")


if __name__ == "__main__":
    main()
