"""Probes by HTTPS: the certificate counts, and what is wrong with it is said."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from classifier.policy import Target
from classifier.uplinks.health import Answer
from classifier.uplinks.probes import ask, http, probe_of
from classifier.uplinks.probes.binding import Binding

HOST = "127.0.0.1"
pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the program openssl")


class Silent(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    file = tmp_path / "both.pem"
    subject = ("-subj", "/CN=probe", "-addext", f"subjectAltName=IP:{HOST}")
    made = ("-keyout", str(file), "-out", str(tmp_path / "only.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject, *made]
    subprocess.run(command, check=True, capture_output=True)
    with file.open("a") as both:
        both.write((tmp_path / "only.pem").read_text())
    return file


@pytest.fixture
def port(certificate: Path) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with ThreadingHTTPServer((HOST, 0), Silent) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def fresh_certificates() -> Iterator[None]:
    http._tls.cache_clear()
    yield
    http._tls.cache_clear()


def answer_of(url: str, port: int) -> Answer:
    return asyncio.run(ask(probe_of("http"), Target(url, HOST, port), Binding("lo", 0), 10.0))


def test_a_certificate_that_the_host_trusts_is_an_answer(
    certificate: Path, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert answer_of(f"https://{HOST}:{port}/", port).seconds is not None


def test_a_certificate_that_it_does_not_trust_is_none_and_is_explained(port: int) -> None:
    answer = answer_of(f"https://{HOST}:{port}/", port)
    assert answer.seconds is None
    assert answer.failure.startswith("certificate: ") and "self" in answer.failure


def test_a_server_that_speaks_no_tls_is_explained() -> None:
    with ThreadingHTTPServer((HOST, 0), Silent) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        answer = answer_of(f"https://{HOST}:{server.server_port}/", server.server_port)
        server.shutdown()
        thread.join()
    assert answer.failure.startswith("TLS: ")
