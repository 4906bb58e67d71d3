"""The gateway service: from a policy to packets that leave by the right uplink, and back.

Start order matters. The queue is bound before any rule sends packets to it, and routes stand
before marks lead to them; on the way down the rules go first, what waits is answered, and only
then the queue is closed, because closing it drops what waits.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier.engine.classifier import Classifier
from classifier.errors import QueueError, ServiceError
from classifier.host import apply, conflicts, counters, facts, plan, remove
from classifier.host.state import table_of
from classifier.policy import Policy
from classifier.service import serving, status
from classifier.service.control import ControlServer
from classifier.service.links import LinkEvents, interfaces_by_index
from classifier.service.lock import RuntimeLock
from classifier.service.notify import notify
from classifier.service.queues import Queues, with_safe_count
from classifier.service.signals import StopRequest

log = logging.getLogger(__name__)

_RULES_GONE = "nothing is classified: somebody has removed the rules; restart the service"


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How one run of the service was asked for, besides its policy."""

    runtime_dir: Path
    seed: int | None = None
    keep: bool = False
    """Leave the host state in place at the end, so that the next start takes over unnoticed."""


class Service:
    """One gateway: `start`, then `run` until `stop_request`, then `stop`."""

    def __init__(self, policy: Policy, settings: RunSettings, stop_request: StopRequest) -> None:
        self._stop_request = stop_request
        self._policy = with_safe_count(policy)
        self._settings = settings
        self._classifier = Classifier(self._policy, seed=settings.seed)
        self._undo: list[Callable[[], None]] = []
        self._started = time.monotonic()

    def start(self) -> None:
        """Take the host over; on failure everything is as before and the error is raised."""
        try:
            self._start()
        except BaseException:
            self._unwind()
            raise

    def _start(self) -> None:
        lock = RuntimeLock(self._settings.runtime_dir)
        self._undo.append(lock.release)
        self._plan = plan.plan(self._policy, facts.read())
        apply.check_interfaces(self._plan)
        serving.check_alone()
        conflicts.check(self._plan)
        self._mark_unusable()
        self._queues = Queues(self._policy, self._classifier)
        self._undo.append(self._queues.close)
        self._links = LinkEvents()
        self._undo.append(self._links.close)
        self._queues.set_interfaces(interfaces_by_index())
        self._queues.start(on_failure=self._stop_request.wake)
        self._undo.append(self._queues.stop)
        self._control = ControlServer(self._settings.runtime_dir, self._answer)
        self._undo.append(self._control.close)
        # Last, because all before it is undone by closing, and this undoes itself if it fails.
        apply.apply(self._plan)
        self._warnings = (*self._plan.warnings, *self._queues.warnings())
        for warning in self._warnings:
            log.warning("%s", warning)

    def _mark_unusable(self) -> None:
        """No flow is placed on an uplink whose table has no route for its family."""
        routed = {(route.table, route.family) for route in self._plan.routes}
        for uplink in self._policy.uplinks:
            table = table_of(uplink)
            usable = (table, 4) in routed, (table, 6) in routed
            self._classifier.engine.set_usable(uplink.name, *usable)

    def run(self) -> None:
        """Serve until a stop is requested; QueueError when a queue broke meanwhile."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._stop_request, selectors.EVENT_READ, None)
            selector.register(self._control, selectors.EVENT_READ, self._control.serve)
            selector.register(self._links, selectors.EVENT_READ, self._refresh_interfaces)
            notify("READY=1")
            log.info("ready: queue %s, %d uplinks", *self._described())
            while True:
                for key, _ in selector.select():
                    if key.data is None:
                        self._raise_failures()
                        return
                    key.data()

    def stop(self) -> None:
        """End the run: the host as it was found, unless it was asked to be kept."""
        notify("STOPPING=1")
        try:
            if not self._settings.keep:
                remove.remove(drain=self._queues.stop)
        finally:
            self._unwind()
        kept = self._settings.keep
        log.info("stopped: %s", "rules and routes stay" if kept else "the host is as it was found")

    def abandon(self) -> None:
        """End like a crash: the host state stays, flows go on, the next start takes over."""
        self._unwind()
        log.error("ended like a crash: rules and routes stay, for the next start or for down")

    def _unwind(self) -> None:
        while self._undo:
            self._undo.pop()()

    def _described(self) -> tuple[str, int]:
        numbers = self._queues.numbers
        text = str(numbers[0]) if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
        return text, len(self._policy.uplinks)

    def _raise_failures(self) -> None:
        if self._queues.failures:
            raise QueueError(str(self._queues.failures[0])) from self._queues.failures[0]

    def _refresh_interfaces(self) -> None:
        self._links.drain()
        self._queues.set_interfaces(interfaces_by_index())

    def _answer(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request.get("command")
        if command != "status":
            raise ServiceError(f"command {command!r}: this service answers: status")
        engine = self._classifier.engine
        unclassified = counters.unclassified(self._plan.variant)
        gone = () if unclassified is not None else (_RULES_GONE,)
        return status.render(
            status.Snapshot(
                policy=self._policy,
                usable=frozenset(
                    uplink.name
                    for uplink in self._policy.uplinks
                    if any(engine.usable_families(uplink.name))
                ),
                counters=self._classifier.counters(),
                queue=self._queues.figures(unclassified),
                uptime=time.monotonic() - self._started,
                warnings=(*self._warnings, *gone),
            )
        )
