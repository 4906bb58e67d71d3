"""Whom the queue believes, and what it does when the kernel or a signal interrupts it."""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
from pathlib import Path

import pytest
from queued import (
    NUMBER,
    UNCLASSIFIED,
    WIFI,
    WIRED,
    Backend,
    both_backends,
    bound,
    count,
    counted,
    divert,
    netlink,
    open_to_all,
    reading,
    send,
    until,
)

from classifier import policy
from classifier.engine.classifier import Classifier
from classifier.engine.engine import Engine
from classifier.lab.namespace import Namespace
from classifier.queue.kernel_queues import kernel_queue
from classifier.queue.nfqueue import NativeQueue

pytestmark = pytest.mark.gateway


@pytest.fixture
def engine() -> Engine:
    uplinks = (policy.Uplink("wired", 1, "eth0"), policy.Uplink("wifi", 2, "eth1"))
    rules = (policy.Rule("wifi", "wifi", to_ports=((WIFI, WIFI),)), policy.Rule("rest", "wired"))
    return Classifier(
        policy.Policy(policy.Gateway(), policy.Queue(), uplinks, (), rules), seed=7
    ).engine


def portid(host: Namespace) -> int:
    with host.enter():
        kernel = kernel_queue(NUMBER)
    assert kernel is not None
    return kernel.portid


def forged(packet_id: int) -> bytes:
    """A packet message as the kernel writes them, of a packet without bytes."""
    return (
        struct.pack("=IHHII", 32, 3 << 8, 0, 0, 0)
        + struct.pack(">BBH", 0, 0, NUMBER)
        + struct.pack("=HH", 11, 1)
        + struct.pack(">IHBx", packet_id, 0, 0)
    )


@both_backends
def test_packets_that_another_process_invents_are_refused_by_the_kernel(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    divert(host)
    count(host, 0x100, 0x200)
    queue = bound(host, backend, engine)
    send(host, {WIRED: 3})
    with netlink(host) as other:
        for packet_id in (1, 2, 3, 0x7FFFFFFF):
            with pytest.raises(ConnectionRefusedError):
                other.sendto(forged(packet_id), (portid(host), 0))
    with reading(queue):
        pass
    assert counted(host) == [3, 0, 0]
    assert queue.counters().packets == 3


def test_after_an_unreadable_message_every_packet_is_answered_by_itself(
    host: Namespace, engine: Engine
) -> None:
    """What that message was about may still wait: a verdict for all up to an id would take it."""
    divert(host)
    count(host, 0x100, 0x200, UNCLASSIFIED)
    queue = bound(host, NativeQueue, engine)
    open_to_all(queue)
    with netlink(host) as other:
        other.sendto(bytes(16), (portid(host), 0))
        # A row of ids far ahead of those that wait: a verdict up to them would answer these too.
        for packet_id in (1000, 1001, 1002):
            other.sendto(forged(packet_id), (portid(host), 0))
    send(host, {WIRED: 5, WIFI: 5})
    with reading(queue):
        pass
    assert counted(host) == [5, 5, 0, 0]
    assert (queue.counters().late_verdicts, queue.counters().errors) == (3, 0)  # ids of nothing


@both_backends
def test_queue_that_the_kernel_cannot_be_told_to_close_still_stops(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    divert(host)
    count(host, 0x100)
    queue = bound(host, backend, engine)
    ended = threading.Event()

    def read() -> None:
        try:
            queue.run()
        finally:
            ended.set()

    thread = threading.Thread(target=read)
    with pytest.MonkeyPatch.context() as patch:
        # The thread's own report of the error that ends it is none of this test's.
        patch.setattr(threading, "excepthook", lambda _: None)
        thread.start()
        send(host, {WIRED: 1})
        until(lambda: queue.counters().packets == 1)
        with Path(os.devnull).open("rb") as other:
            os.dup2(other.fileno(), _descriptor(queue), inheritable=False)
        queue.stop()
        thread.join(20)
    assert ended.is_set(), "stop did not end run"
    queue.close()


def _descriptor(queue: object) -> int:
    if isinstance(queue, NativeQueue):
        return queue.fileno()
    return queue._socket.fileno()  # type: ignore[attr-defined, no-any-return]


class InterruptedByUserError(Exception):
    pass


@both_backends
def test_signal_to_the_thread_that_reads_is_handled_at_once(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    def interrupt(*_: object) -> None:
        raise InterruptedByUserError

    queue = bound(host, backend, engine)
    before = signal.signal(signal.SIGUSR1, interrupt)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    # Whoever does not listen is told to stop, so that the test ends.
    end = threading.Timer(5, queue.stop)
    try:
        timer.start()
        end.start()
        with pytest.raises(InterruptedByUserError):
            queue.run()
    finally:
        end.cancel()
        timer.join()
        end.join()
        signal.signal(signal.SIGUSR1, before)
        queue.close()


@both_backends
def test_queue_is_not_left_bound_by_a_child_process(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    queue = bound(host, backend, engine)
    descriptors = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    leaking = [
        number for number in descriptors if _is_netlink(number) and os.get_inheritable(number)
    ]
    queue.close()
    assert leaking == []


def _is_netlink(descriptor: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(descriptor)) as opened:
            return opened.family == socket.AF_NETLINK
    except OSError:  # no socket, or the listing's own descriptor, gone by now
        return False
