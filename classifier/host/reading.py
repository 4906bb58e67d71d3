"""Reading a snapshot of the host: the one place where a plan's input comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from classifier.host import ct_helpers, messages, modules, route_dump, sysctls
from classifier.host.endpoints import endpoints
from classifier.host.iptables import snapshot as iptables
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.snapshot import FirewallSnapshot
from classifier.host.nftables import listing
from classifier.host.rtnetlink import Rtnetlink
from classifier.host.snapshot import BoundQueue, Snapshot
from classifier.host.state import ADDRESS_FAMILIES
from classifier.queue.kernel_queues import kernel_queues
from classifier.queue.owner import owner

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def read(
    variant: Variant | None = None,
    previous: Snapshot | None = None,
    *,
    still: Snapshot | None = None,
    ours_only: bool = False,
) -> Snapshot:
    """A snapshot of the calling thread's network namespace.

    variant: which iptables to use; None: the one that the program `iptables` is.
    previous: an earlier snapshot of this host. Reading many rules is slow: its firewall is taken
    over where no rule of nf_tables has changed since and ip_tables is not in use, and else only
    the tables with rules of ours are read again.
    still: one since which no event has told of another link, address, route or routing rule: these
    are taken over.
    ours_only: these tables are enough from the beginning, because nothing of ours is to be added.

    Raises HostError when there is no iptables, or the kernel refuses to tell.
    """
    unchanged = previous.firewall if previous is not None and _is_unchanged(previous) else None
    firewall = unchanged or iptables.read(variant, ours_only or previous is not None)
    if still is None or _has_silent_links(still):
        still = _by_netlink(firewall)
    return replace(
        still,
        firewall=firewall,
        sysctls=sysctls.read_all(),
        queues=tuple(_queues()),
        modules=modules.presence(ct_helpers.modules(ct_helpers.NAMES)),
        ipv6=sysctls.read(sysctls.FORWARD6) is not None,
        boot_id=_boot_id(),
    )


def _by_netlink(firewall: FirewallSnapshot) -> Snapshot:
    """What rtnetlink tells; the rest is missing."""
    with Rtnetlink() as netlink:
        links = netlink.links()
        addresses = _addresses(netlink.addresses())
        rules = [rule for family in ADDRESS_FAMILIES for rule in netlink.rules(family)]
    routes = [route for family in ADDRESS_FAMILIES for route in route_dump.routes(family)]
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in links}
    remotes = endpoints(links)
    main = [route for route in routes if messages.is_main(route)]
    return Snapshot(
        firewall=firewall,
        links=tuple(messages.link(m, addresses, remotes, _has_ipv6(m)) for m in links),
        defaults=tuple(d for route in main for d in messages.default_routes(route, names)),
        connected=tuple(c for route in main for c in messages.connected(route, names)),
        routes=tuple(messages.kernel_route(r, names) for r in routes if messages.concerns_us(r)),
        rules=tuple(map(messages.kernel_rule, rules)),
    )


def _has_silent_links(snapshot: Snapshot) -> bool:
    """WireGuard learns another endpoint of a peer without an event."""
    return any(link.kind == "wireguard" for link in snapshot.links)


def _is_unchanged(previous: Snapshot) -> bool:
    firewall = previous.firewall
    legacy = any(saved.variant == "legacy" for saved in firewall.saved)
    if legacy or firewall.variant == "legacy" or firewall.generation is None:
        return False
    return listing.generation() == firewall.generation


def _has_ipv6(link: Any) -> bool:
    return sysctls.read(f"net/ipv6/conf/{link.get_attr('IFLA_IFNAME')}/disable_ipv6") == "0"


def _addresses(found: Iterable[Any]) -> Mapping[int, list[str]]:
    by_index: dict[int, list[str]] = {}
    for message in found:
        if address := messages.global_address(message):
            by_index.setdefault(message["index"], []).append(address)
    return by_index


def _queues() -> Iterator[BoundQueue]:
    # An ordinary user is not shown them; binding a held one will fail all the same.
    with contextlib.suppress(OSError):
        for queue in kernel_queues():
            yield BoundQueue(queue.number, owner(queue.portid))


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""
