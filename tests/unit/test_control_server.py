"""The control server: what it answers, to whoever asks well or badly, and that it goes on."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from control_service import GET_STATUS, Service, eventually, serving

from classifier.errors import ClassifierError, ConflictError, HostError, ServiceError, UsageError
from classifier.service.control.address import SOCKET_NAME
from classifier.service.control.connection import LONGEST_BODY
from classifier.service.control.routes import Request, Route


async def status(request: Request) -> Mapping[str, Any]:
    return {"uptime": 1, **({"query": dict(request.query)} if request.query else {})}


async def uplink(request: Request) -> Mapping[str, Any]:
    return {**request.names, **request.body}


async def fail(request: Request) -> Mapping[str, Any]:
    errors = {error.__name__: error for error in (ConflictError, HostError, UsageError, ValueError)}
    raise errors[str(request.body["error"])]("what was wrong")


async def not_json(request: Request) -> Mapping[str, Any]:
    return {"latency": float("inf")}


ROUTES = (
    Route("GET", "/status", status),
    Route("GET", "/not-json", not_json),
    Route("POST", "/fail", fail),
    Route("POST", "/uplinks/{name}", uplink),
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, ROUTES) as running:
        yield running


def post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(
    ("options", "code", "answer"),
    [
        (["http://localhost/status"], 200, {"uptime": 1}),
        (["http://localhost/status?a=1"], 200, {"uptime": 1, "query": {"a": "1"}}),
        (
            ["-d", '{"state": "drain"}', "http://localhost/uplinks/wifi1"],
            200,
            {"name": "wifi1", "state": "drain"},
        ),
        (
            ["-d", "@-", "http://localhost/uplinks/wifi1"],
            413,
            {"error": "the body is longer than 65536 bytes"},
        ),
    ],
    ids=["status", "query", "post", "ten megabytes"],
)
def test_curl_gets_its_answer(
    service: Service, options: list[str], code: int, answer: object
) -> None:
    command = ["curl", "-sS", "--unix-socket", str(service.directory / SOCKET_NAME)]
    done = subprocess.run(
        [*command, "-w", "%{http_code}", *options],
        input="x" * 10_000_000 if "@-" in options else "",
        capture_output=True,
        text=True,
        check=True,
    )
    assert (json.loads(done.stdout[:-3]), int(done.stdout[-3:])) == (answer, code)


@pytest.mark.parametrize(
    ("sent", "code", "words"),
    [
        (b"GET /nonsense HTTP/1.1\r\nHost: x\r\n\r\n", 404, "/nonsense: there is nothing"),
        (b"POST /status HTTP/1.1\r\nHost: x\r\n\r\n", 405, "POST /status: the method must be GET"),
        (b"HEAD /status HTTP/1.1\r\nHost: x\r\n\r\n", 405, ""),
        (post("/fail", b"nonsense"), 400, "the body must be JSON"),
        (post("/fail", b"\xff\xfe"), 400, "the body must be JSON"),
        (post("/fail", b'{"a": NaN}'), 400, "the body must be JSON"),
        (post("/fail", b"9" * 10_000), 400, "the body must be JSON"),
        (post("/fail", b"[" * 60_000), 400, "the body must be JSON"),
        (post("/fail", b'{"a":' * 12_000), 400, "the body must be JSON"),
        (post("/fail", b"[1]"), 400, "the body must be a JSON object"),
        (post("/fail", b'{"error": "UsageError"}'), 400, "what was wrong"),
        (post("/fail", b'{"error": "ConflictError"}'), 409, "what was wrong"),
        (post("/fail", b'{"error": "HostError"}'), 503, "what was wrong"),
        (post("/fail", b" " * (LONGEST_BODY + 1)), 413, "longer than 65536 bytes"),
        (
            b"POST /fail HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            + (b"1000\r\n" + b" " * 0x1000 + b"\r\n") * 20,
            413,
            "longer than 65536 bytes",
        ),
        (
            b"POST /fail HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
            400,
            "",
        ),
        (b"GET /status HTTP/1.1\r\nX: " + b"x" * 9000 + b"\r\n\r\n", 400, "not a request in HTTP"),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n", 400, "not a request in HTTP"),
        (b'{"command": "status"}\n', 400, "not a request in HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400, "not a request"),
        (bytes(1000), 400, "not a request in HTTP"),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_bad_request_is_answered_in_json_and_not_logged(
    service: Service, sent: bytes, code: int, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    if sent.startswith(b"HEAD"):  # its answer has no body
        with service.connect() as client:
            client.sendall(sent)
            assert client.recv(1000).startswith(b"HTTP/1.1 405 ")
    else:
        got, answer = service.exchange(sent)
        assert got == code
        assert list(answer) == ["error"]
        assert words in answer["error"]
    assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
    assert caplog.records == []


def test_a_wrong_method_is_told_which_is_right(service: Service) -> None:
    with service.connect() as client:
        client.sendall(b"DELETE /uplinks/wifi1 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\nAllow: POST\r\n" in client.recv(1000)


@pytest.mark.parametrize(
    ("sent", "place", "kind"),
    [
        (post("/fail", b'{"error": "ValueError"}'), "POST /fail", "ValueError"),
        (post("/fail", b"{}"), "POST /fail", "KeyError"),
        (b"GET /not-json HTTP/1.1\r\nHost: x\r\n\r\n", "GET /not-json", "ValueError"),
    ],
    ids=["it raises", "it lacks a key", "its answer is no JSON"],
)
def test_a_defect_of_a_handler_is_logged_once_and_the_service_goes_on(
    service: Service, sent: bytes, place: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        code, answer = service.exchange(sent)
        assert (code, kind in answer["error"]) == (500, True)
    assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.message.startswith(f"{place} failed")
    assert record.exc_info is not None


def test_a_client_that_closes_its_side_after_the_request_is_answered(service: Service) -> None:
    """As `nc -N` does."""
    with service.connect() as client:
        client.sendall(GET_STATUS)
        client.shutdown(1)
        assert b'{"uptime": 1}' in client.recv(1000)


def test_one_connection_is_one_request(service: Service) -> None:
    """Or a client could keep its place for ever, and queue up work."""
    code, answer = service.exchange(GET_STATUS * 100)
    assert (code, answer) == (200, {"uptime": 1})


def test_what_a_client_began_goes_on_when_it_hangs_up(tmp_path: Path) -> None:
    """A reload is never left half done because somebody pressed Ctrl-C."""
    ended: list[str] = []
    may_end = asyncio.Event()

    async def reload(request: Request) -> Mapping[str, Any]:
        ended.append("begun")
        await may_end.wait()
        ended.append("done")
        return {}

    with serving(tmp_path, (Route("POST", "/reload", reload),)) as service:
        client = service.connect()
        client.sendall(b"POST /reload HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: ended == ["begun"], "the reload begins")
        client.close()
        service.loop.call_soon_threadsafe(may_end.set)
        eventually(lambda: ended == ["begun", "done"], "the reload ends")


def test_a_long_answer_comes_whole(tmp_path: Path) -> None:
    rules = [{"name": f"rule {number}", "flows": number} for number in range(20_000)]

    async def long(request: Request) -> Mapping[str, Any]:
        return {"rules": rules}

    with serving(tmp_path, (Route("GET", "/status", long),)) as service:
        assert service.exchange(GET_STATUS) == (200, {"rules": rules})


def test_the_server_starts_and_ends_as_often_as_it_is_asked_to(tmp_path: Path) -> None:
    for _ in range(3):
        with serving(tmp_path, ROUTES) as service:
            assert service.exchange(GET_STATUS)[0] == 200
        assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.parametrize("error", [ServiceError, ClassifierError])
def test_a_refusal_in_several_lines_comes_whole(
    tmp_path: Path, error: type[ClassifierError]
) -> None:
    async def refuse(request: Request) -> Mapping[str, Any]:
        raise error("line 1: this\nline 2: that")

    with serving(tmp_path, (Route("GET", "/status", refuse),)) as service:
        assert service.exchange(GET_STATUS) == (503, {"error": "line 1: this\nline 2: that"})
