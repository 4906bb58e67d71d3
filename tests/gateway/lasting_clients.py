"""Clients that keep a TCP connection each, and begin it anew when it breaks, as programs do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from classifier.lab.namespace import Namespace

_PAUSE = 0.02
_ANSWER = 10.0


@dataclass
class Client:
    """One of them, with what has become of it so far."""

    host: str
    talks: bool
    """It sends all the time; otherwise it only waits for what the server has to say."""
    taken: list[tuple[float, str]] = field(default_factory=list)
    """The uplink of each connection, and the monotonic time at which it was there."""
    broken: list[float] = field(default_factory=list)
    """When connections broke."""

    @property
    def uplink(self) -> str:
        """The one in use now, or last."""
        return self.taken[-1][1]

    async def live(self, port: int) -> None:
        while True:
            # Refused, or not answered: tried again.
            with suppress(OSError, TimeoutError):
                await self._connect(port)
            await asyncio.sleep(_PAUSE)

    async def _connect(self, port: int) -> None:
        async with asyncio.timeout(_ANSWER):
            reader, writer = await asyncio.open_connection(self.host, port)
        try:
            async with asyncio.timeout(_ANSWER):
                greeting = await reader.readline()
            self.taken.append((time.monotonic(), greeting.decode().strip()))
            await self._stay(reader, writer)
        finally:
            writer.transport.abort()

    async def _stay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                if self.talks:
                    writer.write(b"x")
                with suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE):
                        if not await reader.read(1 << 16):
                            raise ConnectionResetError
        except OSError:
            self.broken.append(time.monotonic())


@contextmanager
def lasting(namespace: Namespace, port: int, clients: Sequence[Client]) -> Iterator[None]:
    """They live while the block runs, which begins when each has a connection."""
    stopping = threading.Event()

    async def story() -> None:
        tasks = [asyncio.create_task(client.live(port)) for client in clients]
        while not stopping.is_set():
            await asyncio.sleep(_PAUSE)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def live() -> None:
        with namespace.enter():
            asyncio.run(story())

    thread = threading.Thread(target=live)
    thread.start()
    try:
        deadline = time.monotonic() + _ANSWER
        while not all(client.taken for client in clients):
            assert time.monotonic() < deadline, "a client has not found its server"
            time.sleep(_PAUSE)
        yield
    finally:
        stopping.set()
        thread.join()
