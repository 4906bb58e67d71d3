"""Jumps to chains of ours in base chains that the program iptables cannot read.

A rule that was written with nft may have no words in iptables; iptables-nft then neither lists the
chain to its end nor finds a rule behind it to delete (1.8.9). The kernel tells and deletes each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from typing import Any

from pyroute2.netlink import NLM_F_ACK
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nftsocket import NFT_MSG_GETRULE, nft_rule_msg
from pyroute2.nftables.main import NFTables

from classifier.errors import HostError
from classifier.host.iptables.ruleset import is_ours
from classifier.host.memory import BaseChain
from classifier.host.state import ADDRESS_FAMILIES


def targets(chain: BaseChain) -> tuple[str, ...]:
    """The chains of ours that rules of `chain` jump to, each once."""
    with (
        contextlib.suppress(NetlinkError, OSError),
        NFTables(nfgen_family=ADDRESS_FAMILIES[chain.family]) as nft,
    ):
        return tuple(dict.fromkeys(target for target, _ in _jumps(nft, chain)))
    return ()


def delete(chain: BaseChain, wanted: Collection[str]) -> None:
    """Delete every rule of `chain` that jumps to one of `wanted`. Raises HostError."""
    try:
        with NFTables(nfgen_family=ADDRESS_FAMILIES[chain.family]) as nft:
            for target, handle in list(_jumps(nft, chain)):
                if target in wanted:
                    nft.rule(
                        "del", table=chain.table, chain=chain.name, handle=handle, flags=NLM_F_ACK
                    )
    except (NetlinkError, OSError) as error:
        raise HostError(f"nft rule {chain}: cannot be deleted: {error}") from error


def _jumps(nft: NFTables, chain: BaseChain) -> Iterator[tuple[str, int]]:
    """Target and handle of each rule that jumps to a chain of ours."""
    request = nft_rule_msg()
    request["attrs"] = [("NFTA_RULE_TABLE", chain.table), ("NFTA_RULE_CHAIN", chain.name)]
    for rule in nft.request_get(request, NFT_MSG_GETRULE):
        for expression in rule.get_attr("NFTA_RULE_EXPRESSIONS") or ():
            target = _target(expression)
            if target and is_ours(target):
                yield target, rule.get_attr("NFTA_RULE_HANDLE")


def _target(expression: Any) -> str | None:
    if expression.get_attr("NFTA_EXPR_NAME") != "immediate":
        return None
    value: Any = expression
    for name in ("EXPR_DATA", "IMMEDIATE_DATA", "DATA_VERDICT"):
        value = value and value.get_attr(f"NFTA_{name}")
    return value.get_attr("NFTA_VERDICT_CHAIN") if value else None
