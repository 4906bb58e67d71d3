"""Reading a snapshot of the host: the one place where a plan's input comes from."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from classifier.host import ct_helpers, kernel_links, kernel_routes, messages, modules, sysctls
from classifier.host.endpoints import endpoints
from classifier.host.iptables import snapshot as iptables
from classifier.host.iptables.programs import Variant
from classifier.host.kernel_links import KernelLink
from classifier.host.nftables import listing
from classifier.host.snapshot import BoundQueue, Link, Snapshot
from classifier.host.state import ADDRESS_FAMILIES
from classifier.queue.kernel_queues import kernel_queues
from classifier.queue.owner import owner

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_UP, _POINT_TO_POINT, _NO_ARP = 0x1, 0x10, 0x80  # IFF_* in <linux/if.h>
_CARRIER = 0x40 | 0x10000  # IFF_RUNNING, IFF_LOWER_UP


def read(
    variant: Variant | None = None, previous: Snapshot | None = None, *, ours_only: bool = False
) -> Snapshot:
    """A snapshot of the calling thread's network namespace.

    variant: which iptables to use; None: the one that the program `iptables` is.
    previous: an earlier snapshot of this host. Reading many rules is slow: its firewall is taken
    over where no rule of nf_tables has changed since and ip_tables is not in use, and else only
    the tables with rules of ours are read again. Who binds a queue is not told then.
    ours_only: these tables are enough from the beginning, because nothing of ours is to be added.

    Raises HostError when there is no iptables, or the kernel refuses to tell.
    """
    unchanged = previous.firewall if previous is not None and _is_unchanged(previous) else None
    firewall = unchanged or iptables.read(variant, ours_only or previous is not None)
    links = kernel_links.links()
    addresses, remotes = kernel_links.global_addresses(), endpoints(links)
    routes = [route for family in ADDRESS_FAMILIES for route in kernel_routes.routes(family)]
    rules = [rule for family in ADDRESS_FAMILIES for rule in kernel_routes.rules(family)]
    names = {link.index: link.name for link in links}
    main = [route for route in routes if messages.is_main(route)]
    connected = (c for route in main for c in messages.connected(route, names))
    return Snapshot(
        firewall=firewall,
        links=tuple(_link(link, addresses, remotes) for link in links),
        defaults=tuple(d for route in main for d in messages.default_routes(route, names)),
        # IPv6 routes that change while they are told may be told twice.
        connected=tuple(dict.fromkeys(connected)),
        routes=tuple(messages.kernel_route(r, names) for r in routes if messages.concerns_us(r)),
        rules=tuple(map(messages.kernel_rule, rules)),
        sysctls=sysctls.read_all(links),
        queues=tuple(_queues(named=previous is None and not ours_only)),
        modules=modules.presence(ct_helpers.modules(ct_helpers.NAMES)),
        ipv6=sysctls.read(sysctls.FORWARD6) is not None,
        boot_id=_boot_id(),
    )


def _is_unchanged(previous: Snapshot) -> bool:
    firewall = previous.firewall
    legacy = any(saved.variant == "legacy" for saved in firewall.saved)
    if legacy or firewall.variant == "legacy" or firewall.generation is None:
        return False
    return listing.generation() == firewall.generation


def _link(
    link: KernelLink, addresses: Mapping[int, list[str]], remotes: Mapping[int, tuple[str, ...]]
) -> Link:
    return Link(
        name=link.name,
        index=link.index,
        up=bool(link.flags & _UP),
        carrier=link.flags & _CARRIER == _CARRIER,
        point_to_point=bool(link.flags & (_POINT_TO_POINT | _NO_ARP)),
        addresses=tuple(addresses.get(link.index, ())),
        ipv6=link.sysctls.get(6, {}).get("disable_ipv6") == "0",
        kind=link.kind,
        endpoints=remotes.get(link.index, ()),
    )


def _queues(named: bool) -> Iterator[BoundQueue]:
    # An ordinary user is not shown them; binding a held one will fail all the same.
    with contextlib.suppress(OSError):
        for queue in kernel_queues():
            # To find it takes a look at every open file of every process.
            yield BoundQueue(queue.number, owner(queue.portid) if named else "")


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""
