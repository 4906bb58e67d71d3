"""The firewall as it is: read once, then plain data."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

from classifier.errors import HostError
from classifier.host import memory
from classifier.host.iptables import basechains, programs
from classifier.host.iptables.basechains import NftChain
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import MEMORY_CHAIN, QUEUE_CHAIN, TABLES, Ruleset, parse
from classifier.host.memory import BaseChain, Memory
from classifier.host.nftables import listing
from classifier.host.state import Family

_COMMENT = re.compile(r'-m comment --comment "(.*)"')
_QUEUE = re.compile(r"-j NFQUEUE --queue-(?:num|balance) (\d+)(?::(\d+))?")
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Saved:
    """The output of one iptables-save."""

    variant: Variant
    family: Family
    text: str


@dataclass(frozen=True)
class FirewallSnapshot:
    variant: Variant
    """What the program `iptables` is; our rules go there."""
    saved: tuple[Saved, ...] = ()
    """Only where there are tables: the legacy program would load ip_tables just to say none."""
    nft_chains: tuple[BaseChain, ...] = ()
    """The tables and base chains of nf_tables that iptables may use."""
    native: str = ""
    """The nft tables that iptables does not show, as `nft -j` lists them; empty: none."""
    generation: int | None = None
    """Of nf_tables, when the reading began; each change of any rule makes it another."""

    @cached_property
    def rulesets(self) -> dict[tuple[Variant, Family], Ruleset]:
        return {(s.variant, s.family): parse(s.family, s.text) for s in self.saved}

    def ruleset(self, variant: Variant, family: Family) -> Ruleset:
        return self.rulesets.get((variant, family), Ruleset(family))

    @property
    def queued_to(self) -> frozenset[int]:
        """The queues that our rules send packets to."""
        chains = (r.chain("mangle", QUEUE_CHAIN) or () for r in self.rulesets.values())
        found = (_QUEUE.search(rule) for rules in chains for rule in rules)
        return frozenset(
            number
            for match in found
            if match
            for number in range(int(match[1]), int(match[2] or match[1]) + 1)
        )

    def memory_lines(self, variant: Variant) -> tuple[str, ...] | None:
        """What our chain for it says; None where there is no such chain."""
        rules = self.ruleset(variant, 4).chain("mangle", MEMORY_CHAIN)
        return None if rules is None else tuple(map(_comment, rules))

    def memory(self, boot_id: str) -> Memory:
        """Of both variants: the other one may have been used here before."""
        joined = Memory()
        for variant in sorted(get_args(Variant), key=lambda v: v != self.variant):
            joined = joined.joined(memory.parse(self.memory_lines(variant) or (), boot_id))
        return joined


def read(variant: Variant | None = None, ours_only: bool = False) -> FirewallSnapshot:
    """Of the calling thread's network namespace. `variant`: None is the installed one.

    ours_only: only the tables that have chains of ours, and nothing of native nft. Others may have
    tens of thousands of rules, which take seconds to read.

    Raises HostError when there is no iptables, or the kernel refuses to tell.
    """
    own = variant or programs.installed_variant()
    generation = listing.generation()
    chains = basechains.nft_chains()
    nft, legacy = basechains.nft_base_chains(chains), basechains.legacy_tables()
    wanted = frozenset(TABLES) if ours_only else None
    saved = [*_saved("nft", nft, chains, wanted), *_saved("legacy", legacy, (), wanted)]
    if ours_only:
        return FirewallSnapshot(own, tuple(saved), tuple(sorted(nft, key=str)), "", generation)
    shown = {(s.family, table) for s in saved if s.variant == "nft" for table in _tables(s.text)}
    hidden = [
        (chain.family, chain.table)
        for chain in chains
        if not chain.name and (_family(chain.family), chain.table) not in shown
    ]
    return FirewallSnapshot(
        own, tuple(saved), tuple(sorted(nft, key=str)), listing.tables(hidden), generation
    )


def _family(name: str) -> Family | None:
    return {"ip": 4, "ip6": 6}.get(name)  # type: ignore[return-value]


def _tables(text: str) -> list[str]:
    return re.findall(r"^\*(\S+)$", text, re.MULTILINE)


def _saved(
    variant: Variant,
    tables: frozenset[BaseChain],
    chains: Iterable[NftChain],
    wanted: frozenset[str] | None,
) -> Iterator[Saved]:
    for family in get_args(Family):
        there = sorted(t.table for t in tables if t.family == family and t.name is None)
        if not there or not programs.program(variant, family, "save"):
            continue
        if wanted is None and (text := _save_whole(variant, family)) is not None:
            yield Saved(variant, family, text)
        else:
            some = [table for table in there if wanted is None or table in wanted]
            yield Saved(variant, family, _save_tables(variant, family, some, chains))


def _save_whole(variant: Variant, family: Family) -> str | None:
    """All tables; None where the program cannot read a rule of nft, and ends there."""
    try:
        return programs.save(variant, family)
    except HostError:
        if variant == "legacy":
            raise
        return None


def _save_tables(
    variant: Variant, family: Family, tables: list[str], chains: Iterable[NftChain]
) -> str:
    """These tables one by one, without the rules of nft that the program cannot read."""
    texts = []
    for table in tables:
        try:
            texts.append(programs.save(variant, family, "-t", table))
        except HostError:
            if variant == "legacy":
                raise
            if table in TABLES:
                texts.append(_chain_by_chain(family, table, chains))
    return "".join(texts)


def _chain_by_chain(family: Family, table: str, chains: Iterable[NftChain]) -> str:
    """A table of nf_tables without the chains that iptables cannot read."""
    lines = [f"*{table}"]
    for chain in chains:
        if chain.table == table and _family(chain.family) == family and chain.name:
            lines.append(f":{chain.name} - [0:0]")
            with contextlib.suppress(HostError):
                text = programs.list_chain("nft", family, table, chain.name)
                lines += [line for line in text.split("\n") if line.startswith("-A ")]
    return "\n".join((*lines, "COMMIT", ""))


def _comment(rule: str) -> str:
    """The words of iptables-save, which puts a backslash before either quote and before itself."""
    quoted = _COMMENT.fullmatch(rule)
    return _ESCAPED.sub(r"\1", quoted[1]) if quoted else ""
