"""What a command says when the service answers, refuses, hangs, is gone, or is something else."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from control_service import serving

from classifier.commands import COMMANDS
from classifier.errors import ServiceError, UsageError
from classifier.service.control import client
from classifier.service.control.address import SOCKET_NAME
from classifier.service.control.client import ask
from classifier.service.control.routes import Request, Route


async def echo(request: Request) -> Mapping[str, Any]:
    return {"names": dict(request.names), "query": dict(request.query), "body": dict(request.body)}


async def refuse(request: Request) -> Mapping[str, Any]:
    raise {"wrong": UsageError, "busy": ServiceError}[request.names["how"]]("words of the service")


ROUTES = (Route("POST", "/uplinks/{name}", echo), Route("GET", "/{how}", refuse))


def test_the_service_gets_what_was_asked_and_its_answer_comes_back(tmp_path: Path) -> None:
    with serving(tmp_path, ROUTES):
        assert ask(tmp_path, "POST", "/uplinks/a%20b?last=3", {"state": "drain"}) == {
            "names": {"name": "a b"},
            "query": {"last": "3"},
            "body": {"state": "drain"},
        }
        assert ask(tmp_path, "POST", "/uplinks/a")["body"] == {}


def test_a_refusal_is_an_error_with_the_words_of_the_service(tmp_path: Path) -> None:
    with serving(tmp_path, ROUTES):
        with pytest.raises(UsageError, match=r"^words of the service$"):
            ask(tmp_path, "GET", "/wrong")
        with pytest.raises(ServiceError, match=r"^words of the service$"):
            ask(tmp_path, "GET", "/busy")
        with pytest.raises(ServiceError, match="/a/b: there is nothing by this path"):
            ask(tmp_path, "GET", "/a/b")


@pytest.mark.parametrize("leave", ["nothing", "the directory", "a stale socket", "a file"])
def test_no_service_is_told_as_such(tmp_path: Path, leave: str) -> None:
    runtime_dir = tmp_path / "run"
    if leave != "nothing":
        runtime_dir.mkdir()
    if leave == "a stale socket":
        with socket.socket(socket.AF_UNIX) as killed:
            killed.bind(str(runtime_dir / SOCKET_NAME))
    if leave == "a file":
        (runtime_dir / SOCKET_NAME).touch()
    with pytest.raises(ServiceError, match=r"/run/control.sock: no service is running there$"):
        ask(runtime_dir, "GET", "/status")


@contextmanager
def listening(directory: Path, backlog: int = 8) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(directory / SOCKET_NAME))
        listener.listen(backlog)
        yield listener


def test_a_service_that_hangs_is_given_up_in_time(tmp_path: Path) -> None:
    with listening(tmp_path), pytest.raises(ServiceError, match=r"no answer within 0\.2 s$"):
        ask(tmp_path, "GET", "/status", seconds=0.2)


def test_a_service_that_hangs_with_clients_waiting_is_given_up_in_time(tmp_path: Path) -> None:
    """The kernel does not let one more connect then."""
    with listening(tmp_path, 0), socket.socket(socket.AF_UNIX) as first:
        first.connect(str(tmp_path / SOCKET_NAME))
        with pytest.raises(ServiceError, match=r"no answer within 0\.2 s$"):
            ask(tmp_path, "GET", "/status", seconds=0.2)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"", "the service hung up without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the service hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "hung up without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "the answer is not a JSON object"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n[1]", "the answer is not a JSON object"),
        (b"HTTP/1.1 503 X\r\nContent-Length: 2\r\n\r\n{}", "refused with status 503"),
    ],
)
def test_an_answer_that_cannot_be_used_is_told_in_a_line(
    tmp_path: Path, answer: bytes, words: str
) -> None:
    with listening(tmp_path) as listener:

        def serve() -> None:
            asking, _ = listener.accept()
            with asking:
                asking.recv(10_000)
                asking.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ServiceError, match=words):
            ask(tmp_path, "GET", "/status")
        thread.join()


def test_a_refusal_before_the_request_was_sent_is_read_all_the_same(tmp_path: Path) -> None:
    """As with too many clients at once."""
    with listening(tmp_path) as listener:

        def refuse_at_once() -> None:
            asking, _ = listener.accept()
            body = b'{"error": "try again"}'
            head = f"HTTP/1.1 503 X\r\nContent-Length: {len(body)}\r\n\r\n"
            asking.sendall(head.encode() + body)
            asking.close()
            gone.set()

        gone = threading.Event()
        thread = threading.Thread(target=refuse_at_once)
        thread.start()
        connection = client._Connection(tmp_path / SOCKET_NAME, 5.0)
        connection.connect()
        assert gone.wait(5)
        connection.request("GET", "/status")
        assert connection.getresponse().read() == b'{"error": "try again"}'
        connection.close()
        thread.join()


def test_the_client_sends_http_that_others_understand(tmp_path: Path) -> None:
    with listening(tmp_path) as listener:
        heard = bytearray()

        def hear() -> None:
            asking, _ = listener.accept()
            with asking:
                heard.extend(asking.recv(10_000))
                asking.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

        thread = threading.Thread(target=hear)
        thread.start()
        assert ask(tmp_path, "GET", "/status") == {}
        thread.join()
    assert heard.startswith(b"GET /status HTTP/1.1\r\nHost: localhost\r\n")


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "run"])
def test_a_command_does_not_wait_for_the_import_of_aiohttp(command: str) -> None:
    script = f"import classifier.commands.{command}, sys; sys.exit('aiohttp' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
