"""Servers that answer with the name of the namespace in which a flow arrived.

TCP: every connection is greeted with the name and a newline, then echoed until the client closes.
UDP: a datagram that starts with `QUESTION` is answered with the name, from the address that it
was sent to; others are one-way flows and are left unanswered.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from functools import partial

from classifier.lab.flows import TCP
from classifier.lab.namespace import Namespace

QUESTION = b"?"
_IP_PKTINFO = 8  # <linux/in.h>, struct in_pktinfo: interface, local address, destination
_SO_RCVBUFFORCE = 33  # <asm-generic/socket.h>
_BACKLOG = 4096
_BUFFER = 4 << 20
"""Bytes for questions that wait; the usual buffer is full of some 250 of them, and one that is lost
is asked only once."""
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}


class Servers:
    """The servers of all namespaces, answered by one thread.

    `start` is harmless when repeated, so who sends a flow just starts what it needs.
    """

    def __init__(self, namespaces: Mapping[str, Namespace]) -> None:
        self._namespaces = namespaces
        self._sockets: dict[tuple[str, int, int, int], socket.socket] = {}
        self._connections: dict[int, socket.socket] = {}
        self._handlers: dict[int, Callable[[], None]] = {}
        self._epoll = select.epoll()
        self._wake, self._woken = socket.socketpair()
        self._epoll.register(self._woken, select.EPOLLIN)
        self._thread = threading.Thread(target=self._serve, name="lab-servers", daemon=True)
        self._thread.start()

    def start(self, namespace: str, protocol: int, port: int, version: int = 4) -> None:
        """Listen at every address of a namespace."""
        key = (namespace, protocol, port, version)
        if key in self._sockets:
            return
        kind = socket.SOCK_STREAM if protocol == TCP else socket.SOCK_DGRAM
        with self._namespaces[namespace].enter():
            sock = socket.socket(_FAMILIES[version], kind)
        try:
            if version == 6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            if protocol == TCP:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            elif version == 4:
                sock.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            if protocol != TCP:
                _enlarge(sock)
            sock.setblocking(False)
            sock.bind(("", port))
            if protocol == TCP:
                sock.listen(_BACKLOG)
        except BaseException:
            sock.close()
            raise
        self._sockets[key] = sock
        name = namespace.encode()
        handle = self._accept if protocol == TCP else self._answer
        self._handlers[sock.fileno()] = partial(handle, sock, name)
        self._epoll.register(sock, select.EPOLLIN)

    def stop(self, protocol: int, port: int) -> None:
        """Give a port free again, in every namespace; connections made go on."""
        for key in [key for key in self._sockets if key[1:3] == (protocol, port)]:
            sock = self._sockets.pop(key)
            self._epoll.unregister(sock)
            del self._handlers[sock.fileno()]
            sock.close()

    def close(self) -> None:
        self._wake.close()
        self._thread.join()
        for sock in (*self._sockets.values(), *self._connections.values(), self._woken):
            sock.close()
        self._epoll.close()

    def _serve(self) -> None:
        while True:
            for fd, _ in self._epoll.poll():
                if fd == self._woken.fileno():
                    return
                handler = self._handlers.get(fd)
                if handler is not None:
                    handler()

    def _accept(self, listener: socket.socket, name: bytes) -> None:
        for _ in range(64):
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setblocking(False)
            fd = connection.fileno()
            self._connections[fd] = connection
            self._handlers[fd] = partial(self._echo, connection)
            self._epoll.register(fd, select.EPOLLIN)
            with contextlib.suppress(OSError):
                connection.send(name + b"\n")

    def _echo(self, connection: socket.socket) -> None:
        try:
            # Taken from the socket only when it has been sent: nothing is kept here when the
            # client reads slower than it writes.
            text = connection.recv(65536, socket.MSG_PEEK)
            if text:
                connection.recv(connection.send(text))
                self._epoll.modify(connection, select.EPOLLIN)
                return
        except BlockingIOError:
            self._epoll.modify(connection, select.EPOLLOUT)
            return
        except OSError:
            pass
        fd = connection.fileno()
        del self._connections[fd], self._handlers[fd]
        connection.close()

    def _answer(self, sock: socket.socket, name: bytes) -> None:
        for _ in range(64):
            try:
                text, ancillary, _, client = sock.recvmsg(2048, 128)
            except OSError:
                return
            if text.startswith(QUESTION):
                with contextlib.suppress(OSError):
                    sock.sendmsg([name], [_from(item) for item in ancillary], 0, client)


def _enlarge(sock: socket.socket) -> None:
    """The largest receive buffer that this process may have."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    with contextlib.suppress(OSError):  # beyond net.core.rmem_max only with rights
        sock.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)


def _from(item: tuple[int, int, bytes]) -> tuple[int, int, bytes]:
    """The ancillary data that sends an answer from the address that the question was sent to."""
    level, kind, data = item
    if level == socket.IPPROTO_IP:
        _, _, sent_to = struct.unpack("=I4s4s", data)
        return level, kind, struct.pack("=I4s4s", 0, sent_to, sent_to)
    return level, kind, data
