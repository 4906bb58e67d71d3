"""Waiting for interfaces that were switched on a moment ago."""

from __future__ import annotations

import json
import time

from classifier.errors import LabError
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

_SECONDS = 10.0


def wait_until_running(namespace: Namespace) -> None:
    """Wait until every interface of a namespace that has a carrier is running, too (IFF_RUNNING).

    The kernel says so up to a second later (net/core/link_watch.c), and until then an uplink counts
    as down. Raises LabError.
    """
    deadline = time.monotonic() + scaled(_SECONDS)
    while late := _not_running(namespace):
        if time.monotonic() > deadline:
            raise LabError(f"{namespace.name}: not running after {_SECONDS:g} s: {', '.join(late)}")
        time.sleep(0.02)


def _not_running(namespace: Namespace) -> list[str]:
    links = json.loads(namespace.run(["ip", "-j", "link"]).stdout)
    # What `ip` calls NO-CARRIER is an interface that is up and not running.
    return [link["ifname"] for link in links if {"LOWER_UP", "NO-CARRIER"} <= set(link["flags"])]
