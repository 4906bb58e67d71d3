"""The builtin tables and base chains that iptables makes when it first needs them.

iptables-save prints builtin chains whether they exist or not, so the kernel is asked: nf_tables by
netlink (there may be no program `nft`), ip_tables by /proc.
"""

from __future__ import annotations

import contextlib
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_ACK
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from classifier.errors import HostError
from classifier.host.iptables.ruleset import OurRules
from classifier.host.memory import BaseChain
from classifier.host.netlink_dump import HEADER_BYTES, dump, values
from classifier.host.state import ADDRESS_FAMILIES, FAMILIES_BY_NAME, FAMILY_NAMES
from classifier.policy import Family
from classifier.queue.kernel_queues import NETLINK_NETFILTER

# The names file is in the namespace of the thread; /proc/net is that of the main thread.
_LEGACY_NAMES: dict[Family, Path] = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}
_NFT_FAMILIES = {
    **{ADDRESS_FAMILIES[family]: name for family, name in FAMILY_NAMES.items()},
    1: "inet",
    3: "arp",
    5: "netdev",
    7: "bridge",
}
"""NFPROTO_* in <linux/netfilter.h>, as nft calls them."""
_NFGENMSG = struct.Struct("=BBH")  # family, version, resource
_GET_TABLES, _GET_CHAINS = 10 << 8 | 1, 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GET*
# NFTA_TABLE_NAME, NFTA_CHAIN_*
_NAME, _TABLE, _CHAIN_NAME, _HOOK = 1, 1, 3, 4
_ACCEPT = 1  # NF_ACCEPT in <linux/netfilter.h>
_NON_RECURSIVE = 0x100  # NLM_F_NONREC: EBUSY, rather than delete what is inside


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain of nf_tables, or a table that has none (`name` is empty then)."""

    family: str
    table: str
    name: str = ""
    hooked: bool = False
    """Whether it is a base chain."""


def nft_chains() -> tuple[NftChain, ...]:
    """Every table and chain of nf_tables; none where the kernel has no nf_tables."""
    with contextlib.suppress(HostError):
        tables, chains = _listed(_GET_TABLES), _listed(_GET_CHAINS)
        return (
            *(NftChain(family, _text(found[_NAME])) for family, found in tables),
            *(
                NftChain(family, _text(found[_TABLE]), _text(found[_CHAIN_NAME]), _HOOK in found)
                for family, found in chains
            ),
        )
    return ()


def _listed(kind: int) -> Iterator[tuple[str, dict[int, bytes]]]:
    """Family, as nft calls it, and attributes of each table or chain."""
    for message in dump(kind, _NFGENMSG.pack(0, 0, 0), NETLINK_NETFILTER):
        family, _, _ = _NFGENMSG.unpack_from(message, HEADER_BYTES)
        found = values(message, HEADER_BYTES + _NFGENMSG.size)
        yield _NFT_FAMILIES.get(family, "unknown"), found


def _text(name: bytes) -> str:
    return os.fsdecode(name.rstrip(b"\0"))


def nft_base_chains(chains: Iterable[NftChain]) -> frozenset[BaseChain]:
    """The tables and base chains among `chains` that iptables may use."""
    return frozenset(
        BaseChain(FAMILIES_BY_NAME[chain.family], chain.table, chain.name or None)
        for chain in chains
        if chain.family in FAMILIES_BY_NAME and (chain.hooked or not chain.name)
    )


def legacy_tables() -> frozenset[BaseChain]:
    """The tables of ip_tables that exist; each always has all of its base chains."""
    tables: set[BaseChain] = set()
    for family, path in _LEGACY_NAMES.items():
        with contextlib.suppress(OSError):
            tables |= {BaseChain(family, name) for name in path.read_text().split()}
    return frozenset(tables)


def needed(ours: OurRules) -> frozenset[BaseChain]:
    """What has to exist for the jumps of `ours`."""
    return frozenset(
        [BaseChain(ours.family, table) for table in ours.tables]
        + [BaseChain(ours.family, jump.table, jump.hook) for jump in ours.jumps]
    )


def delete(created: Iterable[BaseChain]) -> None:
    """Delete those nft base chains and tables of `created` that nothing is in.

    What somebody has put something into meanwhile stays, and so does a chain whose policy is not
    to accept.
    """
    wanted = frozenset(created)
    tables = {BaseChain(chain.family, chain.table) for chain in wanted}
    whole = tables & wanted
    for family in {chain.family for chain in wanted}:
        with (
            contextlib.suppress(NetlinkError),
            NFTables(nfgen_family=ADDRESS_FAMILIES[family]) as nft,
        ):
            for message in nft.get_chains():
                chain = BaseChain(
                    family,
                    message.get_attr("NFTA_CHAIN_TABLE"),
                    message.get_attr("NFTA_CHAIN_NAME"),
                )
                ours = chain in wanted or BaseChain(family, chain.table) in whole
                if ours and _is_empty(message):
                    _delete(nft, chain)
            for table in whole:
                if table.family == family:
                    _delete(nft, table)


def _is_empty(chain: Any) -> bool:
    return (
        chain.get_attr("NFTA_CHAIN_HOOK") is not None
        and chain.get_attr("NFTA_CHAIN_USE") == 0
        and chain.get_attr("NFTA_CHAIN_POLICY") == _ACCEPT
    )


def _delete(nft: NFTables, chain: BaseChain) -> None:
    flags = NLM_F_ACK | _NON_RECURSIVE
    with contextlib.suppress(NetlinkError):  # somebody uses it meanwhile
        if chain.name is None:
            nft.table("del", name=chain.table, flags=flags)
        else:
            nft.chain("del", table=chain.table, name=chain.name, flags=flags)
