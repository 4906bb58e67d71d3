"""How a command asks the running service: one request over the control socket, with a time limit.

Of the standard library only: importing aiohttp would cost each command a sixth of a second.
"""

from __future__ import annotations

import grp
import json
import socket
import stat
import struct
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

from classifier.errors import ServiceError, UsageError
from classifier.service import absence
from classifier.service.control.address import socket_path

PATIENCE = 5.0
"""Seconds that a command waits for the service."""


def ask(
    runtime_dir: Path,
    method: str,
    path: str,
    body: Mapping[str, Any] | None = None,
    *,
    seconds: float = PATIENCE,
) -> dict[str, Any]:
    """The running service's answer.

    `path` is percent-encoded where it has to be. Raises UsageError for a request that the service
    calls wrong (400), ServiceError when it refuses otherwise, does not answer within `seconds`, or
    is not there.
    """
    file = socket_path(runtime_dir)
    connection = _Connection(file, seconds)
    try:
        connection.request(
            method,
            path,
            body=None if body is None else json.dumps(body),
            headers={"Content-Type": "application/json", "Connection": "close"},
        )
        response = connection.getresponse()
        content = response.read()
    except (TimeoutError, BlockingIOError) as error:
        raise ServiceError(f"{file}: no answer within {seconds:g} s") from error
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise ServiceError(f"{file}: no service is running there{absence.described()}") from error
    except PermissionError as error:
        raise ServiceError(f"{file}: {_who_may_ask(file)}") from error
    # Before OSError: "hung up" is a ConnectionError, and an HTTPException in http.client.
    except (ConnectionError, HTTPException) as error:
        raise ServiceError(f"{file}: the service hung up without an answer") from error
    except OSError as error:
        raise ServiceError(f"{file}: {error.strerror}") from error
    finally:
        connection.close()
    return _answer(file, response.status, content)


def _answer(file: Path, status: int, content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceError(f"{file}: the answer is not a JSON object; what is running there?")
    if status == 200:
        return answer
    text = str(answer.get("error", f"refused with status {status}"))
    raise UsageError(text) if status == 400 else ServiceError(text)


def _who_may_ask(file: Path) -> str:
    try:
        found = file.stat()
    except OSError:
        return f"permission denied: {file.parent} is closed to this user"
    if not found.st_mode & stat.S_IWGRP:
        return "only the service's own user and root may ask"
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    return f"only root and members of the group {group} may ask"


class _Connection(HTTPConnection):
    def __init__(self, file: Path, seconds: float) -> None:
        super().__init__("localhost", timeout=seconds)
        self._file = file
        self._seconds = seconds

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A hung service's backlog may be full. A socket with a timeout of Python's would be told
        # so at once (EAGAIN); one that the kernel times waits for its turn (unix_stream_connect).
        whole = int(self._seconds)
        limit = struct.pack("ll", whole, int((self._seconds - whole) * 1e6))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self.sock.connect(str(self._file))
        self.sock.settimeout(self._seconds)

    def send(self, data: Any) -> None:
        try:
            super().send(data)
        except BrokenPipeError:
            return  # refused before it was read; the reason is there to be received
