"""The control socket: what `status` says when the service answers, refuses, hangs or is gone."""

import socket
import threading
from pathlib import Path

import pytest

from classifier.errors import ServiceError
from classifier.service import control


def serve_once(server: control.ControlServer) -> threading.Thread:
    server._socket.setblocking(True)
    thread = threading.Thread(target=server.serve)
    thread.start()
    return thread


def test_an_answer_comes_back_whole_even_when_it_is_long(tmp_path: Path) -> None:
    rules = [{"name": f"rule {number}", "flows": number} for number in range(20_000)]
    server = control.ControlServer(tmp_path, lambda request: {"rules": rules, **request})
    thread = serve_once(server)
    assert control.ask(tmp_path, {"command": "status"}) == {"rules": rules, "command": "status"}
    thread.join()
    server.close()


def test_a_refused_request_is_an_error_with_the_service_s_words(tmp_path: Path) -> None:
    def refuse(request: dict[str, object]) -> dict[str, object]:
        raise ServiceError("command 'dance': this service answers: status")

    server = control.ControlServer(tmp_path, refuse)
    thread = serve_once(server)
    with pytest.raises(ServiceError, match="'dance'"):
        control.ask(tmp_path, {"command": "dance"})
    thread.join()
    server.close()


@pytest.mark.parametrize("request_line", [b"nonsense\n", b"[1]\n", b"\xff\xff\n"])
def test_nonsense_is_refused_and_the_service_goes_on(tmp_path: Path, request_line: bytes) -> None:
    server = control.ControlServer(tmp_path, lambda request: {"ok": True})
    for line, expected in ((request_line, b"error"), (b"{}\n", b"ok")):
        thread = serve_once(server)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / control.SOCKET_NAME))
            client.sendall(line)
            assert expected in client.recv(1000)
        thread.join()
    server.close()


def test_no_service_is_told_apart_from_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ServiceError, match="no service is running there"):
        control.ask(tmp_path, {"command": "status"})
    server = control.ControlServer(tmp_path, lambda request: {})
    monkeypatch.setattr(control, "PATIENCE", 0.05)
    with pytest.raises(ServiceError, match="no answer within"):
        control.ask(tmp_path, {"command": "status"})
    server.close()


def test_a_socket_left_by_a_killed_service_does_not_hinder_the_next(tmp_path: Path) -> None:
    control.ControlServer(tmp_path, lambda request: {})._socket.close()
    assert (tmp_path / control.SOCKET_NAME).exists()
    control.ControlServer(tmp_path, lambda request: {}).close()
    assert not (tmp_path / control.SOCKET_NAME).exists()
