"""Opening and binding the netlink socket of a queue (<linux/netfilter/nfnetlink_queue.h>)."""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass

from classifier.errors import QueueError
from classifier.queue.kernel_queues import NETLINK_NETFILTER
from classifier.queue.owner import why_refused
from classifier.queue.packet_queue import QueueSettings

COPY_RANGE = 128
"""Bytes copied of a packet: `HEADER_BYTES` of classifier/engine/wire.pxd."""
RECEIVE_BUFFER = 64 << 20
"""Bytes of socket buffer asked for. A bound, not an allocation; 8192 packets are charged 7 MB."""

_SOL_NETLINK, _NO_ENOBUFS, _CAP_ACK = 270, 5, 10
_SO_RCVBUFFORCE = 33

_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1
_MSG_CONFIG = 3 << 8 | 2  # NFNL_SUBSYS_QUEUE, NFQNL_MSG_CONFIG

_CFG_CMD, _CFG_PARAMS, _CFG_MAXLEN, _CFG_MASK, _CFG_FLAGS = range(1, 6)
_CMD_BIND = 1
_COPY_PACKET = 2

FAIL_OPEN, GSO, UID_GID = 1, 4, 8
"""NFQA_CFG_F_*: accept when full; whole GSO packets instead of segments; user ids."""


@dataclass(frozen=True, slots=True)
class Binding:
    """A bound queue's socket, and what the kernel granted of its buffer."""

    socket: socket.socket
    receive_buffer: int
    """As the kernel accounts it, in bytes."""


def bind(number: int, settings: QueueSettings) -> Binding:
    """Bind queue `number` of the calling thread's network namespace.

    Raises QueueError: the queue is held (by whom), rights are missing, the kernel has no NFQUEUE.
    """
    wanted = _flags(settings)
    # What a kernel does not know it refuses as a whole, and old ones only after having bound the
    # queue to that socket: each try has a socket of its own.
    tries = dict.fromkeys((wanted, wanted & ~UID_GID, wanted & FAIL_OPEN, 0))
    for flags in tries:
        try:
            opened, buffer, code = _try(number, settings.length, flags)
        except OSError as error:
            raise QueueError(f"cannot bind queue {number}: {error}") from error
        if code == 0:
            return Binding(opened, buffer)
        opened.close()
        if code != errno.EOPNOTSUPP:
            raise QueueError(f"cannot bind queue {number}: {_reason(number, code)}")
    raise QueueError(
        f"cannot bind queue {number}: this kernel lacks it (CONFIG_NETFILTER_NETLINK_QUEUE)"
    )


def only_from_the_kernel(opened: socket.socket) -> None:
    """Have the kernel refuse what other processes send to this socket (netlink_connect).

    Without it, any process with CAP_NET_ADMIN could put packets before the reader that are none,
    and an answer to a row of them would reach packets that nobody has decided.
    """
    opened.connect((0, 0))


def set_flags(bound: socket.socket, number: int, settings: QueueSettings) -> None:
    """Set the flags of a queue that a library has bound, which cannot do so itself.

    Nothing is answered that the library would stumble over; what a kernel lacks stays off.
    """
    bound.send(_config(number, _flag_attributes(_flags(settings) & ~UID_GID)))


def take_no_more(bound: socket.socket, number: int) -> None:
    """From now on the kernel treats the queue as full, so that what waits is all there is.

    With fail-open new packets go on unclassified, without it they are dropped; none of them is
    put where closing the socket would lose it.
    """
    bound.send(_config(number, _maximum(0)))


def enlarge(opened: socket.socket) -> int:
    """Give the socket `RECEIVE_BUFFER`, or what this user may have; the bytes it has then."""
    try:
        opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
    except PermissionError:  # root of a user namespace: bounded by net.core.rmem_max
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    return opened.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)


def _flags(settings: QueueSettings) -> int:
    return (
        GSO
        | (FAIL_OPEN if settings.fail_open else 0)
        | (UID_GID if settings.want_uid else 0)
    )  # fmt: skip


def _try(number: int, length: int, flags: int) -> tuple[socket.socket, int, int]:
    """The socket, its buffer in bytes, and the errno that the kernel answered, 0 if it is bound."""
    opened = _open()
    try:
        return opened, enlarge(opened), _bind(opened, number, length, flags)
    except OSError:
        opened.close()
        raise


def _open() -> socket.socket:
    opened = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER
    )
    # One overrun would otherwise refuse every packet until the buffer is empty.
    opened.setsockopt(_SOL_NETLINK, _NO_ENOBUFS, 1)
    # Errors come without a copy of what they are about, which nothing here reads.
    opened.setsockopt(_SOL_NETLINK, _CAP_ACK, 1)
    opened.bind((0, 0))
    only_from_the_kernel(opened)
    return opened


def _bind(opened: socket.socket, number: int, length: int, flags: int) -> int:
    """0, or the errno that the kernel answered."""
    # All in one message: between two of them the queue would be bound with COPY_NONE, and drop.
    request = _config(
        number,
        _attribute(_CFG_CMD, struct.pack(">BxH", _CMD_BIND, 0)),
        _attribute(_CFG_PARAMS, struct.pack(">IB", COPY_RANGE, _COPY_PACKET)),
        _maximum(length),
        _flag_attributes(flags),
    )
    # The kernel handles a request inside send() and reports errors unasked, so what can be read
    # now tells how it went. An acknowledgement would come behind packets that are here already.
    opened.send(request)
    try:
        kind, code = struct.unpack_from(
            "=4xH10xi", opened.recv(20, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        )
    except BlockingIOError:
        return 0
    return -int(code) if kind == _NLMSG_ERROR else 0


def _reason(number: int, code: int) -> str:
    if code == errno.EPERM:
        return why_refused(number)
    if code == errno.EINVAL:
        return "this kernel lacks NFQUEUE (CONFIG_NETFILTER_NETLINK_QUEUE)"
    return os.strerror(code)


def _config(number: int, *attributes: bytes) -> bytes:
    body = struct.pack(">BBH", socket.AF_UNSPEC, 0, number) + b"".join(attributes)
    return struct.pack("=IHHII", 16 + len(body), _MSG_CONFIG, _NLM_F_REQUEST, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def _maximum(length: int) -> bytes:
    return _attribute(_CFG_MAXLEN, struct.pack(">I", length))


def _flag_attributes(flags: int) -> bytes:
    # A queue starts with no flag set, so the mask of what to change is what to set.
    value = struct.pack(">I", flags)
    return _attribute(_CFG_MASK, value) + _attribute(_CFG_FLAGS, value)
