"""Downloads for the bench `shaped`: a server that sends so many bytes, clients that keep asking.

Runs in the namespace it is started in: `serve PORT BYTES NUMBER` until it is ended, or `fetch PORT
CLIENTS each|together`. That reads the remotes of all downloads as a line of JSON, says `ready`,
waits for another line, and begins the downloads in the order of the remotes: a client begins one
when its last is done, or, together, when those of all are. With the last one it says `begun`, and
then, as a line of JSON, the number of the server that each download came from.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import sys
from collections.abc import Callable, Iterator, Sequence

_READ = 1 << 16


async def serve(port: int, size: int, number: int) -> None:
    content = bytes([number]) * size

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(content)
            await writer.drain()
            writer.close()

    listening = socket.create_server(("0.0.0.0", port), backlog=1024)
    # What every kernel lets everybody use, so that the host's own choice makes no difference.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
    server = await asyncio.start_server(send, sock=listening, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


async def fetch(port: int, clients: int, together: bool) -> None:
    remotes: list[str] = json.loads(sys.stdin.readline())
    print("ready", flush=True)
    sys.stdin.readline()
    servers: dict[int, int] = {}
    answered = asyncio.Event()

    def note(number: int, server: int) -> None:
        servers[number] = server
        if len(servers) == len(remotes):
            answered.set()

    numbers = enumerate(remotes)
    if together:
        running = asyncio.ensure_future(_together(port, clients, numbers, len(remotes), note))
    else:
        running = asyncio.gather(
            *(_each(port, numbers, len(remotes), note) for _ in range(clients))
        )
    await asyncio.wait([running, asyncio.ensure_future(answered.wait())],
                       return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
    if running.done():
        running.result()  # raises what ended a download
    print(json.dumps([servers[number] for number in range(len(remotes))]), flush=True)
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running


Numbers = Iterator[tuple[int, str]]
Note = Callable[[int, int], None]


async def _each(port: int, numbers: Numbers, count: int, note: Note) -> None:
    for number, remote in numbers:
        await _download(port, number, remote, count, note)


async def _together(port: int, clients: int, numbers: Numbers, count: int, note: Note) -> None:
    while burst := list(itertools.islice(numbers, clients)):
        await asyncio.gather(*(_download(port, n, remote, count, note) for n, remote in burst))


async def _download(port: int, number: int, remote: str, count: int, note: Note) -> None:
    loop = asyncio.get_running_loop()
    with socket.socket() as connection:
        connection.setblocking(False)
        if number == count - 1:
            print("begun", flush=True)
        # Sends the first packet before any other task goes on: they leave in order.
        await loop.sock_connect(connection, (remote, port))
        first = await loop.sock_recv(connection, _READ)
        note(number, first[0])
        while await loop.sock_recv(connection, _READ):
            pass


def main(words: Sequence[str]) -> None:
    what, port, *more = words
    if what == "serve":
        size, number = map(int, more)
        asyncio.run(serve(int(port), size, number))
    else:
        clients, how = more
        asyncio.run(fetch(int(port), int(clients), how == "together"))


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main(sys.argv[1:])
