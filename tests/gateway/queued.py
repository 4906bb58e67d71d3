"""A host whose loopback traffic goes through a queue, shared by the tests of the queue."""

from __future__ import annotations

import ctypes
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest

from classifier.engine.engine import Engine
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace
from classifier.queue.netfilterqueue import LibraryQueue
from classifier.queue.nfqueue import NativeQueue
from classifier.queue.packet_queue import PacketQueue, QueueSettings

WIRED, WIFI, DROPPED, DIRECT = 9001, 9002, 9003, 9004
"""Destination ports, by what the policy says of them."""
MARKS = {WIRED: 0x100, WIFI: 0x200, DIRECT: 0x3F00}
UNCLASSIFIED = 0x3E00
NUMBER = 300

Backend = Callable[[Engine, int, QueueSettings], PacketQueue]
both_backends = pytest.mark.parametrize("backend", [NativeQueue, LibraryQueue])


def divert(
    host: Namespace,
    *match: str,
    mark: int = UNCLASSIFIED,
    number: int = NUMBER,
    chain: str = "PREROUTING",
) -> None:
    """Queue UDP that matches, with this mark on it as it reaches the queue."""
    rule = ["iptables", "-w", "-t", "mangle", "-A", chain, "-p", "udp", *match]
    host.run([*rule, "-j", "MARK", "--set-mark", str(mark)])
    host.run([*rule, "-j", "NFQUEUE", "--queue-num", str(number)])


def count(host: Namespace, *marks: int) -> None:
    """Count UDP by its whole mark in a chain behind the queue, and drop it there."""
    chain = ["iptables", "-w", "-t", "mangle", "-A", "INPUT", "-p", "udp"]
    for mark in marks:
        host.run([*chain, "-m", "mark", "--mark", str(mark), "-j", "DROP"])
    host.run([*chain, "-j", "DROP"])


def counted(host: Namespace) -> list[int]:
    """Packets by mark in the order given to `count`, then those of any other mark."""
    lines = host.run(["iptables-save", "-c", "-t", "mangle"]).stdout.splitlines()
    return [int(line[1:].split(":")[0]) for line in lines if "-A INPUT" in line]


def sender(host: Namespace) -> socket.socket:
    with host.enter():
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def send(host: Namespace, packets: Mapping[int, int]) -> None:
    """So many packets to each of these ports, in turn."""
    with sender(host) as source:
        for turn in range(max(packets.values())):
            for port, wanted in packets.items():
                if turn < wanted:
                    source.sendto(b"x", ("127.0.0.1", port))


@contextmanager
def reading(*queues: PacketQueue) -> Iterator[None]:
    """Read the queues in threads; stopped, drained and closed on the way out."""
    failures: list[Exception] = []

    def read(queue: PacketQueue) -> None:
        try:
            queue.run()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=read, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for queue, thread in zip(queues, threads, strict=True):
            queue.stop()
            thread.join(60)
            assert not thread.is_alive(), "stop did not end run"
            queue.close()
    assert failures == []


def netlink(host: Namespace) -> socket.socket:
    with host.enter():
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)
        opened.bind((0, 0))
        return opened


def open_to_all(queue: PacketQueue) -> None:
    """Let other processes write to the queue's socket, which otherwise the kernel refuses."""
    assert isinstance(queue, NativeQueue)
    unspecified = bytes(12)  # struct sockaddr_nl of family AF_UNSPEC
    assert ctypes.CDLL(None).connect(queue.fileno(), unspecified, len(unspecified)) == 0


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread or the kernel brings about."""
    deadline = time.monotonic() + scaled(20)
    while not condition():
        assert time.monotonic() < deadline, "it has not happened within 20 s"
        time.sleep(0.001)


def bound(
    host: Namespace, backend: Backend, engine: Engine, number: int = NUMBER, **settings: int
) -> PacketQueue:
    with host.enter():
        return backend(engine, number, QueueSettings(**settings))
