"""A whole run of the lab: build, start the service, send the flows, stop, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from classifier.lab.comparison import Comparison
from classifier.lab.demonstration import Demonstration
from classifier.lab.features import missing_helper_modules
from classifier.lab.lab import Lab
from classifier.lab.report import Promise, Report, Sent

Progress = Callable[[str], None]


class Scenario(Protocol):
    """Flows to send, part by part, and what is promised of them."""

    sent: list[Sent]
    promises: list[Promise]

    @property
    def parts(self) -> Sequence[tuple[str, Callable[[], None]]]: ...

    def conclude(self) -> None: ...


def run(
    config: Path, directory: Path, flows: int, seed: int, *, demonstration: bool, progress: Progress
) -> Report:
    """Run the configuration in a lab with its files in `directory`; `demonstration` says that it
    is the demonstration's own, whose promises are known. Raises ConfigError, LabError."""
    started = time.monotonic()
    progress("building the virtual gateway")
    with Lab(config, directory, seed=seed) as lab:
        progress("starting the service")
        lab.start_service("--seed", str(seed))
        # Only now: the service loads modules where it may.
        missing = missing_helper_modules(lab.policy.gateway.helpers)
        scenario: Scenario = (
            Demonstration(lab, flows, missing) if demonstration else Comparison(lab, flows, seed)
        )
        for name, part in scenario.parts:
            progress(name)
            part()
        scenario.conclude()
        progress("stopping the service")
        code = lab.stop_service()
        scenario.promises.append(
            Promise("the service stops when told to", code == 0, f"exit code {code}")
        )
        return Report(
            uplinks=tuple(uplink.name for uplink in lab.policy.uplinks),
            sent=tuple(scenario.sent),
            promises=tuple(scenario.promises),
            warnings=tuple(_without_module(module) for module in missing),
            seconds=time.monotonic() - started,
        )


def _without_module(module: str) -> str:
    return (
        f"the kernel module {module} is not loaded: data connections that its helper should let "
        f"through NAT are lost (sudo modprobe {module})"
    )
