"""Network interfaces that come and go while the service runs.

The queue knows interfaces by index, rules know them by name; an interface that is made anew (a
dialled link) comes back under another index.
"""

from __future__ import annotations

import socket

_RTMGRP_LINK = 1  # linux/rtnetlink.h


class LinkEvents:
    """A netlink socket that becomes readable when any link changes."""

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE
        )
        self._socket.bind((0, _RTMGRP_LINK))

    def fileno(self) -> int:
        return self._socket.fileno()

    def drain(self) -> None:
        """Forget what is waiting: it is read only as a sign to look again."""
        while True:
            try:
                self._socket.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: events were lost, which is a sign to look again too

    def close(self) -> None:
        self._socket.close()


def interfaces_by_index() -> dict[int, str]:
    """Interface index to name, in this network namespace, as it is now."""
    return dict(socket.if_nameindex())
