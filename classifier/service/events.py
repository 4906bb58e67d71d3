"""What changes on the host, told by the kernel: a sign to look again, never the data itself.

Two netlink sockets of the network namespace in which they are made, read by the asyncio loop:
rtnetlink's for links, addresses, routes, rules and per-interface sysctls, nfnetlink's for changes
of nftables, by whatever program (`nft`, `iptables-nft`, a firewall). There is no event for
legacy iptables, nor for sysctls other than forwarding and rp_filter of IPv4 and IPv6's forwarding:
those are found by looking now and then.

pyroute2's asynchronous sockets (0.9.7) would serve, but three things speak against them here. They
decode every message whole, 250 us for a link (`link_change` takes 4). They read one message per
turn of the loop into a queue without bounds. And one overrun (ENOBUFS), the sign to look at
everything, ends them for good: error_received() in netlink/core.py.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from typing import Literal

from pyroute2.netlink import rtnl

from classifier.queue.kernel_queues import NETLINK_NETFILTER
from classifier.service import event_filters
from classifier.service.link_change import LinkChange, link_change

Kind = Literal["link", "address", "route", "rule", "sysctl", "firewall", "everything"]
"""What is to be looked at again; "everything" after events were lost."""

_REST = 0.005
"""Seconds without reading after each reading, so that no flood takes more than 200 turns of the
loop per second. What comes meanwhile waits in the socket, or is lost, which is a sign too."""
_MOST_AT_ONCE = 500
"""Messages per turn of the loop; takes about 3 ms."""
_SOCKET_BUFFER = 1024 * 1024
"""Bytes asked for; the kernel gives what net.core.rmem_max allows."""
_MESSAGE = 8 * 1024
"""Bytes read of a message. The rest, a long list of virtual functions, is cut off."""

_NFTABLES_GROUP = 1 << 6  # NFNLGRP_NFTABLES of linux/netfilter/nfnetlink.h is 7
_RTM_NEWNETCONF, _RTM_DELNETCONF = 80, 81  # linux/rtnetlink.h, as are the groups
_RTNLGRP_IPV4_NETCONF, _RTNLGRP_IPV6_NETCONF = 24, 25
_ROUTE_GROUPS = (
    rtnl.RTMGRP_LINK
    | rtnl.RTMGRP_IPV4_IFADDR
    | rtnl.RTMGRP_IPV6_IFADDR
    | rtnl.RTMGRP_IPV4_ROUTE
    | rtnl.RTMGRP_IPV6_ROUTE
    | rtnl.RTMGRP_IPV4_RULE
    | rtnl.RTMGRP_IPV6_RULE
    | 1 << (_RTNLGRP_IPV4_NETCONF - 1)
    | 1 << (_RTNLGRP_IPV6_NETCONF - 1)
)
_KINDS: dict[int, Kind] = {
    rtnl.RTM_NEWLINK: "link",
    rtnl.RTM_DELLINK: "link",
    rtnl.RTM_NEWADDR: "address",
    rtnl.RTM_DELADDR: "address",
    rtnl.RTM_NEWROUTE: "route",
    rtnl.RTM_DELROUTE: "route",
    rtnl.RTM_NEWRULE: "rule",
    rtnl.RTM_DELRULE: "rule",
    _RTM_NEWNETCONF: "sysctl",
    _RTM_DELNETCONF: "sysctl",
}


class HostEvents:
    """Calls back, on the running loop, when something changed that the gateway may depend on.

    `changed` is called with a kind, once for all of it that came in one go; `link_changed`, before
    that, with every change of a link. From the constructor on nothing is missed. Routes of
    `own_protocol` (a number of rtnetlink's rtm_protocol) are told whatever they lead to; of others
    see `event_filters.route_filter`. Raises OSError where the kernel refuses.
    """

    def __init__(
        self,
        changed: Callable[[Kind], None],
        *,
        own_protocol: int,
        link_changed: Callable[[LinkChange], None] = lambda change: None,
    ) -> None:
        with ExitStack() as undo:
            routes = undo.enter_context(closing(_Listener(changed, link_changed)))
            program = event_filters.route_filter(own_protocol)
            routes.bind(_ROUTE_GROUPS, lambda listener: event_filters.attach(listener, program))
            rules = undo.enter_context(closing(_Listener(changed, link_changed, NETLINK_NETFILTER)))
            rules.bind(_NFTABLES_GROUP, event_filters.attach_transaction_filter)
            self._listeners = (routes, rules)
            undo.pop_all()

    @property
    def received(self) -> int:
        """Messages that reached this process so far."""
        return sum(listener.received for listener in self._listeners)

    def read(self) -> None:
        """Call back for what has come until now, without the rest between readings."""
        for listener in self._listeners:
            listener.read()

    def close(self) -> None:
        for listener in self._listeners:
            listener.close()


class _Listener:
    """One netlink socket."""

    def __init__(
        self,
        changed: Callable[[Kind], None],
        link_changed: Callable[[LinkChange], None],
        protocol: int = socket.NETLINK_ROUTE,
    ) -> None:
        self._changed = changed
        self._link_changed = link_changed
        self._loop = asyncio.get_running_loop()
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, protocol
        )
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SOCKET_BUFFER)
        self._buffer = memoryview(bytearray(_MESSAGE))
        self._rest: asyncio.TimerHandle | None = None
        self._lost = False
        self.received = 0

    def bind(self, groups: int, attach: Callable[[socket.socket], None]) -> None:
        attach(self._socket)
        self._socket.bind((0, groups))
        self._listen()

    def _listen(self) -> None:
        self._loop.add_reader(self._socket, self.read)

    def read(self) -> None:
        self._loop.remove_reader(self._socket)
        if self._rest:
            self._rest.cancel()
        self._rest = self._loop.call_later(_REST, self._listen)
        kinds: set[Kind] = {"everything"} if self._lost else set()
        for _ in range(_MOST_AT_ONCE):
            try:
                length = self._socket.recv_into(self._buffer)
            except BlockingIOError:
                self._lost = False
                break
            except OSError:  # ENOBUFS
                # Told once, but the kernel goes on losing until the socket is empty
                # (netlink_rcv_wake() in net/netlink/af_netlink.c): look now, and again then.
                self._lost = True
                kinds.add("everything")
            else:
                self.received += 1
                kinds.add(self._kind(self._buffer[:length]))
        for kind in kinds:
            self._changed(kind)

    def _kind(self, message: memoryview) -> Kind:
        number = int.from_bytes(message[4:6], sys.byteorder)
        if number >> 8 == event_filters.NFNL_SUBSYS_NFTABLES:
            return "firewall"
        kind = _KINDS.get(number, "everything")
        if kind == "link" and (change := link_change(message)):
            self._link_changed(change)
        return kind

    def close(self) -> None:
        if self._socket.fileno() >= 0:
            self._loop.remove_reader(self._socket)
        if self._rest:
            self._rest.cancel()
        self._socket.close()
