"""A whole run of the lab: build, start the service, send the flows, stop, report."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from classifier.lab.howto import Howto
from classifier.lab.lab import Lab
from classifier.lab.outcome import Outcome, Promise, Sent
from classifier.lab.survey import Survey

Progress = Callable[[str], None]


class Show(Protocol):
    sent: list[Sent]
    promises: list[Promise]

    @property
    def parts(self) -> Sequence[tuple[str, Callable[[], None]]]: ...

    def conclude(self) -> None: ...


def exhibit(
    config: Path, directory: Path, flows: int, seed: int, *, howto: bool, progress: Progress
) -> Outcome:
    """Run the configuration in a lab with its files in `directory`; `howto` says that it is the
    how-to's, whose promises are known. Raises ConfigError, LabError."""
    started = time.monotonic()
    progress("building the virtual gateway")
    with Lab(config, directory, seed=seed) as lab:
        progress("starting the service")
        lab.start_service("--seed", str(seed))
        show: Show = Howto(lab, flows) if howto else Survey(lab, flows, seed)
        for name, part in show.parts:
            progress(name)
            part()
        show.conclude()
        progress("stopping the service")
        code = lab.stop_service()
        show.promises.append(
            Promise("the service stops when told to", code == 0, f"exit code {code}")
        )
        return Outcome(
            uplinks=tuple(uplink.name for uplink in lab.policy.uplinks),
            sent=tuple(show.sent),
            promises=tuple(show.promises),
            seconds=time.monotonic() - started,
        )
