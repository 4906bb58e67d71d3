"""Routes and routing rules of the kernel: added and deleted."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from classifier.errors import HostError
from classifier.host import messages
from classifier.host.snapshot import KernelRoute, KernelRule
from classifier.host.state import Route, RoutingRule


class Rtnetlink:
    """One netlink socket of the calling thread's network namespace.

    Every method raises HostError with the rule or route and what the kernel said.
    """

    def __init__(self) -> None:
        self._netlink = IPRoute()

    def __enter__(self) -> Rtnetlink:
        return self

    def __exit__(self, *_: object) -> None:
        self._netlink.close()

    def add_rule(self, rule: RoutingRule) -> None:
        self._do(f"ip -{rule.family} rule add {rule}", "rule", "add", messages.new_rule(rule))

    def delete_rule(self, rule: RoutingRule) -> None:
        self._do(f"ip -{rule.family} rule del {rule}", "rule", "del", messages.new_rule(rule))

    def put_back_rule(self, there: KernelRule) -> None:
        self._do(f"ip -{there.rule.family} rule add {there}", "rule", "add", there.message)

    def delete_kernel_rule(self, there: KernelRule) -> None:
        self._do(f"ip -{there.rule.family} rule del {there}", "rule", "del", there.message)

    def replace_route(self, route: Route) -> None:
        """Add a default route, in the place of another one of its table if there is one."""
        self._route("replace", route)

    def delete_route(self, route: Route) -> None:
        self._route("del", route)

    def put_back_route(self, there: KernelRoute) -> None:
        self._do(f"ip -{there.route.family} route add {there}", "route", "replace", there.message)

    def delete_kernel_route(self, there: KernelRoute) -> None:
        self._do(f"ip -{there.route.family} route del {there}", "route", "del", there.message)

    def _route(self, command: str, route: Route) -> None:
        what = f"ip -{route.family} route {command} {route}"
        found = self._netlink.link_lookup(ifname=route.interface)
        if not found:
            raise HostError(f"{what}: no interface {route.interface}")
        self._do(what, "route", command, messages.new_route(route, found[0]))

    def _do(self, what: str, kind: str, command: str, request: Mapping[str, Any]) -> None:
        try:
            getattr(self._netlink, kind)(command, **request)
        except NetlinkError as error:
            # Somebody did the very same meanwhile; the kernel drops routes of a link that fails.
            if command == "add" and error.code == errno.EEXIST:
                return
            if command == "del" and error.code in (errno.ENOENT, errno.ESRCH, errno.ENODEV):
                return
            raise HostError(f"{what}: {error.args[1]}") from error
