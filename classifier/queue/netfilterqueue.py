"""The queue read through the library NetfilterQueue, with the same engine behind it.

For hosts where only that library is wanted; the native queue is faster. The library reads one
packet per call, holds the GIL, and tells no user ids, so rules with `user` never match here. It has
no fail-open either (nor GSO): those two flags are set on its socket by our own message. Between its
messages that bind and that set the copy range there is a moment in which the queue drops.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from classifier.errors import QueueError
from classifier.queue import binding
from classifier.queue.owner import why_refused
from classifier.queue.packet_queue import QueueCounters, QueueSettings

if TYPE_CHECKING:
    from netfilterqueue import NetfilterQueue, Packet

    from classifier.engine.engine import Engine

_DROP, _ACCEPT = 1, 0  # Action in classifier/engine/engine.pxd


class LibraryQueue:
    """See `classifier.queue.packet_queue.PacketQueue`; binds in the calling thread's namespace."""

    def __init__(self, engine: Engine, number: int, settings: QueueSettings) -> None:
        self.number = number
        self.clock_offset = 0
        self._engine = engine
        self._foreign = 0xFFFFFFFF & ~settings.mask
        self._interfaces: Mapping[int, int] = {}
        self._counters = QueueCounters()
        self._running = threading.Lock()
        self._stopping = False
        self._library = _bound(number, settings, self._answer)
        # The library closes its own descriptor; this is a second one of the same socket.
        self._socket = socket.socket(fileno=os.dup(self._library.get_fd()))
        # A child process that held it would keep the queue bound, and unread, when we are gone.
        os.set_inheritable(self._library.get_fd(), False)
        binding.only_from_the_kernel(self._socket)
        self.receive_buffer = binding.enlarge(self._socket)
        binding.set_flags(self._socket, number, settings)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def run(self) -> None:
        if self._socket.fileno() < 0 or not self._running.acquire(blocking=False):
            raise QueueError(f"queue {self.number} is being read already or is closed")
        try:
            self._serve()
        except OSError as error:
            self._count(last_errno=error.errno or 0)
            raise QueueError(f"queue {self.number} cannot be read any more: {error}") from error
        finally:
            self._running.release()

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._library.get_fd(), select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        while True:
            # Set before what waits is read: all that waited at `stop` is answered.
            stopping = self._stopping
            self._library.run(block=False)
            self._count(batches=1)
            if stopping:
                return
            if any(descriptor == self._wake for descriptor, _ in poll.poll()):
                os.eventfd_read(self._wake)

    def _answer(self, packet: Packet) -> None:
        self._count(packets=1)
        try:
            payload = packet.get_payload()
        except RuntimeError:  # the message had none
            payload = b""
        action, mark = self._engine.decide_one(
            payload, self._interfaces.get(packet.indev, 0), -1, self._now()
        )
        if action == _DROP:
            packet.drop()
            return
        packet.set_mark(packet.get_mark() & self._foreign | (mark if action == _ACCEPT else 0))
        packet.accept()

    def _now(self) -> int:
        return max(0, time.monotonic_ns() // 1_000_000 + self.clock_offset)

    def _count(self, packets: int = 0, batches: int = 0, last_errno: int = 0) -> None:
        before = self._counters
        self._counters = replace(
            before,
            packets=before.packets + packets,
            batches=before.batches + batches,
            rounds=before.rounds + batches,
            last_errno=last_errno or before.last_errno,
        )

    def wake(self) -> None:
        if self._socket.fileno() >= 0:
            os.eventfd_write(self._wake, 1)

    def stop(self) -> None:
        if self._socket.fileno() < 0 or self._stopping:
            return
        try:
            binding.take_no_more(self._socket, self.number)
        except OSError as error:  # then it goes on being filled while what waits is answered
            self._count(last_errno=error.errno or 0)
        self._stopping = True
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        if self._running.locked():
            raise QueueError(f"queue {self.number} is still being read: stop it first")
        if self._socket.fileno() >= 0:
            self._library.unbind()
            self._socket.close()
            os.close(self._wake)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def set_interfaces(self, interfaces: Mapping[int, int]) -> None:
        self._interfaces = dict(interfaces)

    def counters(self) -> QueueCounters:
        """Late verdicts, errors and overruns are not told by the library: always 0."""
        return self._counters


def _bound(
    number: int, settings: QueueSettings, answer: Callable[[Packet], None]
) -> NetfilterQueue:
    try:
        from netfilterqueue import NetfilterQueue
    except ImportError as error:
        raise QueueError(
            f"the backend netfilterqueue needs the Python package NetfilterQueue ({error}): "
            "pip install 'nfq-classifier[netfilterqueue]'"
        ) from error
    library = None
    try:
        library = NetfilterQueue()
        with warnings.catch_warnings():
            # Less buffer than asked for is told by `receive_buffer`.
            warnings.simplefilter("ignore", RuntimeWarning)
            library.bind(
                number,
                answer,
                max_len=settings.length,
                range=binding.COPY_RANGE,
                sock_len=binding.RECEIVE_BUFFER,
            )
    except OSError as error:
        raise QueueError(f"cannot bind queue {number}: {why_refused(number)}") from error
    return library
