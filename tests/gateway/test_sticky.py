"""Sticky: a remote that was visited before is visited by the same uplink, for a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from host_snapshots import apply_in, remove_in

from classifier.engine.classifier import Classifier
from classifier.queue.nfqueue import NativeQueue
from classifier.queue.packet_queue import QueueSettings

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}
REMOTE = "198.18.5.5"


@contextmanager
def own_queue(gateway: Lab) -> Iterator[NativeQueue]:
    """The gateway with a queue of this process, whose clock the test may set forward."""
    classifier = Classifier(gateway.policy, seed=1)
    with gateway.gateway.enter():
        queue = NativeQueue(classifier.engine, 0, QueueSettings())
    apply_in(gateway.gateway, gateway.policy)
    thread = threading.Thread(target=queue.run)
    thread.start()
    try:
        yield queue
    finally:
        remove_in(gateway.gateway, queue.stop)
        thread.join()
        queue.close()


def test_fifty_visits_to_one_remote_take_one_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer='sticky = "remote"'))
    visits: dict[str, set[str | None]] = {REMOTE: set(), "198.18.6.6": set(), "198.18.7.7": set()}
    for remote, uplinks in visits.items():
        uplinks.update(gateway.connect(gateway.flows(50, "tcp", 8080, to=remote)).values())
    assert [len(uplinks) for uplinks in visits.values()] == [1, 1, 1]
    assert set.union(*visits.values()) == set(WEIGHTS), "three remotes in turn on three uplinks"
    status = gateway.status()
    assert status["sticky"]["entries"] == 3
    assert [u["flows"] for u in status["uplinks"].values()] == [50, 50, 50]


def test_after_the_timeout_a_remote_is_given_an_uplink_anew(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(WEIGHTS, balancer='sticky = { by = "remote", timeout = "4h" }')
    gateway = lab(text, service=False)

    def visit() -> str | None:
        (taken,) = gateway.connect(gateway.flows(1, "tcp", 8080, to=REMOTE)).values()
        return taken

    with own_queue(gateway) as queue:
        first = visit()
        queue.clock_offset += 4 * 3600 * 1000 - 60_000
        assert visit() == first, "forgotten before its time"
        queue.clock_offset += 4 * 3600 * 1000 - 60_000
        assert visit() == first, "the visit before has not refreshed it"
        queue.clock_offset += 4 * 3600 * 1000 + 1000
        assert visit() != first, "remembered beyond its time"


def test_sticky_by_local_keeps_a_host_of_the_lan_on_its_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer='sticky = "local"'))
    hosts = [str(host) for host in list(gateway.addresses.lans[0].hosts)[:3]]
    taken = [set(gateway.connect(gateway.flows(20, "tcp", 80, source=h)).values()) for h in hosts]
    assert [len(uplinks) for uplinks in taken] == [1, 1, 1]
    assert set.union(*taken) == set(WEIGHTS)
