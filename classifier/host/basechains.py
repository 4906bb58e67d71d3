"""The builtin tables and base chains that iptables makes when it first needs them.

iptables-save prints builtin chains whether they exist or not, so the kernel is asked: nf_tables by
netlink (there may be no program `nft`), ip_tables by /proc.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyroute2.netlink import NLM_F_ACK
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.nftables.main import NFTables

from classifier.host.state import ADDRESS_FAMILIES, Family, Firewall, Variant

_NAMES: dict[Family, str] = {4: "ip", 6: "ip6"}
# The names file is in the namespace of the thread; /proc/net is that of the main thread.
_LEGACY_NAMES: dict[Family, Path] = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}
_ACCEPT = 1  # NF_ACCEPT in <linux/netfilter.h>
_NON_RECURSIVE = 0x100  # NLM_F_NONREC: EBUSY, rather than delete what is inside


@dataclass(frozen=True, slots=True)
class BaseChain:
    family: Family
    table: str
    name: str | None = None
    """None: the table itself."""

    def __str__(self) -> str:
        words = (_NAMES[self.family], self.table, self.name)
        return " ".join(word for word in words if word)

    @classmethod
    def parse(cls, text: str) -> BaseChain:
        family, table, *name = text.split()
        return cls(6 if family == "ip6" else 4, table, name[0] if name else None)


def needed(firewall: Firewall) -> frozenset[BaseChain]:
    """What has to exist for the jumps of `firewall`."""
    return frozenset(
        [BaseChain(firewall.family, table) for table in firewall.tables]
        + [BaseChain(firewall.family, jump.table, jump.hook) for jump in firewall.jumps]
    )


def existing(variant: Variant, family: Family) -> frozenset[BaseChain]:
    """The tables there are, and for nft their base chains, of one family.

    A legacy table always has all of its base chains, so there only the tables are listed.
    """
    if variant == "legacy":
        with contextlib.suppress(OSError):
            names = _LEGACY_NAMES[family].read_text().split()
            return frozenset(BaseChain(family, name) for name in names)
        return frozenset()
    tables: set[BaseChain] = set()
    with (
        contextlib.suppress(NetlinkError, OSError),
        _nft(family) as nft,
    ):
        for table in nft.get_tables():
            tables.add(BaseChain(family, table.get_attr("NFTA_TABLE_NAME")))
        for chain in nft.get_chains():
            if chain.get_attr("NFTA_CHAIN_HOOK") is not None:
                tables.add(
                    BaseChain(
                        family,
                        chain.get_attr("NFTA_CHAIN_TABLE"),
                        chain.get_attr("NFTA_CHAIN_NAME"),
                    )
                )
    return frozenset(tables)


def _nft(family: Family) -> NFTables:
    return NFTables(nfgen_family=ADDRESS_FAMILIES[family])


def delete(created: Iterable[BaseChain]) -> list[BaseChain]:
    """Delete those nft base chains and tables of `created` that nothing is in; says which went.

    What somebody has put something into meanwhile stays, and so does a chain whose policy is not
    to accept.
    """
    wanted = frozenset(created)
    tables = {BaseChain(chain.family, chain.table) for chain in wanted}
    whole = tables & wanted
    gone: list[BaseChain] = []
    for family in {chain.family for chain in wanted}:
        with (
            contextlib.suppress(NetlinkError),
            _nft(family) as nft,
        ):
            for message in nft.get_chains():
                chain = BaseChain(
                    family,
                    message.get_attr("NFTA_CHAIN_TABLE"),
                    message.get_attr("NFTA_CHAIN_NAME"),
                )
                ours = chain in wanted or BaseChain(family, chain.table) in whole
                if ours and _is_empty(message) and _deleted(nft, chain):
                    gone.append(chain)
            gone += [t for t in whole if t.family == family and _deleted(nft, t)]
    return gone


def _is_empty(chain: Any) -> bool:
    return (
        chain.get_attr("NFTA_CHAIN_HOOK") is not None
        and chain.get_attr("NFTA_CHAIN_USE") == 0
        and chain.get_attr("NFTA_CHAIN_POLICY") == _ACCEPT
    )


def _deleted(nft: NFTables, chain: BaseChain) -> bool:
    flags = NLM_F_ACK | _NON_RECURSIVE
    try:
        if chain.name is None:
            nft.table("del", name=chain.table, flags=flags)
        else:
            nft.chain("del", table=chain.table, name=chain.name, flags=flags)
    except NetlinkError:
        return False
    return True
