"""One client's connection, and how much of the service a client can take: time, bytes, places.

A connection carries one request, and every stretch in which the client has to do something has an
end: first it has to send the request, last it has to take the answer. In between the service works,
and nothing that the client sends is looked at.
"""

from __future__ import annotations

import asyncio
import enum
import json
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

from aiohttp import web

LONGEST_BODY = 64 * 1024
"""Bytes; a request is a command with a few words, never data."""
LONGEST_LINE = 8190
"""Bytes of the request line, and of one header field."""
LONGEST_HEADER = 1024 * 1024
"""Bytes that are read before the end of the header has to be among them."""
MOST_CONNECTIONS = 128
"""At once, of all clients together."""
RECEIVE_SECONDS = 5.0
"""For a client to send its whole request, from when it connected."""
SEND_SECONDS = 5.0
"""For a client to take the whole answer, from when it was ready."""
_LINGER_SECONDS = 1.0
"""For a client that sends more than is wanted to notice its answer, before the socket is closed."""


def encoded(value: Mapping[str, Any]) -> bytes:
    """`value` as one line of JSON. Raises TypeError and ValueError for what JSON cannot say."""
    return json.dumps(value, allow_nan=False).encode() + b"\n"


class Phase(enum.Enum):
    """What a connection waits for."""

    REQUEST = enum.auto()
    """The client, to send."""
    SERVICE = enum.auto()
    DELIVERY = enum.auto()
    """The client, to take the answer."""
    END = enum.auto()


class Places:
    """The connections that are open, in the order in which they came.

    One more than `MOST_CONNECTIONS` takes the place of the oldest that waits for its client: who is
    slow keeps out nobody. It is refused only when the service works at a request in every place.
    """

    def __init__(self) -> None:
        self._open: dict[Connection, None] = {}

    def __iter__(self) -> Iterator[Connection]:
        return iter(tuple(self._open))

    def enter(self, connection: Connection) -> bool:
        """Whether there is a place for `connection`."""
        if len(self._open) >= MOST_CONNECTIONS:
            slow = next((c for c in self._open if c.phase is not Phase.SERVICE), None)
            if slow is None:
                return False
            slow.give_up_place()
        self._open[connection] = None
        return True

    def leave(self, connection: Connection) -> None:
        self._open.pop(connection, None)


class Connection(web.RequestHandler):
    """aiohttp's side of one connection, with limits: see the constants of this module."""

    def __init__(self, server: web.Server, places: Places) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # none is kept
            auto_decompress=False,
            lingering_time=_LINGER_SECONDS,
            max_field_size=LONGEST_LINE,
            max_line_size=LONGEST_LINE,
            tcp_keepalive=False,
        )
        self._places = places
        self._bytes_in = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._deaf = False
        """Nothing that the client may still send is wanted."""
        self.phase = Phase.REQUEST

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        assert isinstance(transport, asyncio.Transport)
        self._wire = transport
        if self._places.enter(self):
            self._time(RECEIVE_SECONDS, self._too_slow)
        else:
            self.refuse(503, f"{MOST_CONNECTIONS} requests are being worked at; try again")

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if self.phase is Phase.REQUEST and self._bytes_in > LONGEST_HEADER:
            self.refuse(431, f"the header is longer than {LONGEST_HEADER} bytes")
            return
        self._bytes_in += len(data)
        super().data_received(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A client may close its side after the request; it still gets its answer."""
        return self._bytes_in > 0

    def connection_lost(self, exc: BaseException | None) -> None:
        self._leave()
        super().connection_lost(exc)

    # Called by the server.

    def request_read(self) -> None:
        """The request is whole: the service's turn, which has no limit in time."""
        self._deaf = True
        self.phase = Phase.SERVICE
        self._stop_timer()

    def answer(self, status: int, value: Mapping[str, Any]) -> web.Response:
        """The answer, which has to be the last thing that is made of this request."""
        body = encoded(value)
        self.phase = Phase.DELIVERY
        self._time(SEND_SECONDS, self.abort)
        response = web.Response(status=status, body=body, content_type="application/json")
        response.force_close()
        return response

    def refuse(self, status: int, text: str) -> None:
        """Answer without a request, and hang up."""
        if self._wire is None or self._wire.is_closing():
            return
        body = encoded({"error": text})
        self._wire.write(
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )
        self._leave()
        self.force_close()

    def give_up_place(self) -> None:
        if self.phase is Phase.REQUEST:
            self.refuse(503, "too many clients at once, and this one was slow")
        else:
            self.abort()
            self._leave()

    def abort(self) -> None:
        """Hang up, whatever is not sent yet."""
        if self._wire is not None:
            self._wire.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What aiohttp could not read as HTTP. It would log it, at the will of any client."""
        self._deaf = True
        said = " ".join((message or "")[:200].split())
        return self.answer(status, {"error": f"not a request in HTTP/1.1: {said}"})

    def _too_slow(self) -> None:
        self.refuse(408, f"no whole request within {RECEIVE_SECONDS:.0f} s")

    def _time(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_timer()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _leave(self) -> None:
        self._stop_timer()
        self._deaf = True
        self.phase = Phase.END
        self._places.leave(self)
