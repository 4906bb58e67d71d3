"""Downloads for the bench `shaped`: a server that sends so many bytes, clients that keep asking.

Runs in the namespace it is started in: `serve PORT BYTES`, or `fetch PORT CLIENTS SEED`, each until
it is ended. A client asks another remote as soon as it has got all from the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from ipaddress import IPv4Address

_REMOTES = (0xC6120000, 0xC6140000)
"""198.18.0.0/15, for benchmarks (RFC 2544): every ISP of the lab answers for them."""


async def serve(port: int, size: int) -> None:
    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            writer.write(bytes(size))
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(send, "0.0.0.0", port, backlog=1024)
    print("ready", flush=True)
    await server.serve_forever()


async def fetch(port: int, clients: int, seed: int) -> None:
    chance = random.Random(seed)

    async def client() -> None:
        while True:
            with contextlib.suppress(OSError):
                remote = str(IPv4Address(chance.randrange(*_REMOTES)))
                reader, writer = await asyncio.open_connection(remote, port)
                while await reader.read(65536):
                    pass
                writer.close()

    print("ready", flush=True)
    await asyncio.gather(*(client() for _ in range(clients)))


if __name__ == "__main__":
    what, *numbers = sys.argv[1:]
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run({"serve": serve, "fetch": fetch}[what](*map(int, numbers)))
