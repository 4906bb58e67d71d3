"""Clients that are slow, silent, many or greedy: each has an end, and delays nobody else."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from control_service import GET_STATUS, SECONDS, Service, eventually, parsed, received, serving

from classifier.service.control import connection
from classifier.service.control.routes import Request, Route

LARGE = 1_000_000
"""Bytes; more than a socket buffers (net.core.wmem_default)."""


async def status(request: Request) -> Mapping[str, Any]:
    return {"uptime": 1}


async def large(request: Request) -> Mapping[str, Any]:
    return {"text": "x" * LARGE}


async def wait(request: Request) -> Mapping[str, Any]:
    await asyncio.sleep(SECONDS)
    return {}


ROUTES = (
    Route("GET", "/status", status),
    Route("GET", "/large", large),
    Route("GET", "/wait", wait),
    Route("POST", "/status-of", status),
)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    with serving(tmp_path, ROUTES) as running:
        yield running


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> float:
    """The limits in time, shorter than a test wants to wait; in seconds."""
    monkeypatch.setattr(connection, "RECEIVE_SECONDS", 1.0)
    monkeypatch.setattr(connection, "SEND_SECONDS", 1.0)
    return 1.0


def test_the_limits_are_those_of_the_documentation() -> None:
    page = (Path(__file__).parents[2] / "docs" / "control.md").read_text()
    for said in (
        f"{connection.LONGEST_BODY} bytes",
        f"{connection.LONGEST_LINE} bytes",
        f"{connection.LONGEST_HEADER} bytes",
        f"{connection.MOST_CONNECTIONS} at once",
        f"{connection.RECEIVE_SECONDS:.0f} s from connecting",
        f"{connection.SEND_SECONDS:.0f} s to take the answer",
    ):
        assert said in page


def test_sixty_clients_at_once_are_all_answered(service: Service) -> None:
    together = threading.Barrier(60)

    def ask(number: int) -> tuple[int, dict[str, Any]]:
        with service.connect() as client:
            together.wait(SECONDS)
            client.sendall(GET_STATUS)
            return parsed(received(client))

    with ThreadPoolExecutor(60) as clients:
        assert list(clients.map(ask, range(60))) == [(200, {"uptime": 1})] * 60


def test_a_client_among_more_idle_ones_than_there_are_places_is_answered(service: Service) -> None:
    with ExitStack() as undo:
        idle = [undo.enter_context(service.connect()) for _ in range(300)]
        assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
        assert service.open_connections <= connection.MOST_CONNECTIONS
        code, answer = parsed(received(idle[0]))
        assert (code, answer) == (503, {"error": "too many clients at once, and this one was slow"})


def test_a_client_that_drips_is_sent_away_in_time_and_delays_nobody(
    service: Service, brief: float
) -> None:
    with service.connect() as dripping:
        begun = time.monotonic()
        sent_away = threading.Event()

        def drip() -> None:
            for byte in GET_STATUS[:-2] + b"X-Header: " + b"x" * 8000:
                try:
                    dripping.send(bytes([byte]))
                except OSError:
                    break
                if sent_away.wait(0.02):
                    break

        thread = threading.Thread(target=drip)
        thread.start()
        assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
        code, answer = parsed(dripping.recv(1000))
        assert time.monotonic() - begun >= brief
        sent_away.set()
        thread.join()
    assert (code, answer["error"]) == (408, "no whole request within 1 s")


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /sta", b"POST /status-of HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{"],
    ids=["nothing", "half a line", "half a body"],
)
def test_a_client_that_stops_half_way_is_sent_away_in_time(
    service: Service, brief: float, sent: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with service.connect() as client:
        client.sendall(sent)
        assert parsed(received(client))[0] == 408
    assert service.open_connections == 0
    assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
    assert caplog.records == []


def test_a_client_that_does_not_read_its_answer_is_sent_away_in_time(
    service: Service, brief: float
) -> None:
    with service.connect() as client:
        client.sendall(GET_STATUS.replace(b"status", b"large"))
        eventually(lambda: service.open_connections == 1, "it is there")
        assert service.exchange(GET_STATUS) == (200, {"uptime": 1})
        eventually(lambda: service.open_connections == 0, "its connection is gone")
        assert len(client.recv(LARGE, socket.MSG_WAITALL)) < LARGE


def test_clients_that_do_not_read_take_nobodys_place(service: Service) -> None:
    with ExitStack() as undo:
        for _ in range(connection.MOST_CONNECTIONS):
            client = undo.enter_context(service.connect())
            client.sendall(GET_STATUS.replace(b"status", b"large"))
        assert service.exchange(GET_STATUS) == (200, {"uptime": 1})


def test_with_all_places_at_work_one_more_is_refused_at_once(tmp_path: Path) -> None:
    at_work = 0
    may_end = asyncio.Event()

    async def work(request: Request) -> Mapping[str, Any]:
        nonlocal at_work
        at_work += 1
        await may_end.wait()
        return {"done": True}

    with serving(tmp_path, (Route("GET", "/status", work),)) as service, ExitStack() as undo:
        busy = []
        for _ in range(connection.MOST_CONNECTIONS):
            busy.append(undo.enter_context(service.connect()))
            busy[-1].sendall(GET_STATUS)
        eventually(lambda: at_work == connection.MOST_CONNECTIONS, "all are at work")
        with service.connect() as one_more:
            code, answer = parsed(received(one_more))
        assert (code, answer["error"]) == (503, "128 requests are being worked at; try again")
        service.loop.call_soon_threadsafe(may_end.set)
        assert [parsed(received(client)) for client in busy] == [(200, {"done": True})] * 128


def test_a_header_without_end_is_refused(service: Service) -> None:
    with service.connect() as client:
        try:
            client.sendall(b"GET /status HTTP/1.1\r\n")
            for _ in range(10_000):
                client.sendall(b"X-Header: " + b"x" * 5000 + b"\r\n")
        except OSError:
            pass  # hung up on, which is right
        else:
            pytest.fail("50 MB of header were taken")
        assert parsed(client.recv(10_000))[0] in (400, 431)
    assert service.exchange(GET_STATUS) == (200, {"uptime": 1})


def test_a_stop_waits_for_no_client(tmp_path: Path) -> None:
    with ExitStack() as undo:
        with serving(tmp_path, ROUTES) as service:
            for sent in (b"", b"GET", GET_STATUS.replace(b"status", b"wait")):
                undo.enter_context(service.connect()).sendall(sent)
            undo.enter_context(service.connect()).sendall(GET_STATUS.replace(b"status", b"large"))
            eventually(lambda: service.open_connections == 4, "all are there")
            begun = time.monotonic()
        assert time.monotonic() - begun < SECONDS / 3
