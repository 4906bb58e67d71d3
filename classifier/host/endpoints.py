"""Where the packets of a tunnel go: the remote addresses that the kernel knows.

Most tunnels tell theirs with the link, in IFLA_LINKINFO (<linux/if_tunnel.h>, <linux/if_link.h>);
WireGuard has one per peer, in a generic netlink family of its own (<linux/wireguard.h>).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address
from typing import Any

from pyroute2.netlink import NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic import GenericNetlinkSocket
from pyroute2.netlink.generic.wireguard import (
    WG_CMD_GET_DEVICE,
    WG_GENL_NAME,
    WG_GENL_VERSION,
    wgmsg,
)

from classifier.errors import HostError
from classifier.host.kernel_links import KernelLink

WIREGUARD = "wireguard"
_REMOTES: Mapping[str, tuple[str, ...]] = {
    "gre": ("IFLA_GRE_REMOTE",),
    "gretap": ("IFLA_GRE_REMOTE",),
    "ip6gre": ("IFLA_IP6GRE_REMOTE",),
    "ip6gretap": ("IFLA_IP6GRE_REMOTE",),
    "ipip": ("IFLA_IPIP_REMOTE",),
    "sit": ("IFLA_SIT_REMOTE",),
    "ip6tnl": ("IFLA_IP6TNL_REMOTE",),
    "vti": ("IFLA_VTI_REMOTE",),
    "vti6": ("IFLA_VTI_REMOTE",),
    "vxlan": ("IFLA_VXLAN_GROUP", "IFLA_VXLAN_GROUP6"),
    "geneve": ("IFLA_GENEVE_REMOTE", "IFLA_GENEVE_REMOTE6"),
}
"""Kind of a link to the attributes that hold its remote address."""

_NO_SUCH = (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP)

TUNNELS = frozenset({*_REMOTES, WIREGUARD, "tun"})
"""Kinds of links whose packets leave the host again inside others."""


def endpoints(links: Iterable[KernelLink]) -> Mapping[int, tuple[str, ...]]:
    """Index of each link that stands on tunnels to the addresses that its packets are sent to.

    Those of a bridge, a bond, a VLAN and the like are the ones of the links below it.
    Raises HostError when the kernel refuses to tell.
    """
    own = {link.index: tuple(_own(link)) for link in links}
    below = _below(links)
    found: dict[int, tuple[str, ...]] = {}
    for index in own:
        addresses: set[str] = set()
        seen: set[int] = set()
        waiting = [index]
        while waiting:
            link = waiting.pop()
            if link not in seen:
                seen.add(link)
                addresses.update(own.get(link, ()))
                waiting.extend(below.get(link, ()))
        if addresses:
            found[index] = tuple(sorted(addresses))
    return found


def _below(links: Iterable[KernelLink]) -> Mapping[int, list[int]]:
    """Index of each link to those that it hands its packets to, in this network namespace."""
    below: dict[int, list[int]] = {}
    for link in links:
        # A veth's is its other end, which takes packets, but does not send them.
        if link.lower and link.kind != "veth":
            below.setdefault(link.index, []).append(link.lower)
        if link.master:
            below.setdefault(link.master, []).append(link.index)
    return below


def _own(link: KernelLink) -> Iterator[str]:
    if link.kind == WIREGUARD:
        yield from _wireguard(link.name)
    elif link.kind in _REMOTES:
        told = link.decoded()
        for attribute in _REMOTES[link.kind]:
            remote = told.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA", attribute)
            # "Any" is how a tunnel says that each packet has a remote of its own.
            if remote and not ip_address(remote).is_unspecified:
                yield str(ip_address(remote))


def _wireguard(name: str) -> Iterator[str]:
    request = wgmsg()
    request["cmd"], request["version"] = WG_CMD_GET_DEVICE, WG_GENL_VERSION
    request["attrs"].append(("WGDEVICE_A_IFNAME", name))
    flags = NLM_F_REQUEST | NLM_F_DUMP
    try:
        # pyroute2's WireGuard() leaves its socket open where there is no such family.
        with GenericNetlinkSocket() as netlink:
            netlink.bind(WG_GENL_NAME, wgmsg)
            messages = list(netlink.nlm_request(request, msg_type=netlink.prid, msg_flags=flags))
    except NetlinkError as error:
        # Deleted meanwhile, or one of another implementation.
        if error.code in _NO_SUCH:
            return
        raise HostError(f"WireGuard peers of {name}: {error.args[1]}") from error
    yield from peers(messages)


def peers(messages: Iterable[Any]) -> Iterator[str]:
    """The endpoints in the answers to WG_CMD_GET_DEVICE; peers that have none yet are left out."""
    for message in messages:
        for peer in message.get_attr("WGDEVICE_A_PEERS") or ():
            if endpoint := peer.get_attr("WGPEER_A_ENDPOINT"):
                yield str(ip_address(endpoint["addr"]))
