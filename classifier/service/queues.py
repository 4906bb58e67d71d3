"""The queue threads of the service: one thread per NFQUEUE, whichever backend reads it."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from classifier.engine.classifier import Classifier
from classifier.policy import Policy
from classifier.queue.kernel_queues import kernel_queue, several_queues_unsafe
from classifier.queue.nfqueue import NativeQueue
from classifier.queue.packet_queue import PacketQueue, QueueCounters, QueueSettings
from classifier.service.rarely import Rarely
from classifier.service.status import QueueFigures

CHARGED_BYTES = 832
"""Socket buffer that the kernel charges for a waiting packet at our copy range."""
_LAST_WORDS = 5.0
"""Seconds in which the threads answer what waits, when they are to end."""

log = logging.getLogger(__name__)


class Queues:
    """All queues of a policy, bound together, run and stopped together."""

    def __init__(self, policy: Policy, classifier: Classifier) -> None:
        self._classifier = classifier
        self._config = policy.queue
        self._sources: list[PacketQueue] = []
        self._threads: list[threading.Thread] = []
        self._rarely = Rarely()
        self._told = QueueCounters()
        self._rounds: dict[int, int] = {}
        self._stopped = False
        self.failures: list[Exception] = []
        try:
            for number in self.numbers:
                self._sources.append(_bind(policy, classifier, number))
        except BaseException:
            self.close()
            raise

    @property
    def numbers(self) -> range:
        return self._config.numbers

    def start(self, on_failure: Callable[[], None]) -> None:
        """Start reading; `on_failure` is called from the thread of a queue that broke."""
        for number, source in zip(self.numbers, self._sources, strict=True):
            thread = threading.Thread(
                target=self._read, args=(source, on_failure), name=f"queue-{number}", daemon=True
            )
            thread.start()
            self._threads.append(thread)

    def _read(self, source: PacketQueue, on_failure: Callable[[], None]) -> None:
        try:
            source.run()
        except Exception as error:
            self.failures.append(error)
            on_failure()

    def hung(self) -> list[int]:
        """Numbers of the queues whose thread has done nothing since this was asked last.

        A thread that waits for packets is woken, and shows by another round that it lives: so ask
        now and then, and leave a thread the time to be scheduled.
        """
        found = []
        for number, source, thread in zip(self.numbers, self._sources, self._threads, strict=True):
            rounds = source.counters().rounds
            if thread.is_alive() and self._rounds.get(number) == rounds:
                found.append(number)
            self._rounds[number] = rounds
            source.wake()
        return found

    def set_interfaces(self, names: Mapping[int, str]) -> None:
        engine = self._classifier.engine
        # Only what rules name: a host may have thousands of interfaces, a queue knows 1024.
        numbers = {
            i: number for i, name in names.items() if (number := engine.interface_number(name))
        }
        for source in self._sources:
            source.set_interfaces(numbers)

    def warnings(self) -> tuple[str, ...]:
        """Where the kernel granted less than the policy asks for, as sentences."""
        wanted = self._config.length
        granted = min(source.receive_buffer for source in self._sources) // CHARGED_BYTES
        if granted >= wanted:
            return ()
        return (
            f"queue.length is {wanted}, but the socket buffer holds {granted} packets only"
            " (root of the host may have more; others are bounded by net.core.rmem_max)",
        )

    def stop(self) -> None:
        """Answer what still waits, then end the threads.

        One that hangs, as in a method of a user that does not return, is left to the end of the
        process.
        """
        if self._stopped:
            return
        self._stopped = True
        for source in self._sources:
            source.stop()
        deadline = time.monotonic() + _LAST_WORDS
        for number, thread in zip(self.numbers, self._threads, strict=False):
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                log.error("queue %d: its thread hangs, and is left behind", number)

    def close(self) -> None:
        for index, source in enumerate(self._sources):
            hangs = index < len(self._threads) and self._threads[index].is_alive()
            if not hangs:  # what it holds goes with the process
                source.close()

    def figures(self, unclassified: int | None) -> QueueFigures:
        kernel = [kernel_queue(number) for number in self.numbers]
        return QueueFigures(
            packets=self._classifier.counters().packets,
            dropped=sum(figures.dropped + figures.user_dropped for figures in kernel if figures),
            unclassified=unclassified or 0,
            counters=self._counters(),
        )

    def tell_trouble(self, now: float) -> None:
        """Log what the kernel reported since the last time, once a minute at most.

        now: seconds of a clock that never goes back.
        """
        seen, told = self._counters(), self._told
        kinds = {
            "packets gone before their verdict": seen.late_verdicts - told.late_verdicts,
            "errors of the kernel": seen.errors - told.errors,
            "overruns of the socket buffer": seen.overruns - told.overruns,
        }
        new = ", ".join(f"{number} {kind}" for kind, number in kinds.items() if number)
        if new and self._rarely.due("queue", now):
            self._told = seen
            log.warning("queue: %s (last error: %s)", new, os.strerror(seen.last_errno))

    def _counters(self) -> QueueCounters:
        return QueueCounters.total(source.counters() for source in self._sources)


def _bind(policy: Policy, classifier: Classifier, number: int) -> PacketQueue:
    settings = QueueSettings(
        length=policy.queue.length,
        mask=policy.gateway.mask,
        fail_open=policy.queue.overload == "accept",
        want_uid=any(rule.users for rule in policy.rules),
    )
    if policy.queue.backend == "native":
        return NativeQueue(classifier.engine, number, settings)
    from classifier.queue.netfilterqueue import LibraryQueue  # an optional dependency

    return LibraryQueue(classifier.engine, number, settings)


def with_safe_count(policy: Policy) -> Policy:
    """The policy with one queue on kernels that several queues can crash."""
    release = platform.release()
    if policy.queue.count == 1 or not several_queues_unsafe(release):
        return policy
    log.warning("kernel %s can crash with several queues (CVE-2026-43084): using one", release)
    return replace(policy, queue=replace(policy.queue, count=1))
