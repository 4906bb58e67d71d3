"""A control server in a loop of its own, in a thread, and clients made of bare sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from classifier.service.control.address import SOCKET_NAME
from classifier.service.control.routes import Route
from classifier.service.control.server import ControlServer

SECONDS = 30.0
GET_STATUS = b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Service:
    """What `serving` hands out: the server, and the loop that it runs in."""

    def __init__(self, directory: Path, server: ControlServer) -> None:
        self.directory = directory
        self.server = server
        self.loop = asyncio.new_event_loop()

    @property
    def open_connections(self) -> int:
        return len(list(self.server._places))

    def connect(self) -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(self.directory / SOCKET_NAME))  # waits for a place in the backlog
        client.settimeout(SECONDS)
        return client

    def exchange(self, sent: bytes) -> tuple[int, dict[str, Any]]:
        """Send bytes as they are; status and JSON of the answer, after which the server hung up."""
        with self.connect() as client:
            client.sendall(sent)
            return parsed(received(client))


@contextmanager
def serving(
    directory: Path, routes: Sequence[Route], group: str | None = None
) -> Iterator[Service]:
    service = Service(directory, ControlServer(directory, routes, group))
    thread = threading.Thread(target=service.loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, service.loop).result(SECONDS)

    try:
        run(service.server.start())
        try:
            yield service
        finally:
            run(service.server.close())
    finally:
        service.loop.call_soon_threadsafe(service.loop.stop)
        thread.join()
        left = asyncio.all_tasks(service.loop)
        service.loop.close()
    assert not left


def received(client: socket.socket) -> bytes:
    """Everything until the server hangs up."""
    pieces = []
    while piece := client.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def parsed(answer: bytes) -> tuple[int, dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1."), answer
    assert b"\r\nContent-Type: application/json" in head
    return int(head.split()[1]), json.loads(body)


def eventually(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        time.sleep(0.005)
