"""A queue that overflows: everything passes, or nothing does, as the configuration says."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from classifier.queue.kernel_queues import kernel_queue

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
LENGTH = 16
FLOWS = 200


both_backends = pytest.mark.parametrize("backend", ["native", "netfilterqueue"])


def small_queue(overload: str, backend: str) -> str:
    return f'[queue]\nlength = {LENGTH}\noverload = "{overload}"\nbackend = "{backend}"'


def waiting(gateway: Lab) -> int:
    with gateway.gateway.enter():
        queue = kernel_queue(0)
    assert queue is not None
    return queue.waiting


@both_backends
def test_with_accept_nothing_is_lost_and_what_was_not_classified_is_counted(
    lab: StartLab, configuration: Configuration, backend: str
) -> None:
    gateway = lab(configuration(WEIGHTS, more=small_queue("accept", backend)))
    gateway.tap.clear()
    gateway.service.signal(signal.SIGSTOP)
    flows = gateway.flows(FLOWS, "udp", 5000)
    gateway.send(flows)
    gateway.tap.wait_for_packets(FLOWS - LENGTH)
    assert waiting(gateway) == LENGTH
    gateway.service.signal(signal.SIGCONT)
    gateway.tap.wait_for_packets(FLOWS)
    status = gateway.status()
    assert status["queue"]["unclassified"] == FLOWS - LENGTH
    assert status["queue"]["packets"] == LENGTH
    # What nobody classified is direct, and stays so now that somebody is there again.
    gateway.send(flows)
    gateway.tap.wait_for_packets(2 * FLOWS)
    assert gateway.status()["queue"]["packets"] == LENGTH
    assert gateway.tap.split_flows() == []
    classified = [by for by in gateway.tap.uplinks(flows).values() if by == {"wifi1"}]
    assert len(classified) == LENGTH // 2, "all the others stay on main's default route"


@both_backends
def test_with_drop_nothing_passes_that_is_not_classified(
    lab: StartLab, configuration: Configuration, backend: str
) -> None:
    gateway = lab(configuration(WEIGHTS, more=small_queue("drop", backend)))
    gateway.tap.clear()
    gateway.service.signal(signal.SIGSTOP)
    gateway.send(gateway.flows(FLOWS, "udp", 5000))
    gateway.tap.wait_until_quiet()
    assert gateway.tap.packets().total() == 0
    assert waiting(gateway) == LENGTH
    gateway.service.signal(signal.SIGCONT)
    gateway.tap.wait_for_packets(LENGTH)
    gateway.tap.wait_until_quiet()
    assert gateway.tap.packets().total() == LENGTH
    status = gateway.status()
    assert status["queue"]["dropped"] == FLOWS - LENGTH
    assert status["queue"]["unclassified"] == 0

    gateway.service.kill()
    gateway.tap.clear()
    gateway.send(gateway.flows(20, "udp", 5000))
    gateway.tap.wait_until_quiet()
    assert gateway.tap.packets().total() == 0, "nobody answers, so nothing passes"


def test_a_stopped_service_is_reported_as_one_that_does_not_answer(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.service.signal(signal.SIGSTOP)
    directory = ["--runtime-dir", str(gateway.service.runtime_dir)]
    asked = gateway.service.command("status", *directory, check=False)
    gateway.service.signal(signal.SIGCONT)
    assert (asked.returncode, asked.stdout) == (1, "")
    assert "no answer within" in asked.stderr
