"""Clients: flows that are really sent, by sockets made in the namespace they are sent from."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import select
import socket
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from classifier.errors import LabError
from classifier.lab.closing import Closing
from classifier.lab.flows import TCP, UDP, FiveTuple
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace
from classifier.lab.servers import QUESTION

ANSWER_SECONDS = 5.0
"""Seconds that a flow waits for its answer."""
_SPARE_FILES = 128
_CHUNK = 1 << 16
_libc = ctypes.CDLL(None)


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep the calling thread on one processor: the kernel keeps the order of packets that are
    sent there, and may swap those of two."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {_libc.sched_getcpu()})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def exchange(
    namespace: Namespace,
    flows: Sequence[FiveTuple],
    at_once: int = 256,
    timeout: float = ANSWER_SECONDS,
) -> dict[FiveTuple, str | None]:
    """Begin each flow, in order, and read the name of the namespace whose server answered.

    TCP flows are connections, UDP flows are questions; an answer counts only when it comes from
    the very address and port that was asked. None for a flow that was refused or not answered
    within `timeout` seconds. At most `at_once` flows wait for their answers at any time.
    """
    answers: dict[FiveTuple, str | None] = dict.fromkeys(flows)
    at_once = min(at_once, _files_allowed())
    waiting: dict[int, tuple[socket.socket, FiveTuple, float]] = {}
    remaining = iter(flows)
    flow = next(remaining, None)
    with namespace.enter(), one_cpu(), select.epoll() as epoll:
        try:
            while flow is not None or waiting:
                while flow is not None and len(waiting) < at_once:
                    sock = _started(flow)
                    if sock is not None:
                        waiting[sock.fileno()] = (sock, flow, time.monotonic() + scaled(timeout))
                        epoll.register(sock, select.EPOLLIN)
                    _read_answers(epoll, waiting, answers, 0)
                    flow = next(remaining, None)
                if waiting:
                    _read_answers(epoll, waiting, answers, 0.05)
                    _close_late(waiting)
        finally:
            for sock, _, _ in waiting.values():  # when interrupted
                sock.close()
    return answers


def send(
    namespace: Namespace, flows: Iterable[FiveTuple], packets: int = 1, size: int = 32
) -> None:
    """Send `packets` UDP packets of `size` bytes for each flow, back to back; nothing answers."""
    payload = b"." * size
    with namespace.enter(), one_cpu():
        for flow in flows:
            with _client(flow) as sock:
                sock.connect((flow.dst, flow.dport))
                for _ in range(packets):
                    # Refused: an ICMP error for an earlier packet. Full: the interface is slower.
                    with contextlib.suppress(ConnectionRefusedError):
                        sock.send(payload)


class Injector(Closing):
    """Puts packets, given from the IP header on, on a wire as they are, one at a time."""

    def __init__(self, namespace: Namespace, interface: str, gateway_mac: str) -> None:
        self._interface = interface
        self._mac = bytes.fromhex(gateway_mac.replace(":", ""))
        with namespace.enter():
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)

    def put(self, packet: bytes) -> None:
        ethertype = 0x86DD if packet[:1] and packet[0] >> 4 == 6 else 0x0800
        self._socket.sendto(packet, (self._interface, ethertype, 0, 0, self._mac))

    def close(self) -> None:
        self._socket.close()


class Connection(Closing):
    """A TCP connection that stays open: `uplink` is the one that it took."""

    def __init__(
        self, namespace: Namespace, flow: FiveTuple, timeout: float = ANSWER_SECONDS
    ) -> None:
        self.flow = flow
        with namespace.enter():
            self._socket = _client(flow)
        self._socket.settimeout(scaled(timeout))
        try:
            self._socket.connect((flow.dst, flow.dport))
            self.uplink = _name(self._socket.recv(256))
        except OSError as error:
            self._socket.close()
            raise LabError(f"{flow}: {error}") from error

    def echo(self, text: bytes = b"still there?") -> bytes:
        """Send and wait for the echo; LabError when the connection is broken."""
        heard = b""
        try:
            for start in range(0, len(text), _CHUNK):
                chunk = text[start : start + _CHUNK]
                self._socket.sendall(chunk)
                while len(heard) < start + len(chunk):
                    part = self._socket.recv(_CHUNK)
                    if not part:
                        raise LabError(f"{self.flow}: closed by the other side")
                    heard += part
        except OSError as error:
            raise LabError(f"{self.flow}: {error}") from error
        return heard

    def close(self) -> None:
        self._socket.close()


def _started(flow: FiveTuple) -> socket.socket | None:
    """A socket on its way to an answer; None when it was refused at once."""
    sock = _client(flow)
    try:
        sock.setblocking(False)
        problem = sock.connect_ex((flow.dst, flow.dport))
        if problem not in (0, errno.EINPROGRESS):
            raise OSError(problem, flow)
        if flow.protocol == UDP:
            sock.send(QUESTION)
    except OSError:
        sock.close()
        return None
    return sock


def _read_answers(
    epoll: select.epoll,
    waiting: dict[int, tuple[socket.socket, FiveTuple, float]],
    answers: dict[FiveTuple, str | None],
    seconds: float,
) -> None:
    for fd, _ in epoll.poll(seconds):
        sock, flow, _ = waiting.pop(fd)
        with contextlib.suppress(OSError):
            answers[flow] = _name(sock.recv(256)) or None
        sock.close()


def _close_late(waiting: dict[int, tuple[socket.socket, FiveTuple, float]]) -> None:
    now = time.monotonic()
    for fd in [fd for fd, (_, _, deadline) in waiting.items() if deadline < now]:
        waiting.pop(fd)[0].close()


def _client(flow: FiveTuple) -> socket.socket:
    kind = socket.SOCK_STREAM if flow.protocol == TCP else socket.SOCK_DGRAM
    sock = socket.socket(flow.family, kind)
    try:
        # The port of an earlier connection, to another remote, may be used again.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((flow.src or "", flow.sport))
    except OSError as error:
        sock.close()
        raise LabError(f"cannot send from {flow.src} port {flow.sport}: {error}") from error
    return sock


def _name(greeting: bytes) -> str:
    """The last word of a greeting: servers say "wired", an FTP server says "220 wired"."""
    words = greeting.split()
    return words[-1].decode(errors="replace") if words else ""


def _files_allowed() -> int:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return max(soft - _SPARE_FILES, 16)
