"""The control socket. What is in this file is the former one, until the service uses `server`.

One request, one answer, each a line of JSON, over a Unix stream socket in the runtime directory.
An answer is an object; a refused request is answered with `{"error": TEXT}`.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from classifier.errors import ClassifierError, ServiceError

SOCKET_NAME = "control.sock"
LONGEST_REQUEST = 64 * 1024
"""Bytes; a request is a command with a few words, never data."""
PATIENCE = 5.0
"""Seconds that a client waits for the service."""
CLIENT_PATIENCE = 1.0
"""Seconds that the service, which has other things to do, waits for a client."""
_LONGEST_PATH = 107  # sun_path of <linux/un.h>, without the final zero

Answer = dict[str, Any]
Handler = Callable[[dict[str, Any]], Answer]


class ControlServer:
    """Listens in `runtime_dir`; `serve` answers one client, to be called when readable."""

    def __init__(self, runtime_dir: Path, handler: Handler) -> None:
        self._path = _address(runtime_dir)
        self._handler = handler
        # Whoever held this name is gone: the runtime directory's lock is ours.
        self._path.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # The file takes its mode from the socket (net/unix/af_unix.c), whatever the umask is:
            # there is no moment in which others can connect.
            os.fchmod(self._socket.fileno(), 0o600)
            self._socket.bind(str(self._path))
        except OSError as error:
            self._socket.close()
            raise ServiceError(f"control socket {self._path}: {error.strerror}") from error
        self._socket.listen(16)
        self._socket.setblocking(False)

    def fileno(self) -> int:
        return self._socket.fileno()

    def serve(self) -> None:
        try:
            client, _ = self._socket.accept()
        except OSError:
            return  # the client has gone away again
        with client:
            client.settimeout(CLIENT_PATIENCE)
            try:
                answer = self._answer(_read_line(client, LONGEST_REQUEST))
                client.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                return  # it hung up or stalled; nobody is left to be told

    def _answer(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
        except ValueError:
            return {"error": "a request is one line of JSON"}
        if not isinstance(request, dict):
            return {"error": "a request is a JSON object"}
        try:
            return self._handler(request)
        except (ClassifierError, OSError) as error:
            # What cannot be told must not end the service.
            return {"error": str(error)}

    def close(self) -> None:
        self._socket.close()
        self._path.unlink(missing_ok=True)


def ask(runtime_dir: Path, request: dict[str, Any]) -> Answer:
    """The running service's answer; ServiceError when there is none or it refuses."""
    path = _address(runtime_dir)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PATIENCE)
        try:
            client.connect(str(path))
            client.sendall(json.dumps(request).encode() + b"\n")
            line = _read_line(client)
        except TimeoutError as error:
            raise ServiceError(f"{path}: no answer within {PATIENCE:.0f} s") from error
        except (FileNotFoundError, ConnectionRefusedError) as error:
            raise ServiceError(f"{path}: no service is running there") from error
        except PermissionError as error:
            raise ServiceError(f"{path}: only the service's own user and root may ask") from error
        except OSError as error:
            raise ServiceError(f"{path}: {error.strerror}") from error
    if not line:
        raise ServiceError(f"{path}: the service hung up without an answer")
    answer: Answer = json.loads(line)
    if "error" in answer:
        raise ServiceError(str(answer["error"]))
    return answer


def _address(runtime_dir: Path) -> Path:
    path = runtime_dir / SOCKET_NAME
    if len(os.fsencode(path)) > _LONGEST_PATH:
        raise ServiceError(
            f"{path}: longer than the {_LONGEST_PATH} bytes that a Unix socket's path may have;"
            " choose a shorter --runtime-dir"
        )
    return path


def _read_line(connection: socket.socket, limit: int | None = None) -> bytes:
    received = bytearray()
    while not received.endswith(b"\n") and (limit is None or len(received) <= limit):
        piece = connection.recv(65536)
        if not piece:
            break
        received += piece
    return bytes(received)
