"""`fastest`: new flows go where probes were answered soonest, and follow when that changes."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from probe_servers import dns_server

from classifier.lab.limits import scaled
from classifier.service.control.client import ask

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

TARGET = "203.0.113.9"
PROBES = (
    f'health = {{ probe = "dns", targets = ["{TARGET}"], interval = "100ms", window = 3, down = 3,'
    " up = 1 }"
)
SLOW = 0.3
"""Seconds; a machine that is busy makes no answer of the fast one as late as that three times."""
OPTIONS = 'options = { tolerance = "50ms" }'


def uplinks(gateway: Lab) -> dict[str, Any]:
    """Of the status; asked for without a process of its own, since it is done often."""
    found: dict[str, Any] = ask(gateway.service.runtime_dir, "GET", "/status")["uplinks"]
    return found


def fast_ones(gateway: Lab) -> set[str]:
    """Of the uplinks, by what status says; none as long as it does not know of all."""
    known = {name: uplink["latency"] for name, uplink in uplinks(gateway).items()}
    if None in known.values():
        return set()
    return {name for name, seconds in known.items() if seconds < SLOW / 2}


def test_new_flows_follow_the_uplink_whose_probes_are_answered_soonest(
    lab: StartLab, configuration: Configuration
) -> None:
    weights = {"wired": 3, "wifi1": 1, "wifi2": 1}
    gateway = lab(
        configuration(weights, method="fastest", balancer=OPTIONS, uplink=PROBES), service=False
    )
    fast = ""
    with ExitStack() as undo:
        for name, internet in gateway.isps.items():
            delay = lambda name=name: 0.0 if name == fast else SLOW  # noqa: E731
            undo.enter_context(dns_server(internet, TARGET, delay))
        gateway.start_service()
        for fast in ("wifi1", "wifi2", "wired"):
            deadline = time.monotonic() + scaled(20)
            while fast_ones(gateway) != {fast}:
                assert time.monotonic() < deadline, uplinks(gateway)
                time.sleep(0.02)
            # The engine is told twice a second. By weights no uplink is given ten in a row.
            while {*gateway.connect(gateway.flows(10, "tcp", 8080)).values()} != {fast}:
                assert time.monotonic() < deadline, uplinks(gateway)
            before = uplinks(gateway)[fast]["flows"]
            taken = gateway.connect(gateway.flows(50, "tcp", 8080))
            assert set(taken.values()) == fast_ones(gateway) == {fast}
            assert uplinks(gateway)[fast]["flows"] == before + 50
            assert {uplink["state"] for uplink in uplinks(gateway).values()} == {"up"}
