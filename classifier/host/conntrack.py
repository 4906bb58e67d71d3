"""Connections of the kernel, ended by their mark."""

from __future__ import annotations

import os
import socket
import struct

from classifier.errors import HostError
from classifier.queue.kernel_queues import NETLINK_NETFILTER

_DELETE = 1 << 8 | 2  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE
_REQUEST, _ACK = 1, 4  # NLM_F_REQUEST, NLM_F_ACK
_MARK, _MARK_MASK = 8, 21  # CTA_MARK, CTA_MARK_MASK
_HEADERS = struct.Struct("=IHHII BBH")  # nlmsghdr, nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")
_ERROR = struct.Struct("=i")
_HEADER_BYTES = 16


def flush(mark: int, mask: int) -> None:
    """End every connection that has `mark` under `mask`, and no other, in one request.

    Of the calling thread's network namespace. A request without a tuple means all connections; the
    kernel filters by the mark (net/netfilter/nf_conntrack_netlink.c, ctnetlink_flush_conntrack).
    Raises HostError.
    """
    attributes = _attribute(_MARK, mark) + _attribute(_MARK_MASK, mask)
    length = _HEADERS.size + len(attributes)
    request = _HEADERS.pack(length, _DELETE, _REQUEST | _ACK, 0, 0, 0, 0, 0) + attributes
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink:
            netlink.settimeout(10.0)
            netlink.send(request)
            answer = netlink.recv(4096)
        error = -_ERROR.unpack_from(answer, _HEADER_BYTES)[0]
    except (OSError, struct.error) as failure:
        raise HostError(f"connections of mark 0x{mark:x} cannot be ended: {failure}") from failure
    if error:
        raise HostError(f"connections of mark 0x{mark:x} cannot be ended: {os.strerror(error)}")


def _attribute(kind: int, value: int) -> bytes:
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + 4, kind) + struct.pack("!I", value)
