"""DNS and HTTP servers on the internet behind an uplink, for tests of probes."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from classifier.lab.namespace import Namespace

DNS_PORT, HTTP_PORT = 53, 80
WEB_ADDRESS = "203.0.113.80"
"""What the DNS server says is the address of any name but these: `broken.` and `none.`"""


@contextmanager
def dns_server(
    internet: Namespace, address: str, delay: Callable[[], float] = lambda: 0.0
) -> Iterator[list[str]]:
    """A DNS server that answers after `delay()` seconds; yields the names that it is asked for, as
    they come."""
    asked: list[str] = []
    with internet.enter():
        sock = socket.socket(_family(address), socket.SOCK_DGRAM)

    def serve() -> None:
        while True:
            packet, client = sock.recvfrom(2048)
            if not packet:
                return
            query = dns.message.from_wire(packet)
            name = str(query.question[0].name)
            asked.append(name)
            answer = dns.message.make_response(query)
            if name == "broken.":
                answer.set_rcode(dns.rcode.SERVFAIL)
            elif name == "none.":
                answer.set_rcode(dns.rcode.NXDOMAIN)
            elif name != ".":
                answer.answer.append(dns.rrset.from_text(name, 60, "IN", "A", WEB_ADDRESS))
            time.sleep(delay())
            sock.sendto(b"not DNS at all", client)
            sock.sendto(answer.to_wire(), client)

    with sock:
        sock.bind((address, DNS_PORT))
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield asked
        finally:
            with internet.enter(), socket.socket(sock.family, socket.SOCK_DGRAM) as stop:
                stop.sendto(b"", (address, DNS_PORT))
            thread.join()


@contextmanager
def http_server(internet: Namespace, address: str) -> Iterator[list[str]]:
    """An HTTP server that answers /N with status N and else with 204; yields the paths asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            status = int(self.path[1:]) if self.path[1:].isdecimal() else 204
            self.send_response(status)
            self.send_header("Location", "http://portal.example/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = _family(address)
        daemon_threads = True

        def server_bind(self) -> None:
            TCPServer.server_bind(self)  # HTTPServer's looks up the name of the address

    with internet.enter():
        server = Server((address, HTTP_PORT), Handler)
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def all_servers(internet: Namespace, addresses: tuple[str, ...]) -> Iterator[None]:
    with ExitStack() as undo:
        for address in addresses:
            undo.enter_context(dns_server(internet, address))
            undo.enter_context(http_server(internet, address))
        yield


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
