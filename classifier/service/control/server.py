"""The control server: HTTP/1.1 over the control socket, JSON in and out, in the service's loop.

docs/control.md is its description for users. aiohttp takes a sixth of a second to import, so this
module is for the service alone; commands use `client`.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from aiohttp import web

from classifier.errors import ClassifierError, ConfigError, ConflictError, UsageError
from classifier.service.control.address import socket_path
from classifier.service.control.connection import LONGEST_BODY, Connection, Places
from classifier.service.control.routes import Handler, Request, Route
from classifier.service.control.socket_file import bind_socket, give_access

log = logging.getLogger(__name__)

WAITING = 128
"""Clients that have connected and are not accepted yet (the backlog of listen(2))."""
_ACCEPTED_IN_A_ROW = 8
"""Before the loop does other things."""
CLOSE_SECONDS = 1.0
"""For what is being answered when the server is closed."""


class ControlServer:
    """Answers `routes` on the control socket of `runtime_dir`, from `start` to `close`."""

    def __init__(
        self, runtime_dir: Path, routes: Sequence[Route], group: str | None = None
    ) -> None:
        """`group`: `gateway.control_group`, whose members may connect too."""
        self._runtime_dir = runtime_dir
        self._path = socket_path(runtime_dir)
        self._group = group
        self._places = Places()
        self._told: set[str] = set()
        app = web.Application(middlewares=[self._catch], client_max_size=LONGEST_BODY)
        self._turn = asyncio.Lock()
        for route in routes:
            app.router.add_route(route.method, route.path, self._serve(route.handler))
        self._runner = web.AppRunner(app, shutdown_timeout=CLOSE_SECONDS)
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. Raises ServiceError, and leaves nothing behind then."""
        bound = bind_socket(self._runtime_dir, self._group)
        await self._runner.setup()
        server = cast(web.Server, self._runner.server)
        self._server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(server, self._places), sock=bound, backlog=_ACCEPTED_IN_A_ROW
        )
        bound.listen(WAITING)  # asyncio has one number for both

    def allow(self, group: str | None) -> None:
        """Let another group connect from now on, as a reload may want it. Raises ServiceError."""
        give_access(self._path, group)

    async def close(self) -> None:
        """Stop listening, give requests `CLOSE_SECONDS` to end, and remove the socket's file."""
        if self._server is None:
            return
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("control socket %s: cannot be removed: %s", self._path, error.strerror)
        self._server.close()
        self._server = None
        await self._runner.cleanup()
        for connection in self._places:
            connection.abort()
        await asyncio.sleep(0)  # in which the loop closes what was aborted

    @web.middleware
    async def _catch(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Every answer that is no success, as JSON."""
        connection = cast(Connection, request.protocol)
        try:
            return await handler(request)
        except web.HTTPException as error:
            response = connection.answer(error.status, {"error": _explained(error, request)})
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except ClassifierError as error:
            return connection.answer(_status(error), {"error": str(error)})
        except Exception as error:
            self._tell(request, error)
            text = f"internal error: {type(error).__name__}; the log of the service has more"
            return connection.answer(500, {"error": text})

    def _serve(self, handler: Handler) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def serve(request: web.Request) -> web.StreamResponse:
            connection = cast(Connection, request.protocol)
            content = await _read(request)
            connection.request_read()
            async with self._turn:
                # Sixty clients at once would be one long step of the loop; so they are many.
                await asyncio.sleep(0)
            body = _parsed(content)
            answer = await handler(Request(dict(request.match_info), dict(request.query), body))
            return connection.answer(200, answer)

        return serve

    def _tell(self, request: web.Request, error: Exception) -> None:
        """Log a defect of ours, once: a client may ask every second."""
        resource = request.match_info.route.resource
        place = f"{request.method} {resource.canonical if resource else request.path}"
        defect = f"{place} {error!r}"
        if defect not in self._told and len(self._told) < 100:
            self._told.add(defect)
            log.error("%s failed; this is told once", place, exc_info=error)


async def _read(request: web.Request) -> bytes:
    if (request.content_length or 0) > LONGEST_BODY:
        raise web.HTTPRequestEntityTooLarge(LONGEST_BODY, request.content_length or 0)
    try:
        return await request.read()
    except (web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest(text="the body broke off") from error


def _parsed(content: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(content.decode(), parse_constant=_refuse_constant) if content else {}
    except (ValueError, RecursionError) as error:
        raise web.HTTPBadRequest(text="the body must be JSON") from error
    if not isinstance(value, dict):
        raise web.HTTPBadRequest(text="the body must be a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which Python would read, are no JSON


def _explained(error: web.HTTPException, request: web.Request) -> str:
    if isinstance(error, web.HTTPNotFound):
        return f"{request.path}: there is nothing by this path"
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = " or ".join(sorted(error.allowed_methods))
        return f"{request.method} {request.path}: the method must be {allowed}"
    if isinstance(error, web.HTTPRequestEntityTooLarge):
        return f"the body is longer than {LONGEST_BODY} bytes"
    return error.text or error.reason


def _status(error: ClassifierError) -> int:
    if isinstance(error, ConfigError | UsageError):
        return 400
    return 409 if isinstance(error, ConflictError) else 503
