"""The firewall as it is: read once, then plain data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import get_args

from classifier.host import memory
from classifier.host.iptables import basechains, hidden_jumps, programs
from classifier.host.iptables.basechains import NftChain
from classifier.host.iptables.programs import Variant
from classifier.host.iptables.ruleset import (
    MEMORY_CHAIN,
    QUEUE_CHAIN,
    QUEUE_TARGET,
    TABLES,
    Ruleset,
    is_ours,
    parse,
)
from classifier.host.memory import BaseChain, Memory
from classifier.host.nftables import listing
from classifier.host.programs import RefusedError
from classifier.host.state import FAMILIES_BY_NAME
from classifier.policy import Family

_COMMENT = re.compile(r'-m comment --comment "(.*)"')
_ESCAPED = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Saved:
    """The output of one iptables-save."""

    variant: Variant
    family: Family
    text: str
    unreadable: tuple[tuple[str, str], ...] = ()
    """Table and chain that have a rule of nft which iptables cannot print; in `text` such a chain
    has no rules but those that jump to chains of ours."""


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
        return {
            (s.variant, s.family): replace(
                parse(s.family, s.text), unreadable=frozenset(s.unreadable)
            )
            for s in self.saved
        }

    def ruleset(self, variant: Variant, family: Family) -> Ruleset:
        return self.rulesets.get((variant, family), Ruleset(family))

    @property
    def queued_to(self) -> frozenset[int]:
        """The queues that our rules send packets to."""
        chains = (r.chain("mangle", QUEUE_CHAIN) or () for r in self.rulesets.values())
        found = (QUEUE_TARGET.search(rule) for rules in chains for rule in rules)
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
    source = _Source(chains, frozenset(TABLES) if ours_only else None)
    saved = [*_saved("nft", nft, source), *_saved("legacy", legacy, source)]
    base = tuple(sorted(nft, key=str))
    if ours_only:
        return FirewallSnapshot(own, tuple(saved), base, "", generation)
    native = listing.listed(_hidden(chains, saved))
    return FirewallSnapshot(own, tuple(saved), base, native, generation)


def _hidden(chains: Iterable[NftChain], saved: Iterable[Saved]) -> Iterator[tuple[str, ...]]:
    """What iptables does not show of nf_tables, in the words of `nft list`."""
    read = [s for s in saved if s.variant == "nft"]
    shown = {(s.family, table) for s in read for table in _tables(s.text)}
    unreadable = {(s.family, *place) for s in read for place in s.unreadable}
    for chain in chains:
        place = (FAMILIES_BY_NAME.get(chain.family), chain.table)
        if not chain.name and place not in shown:
            yield "table", chain.family, chain.table
        elif (*place, chain.name) in unreadable:
            yield "chain", chain.family, chain.table, chain.name


def ruleset(variant: Variant, family: Family) -> Ruleset:
    """What is there of one family now, of the tables that have chains of ours.

    Raises HostError.
    """
    chains = basechains.nft_chains()
    tables = basechains.nft_base_chains(chains) if variant == "nft" else basechains.legacy_tables()
    saved = _saved(variant, tables, _Source(chains, frozenset(TABLES)))
    return FirewallSnapshot(variant, tuple(saved)).ruleset(variant, family)


def _tables(text: str) -> list[str]:
    return re.findall(r"^\*(\S+)$", text, re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Source:
    """What is read."""

    chains: tuple[NftChain, ...]
    """All of nf_tables."""
    tables: frozenset[str] | None
    """Only these, and of one that cannot be read whole only base chains and our own; None: all."""


def _saved(variant: Variant, tables: frozenset[BaseChain], source: _Source) -> Iterator[Saved]:
    for family in get_args(Family):
        there = sorted(t.table for t in tables if t.family == family and t.name is None)
        if not there or not programs.program(variant, family, "save"):
            continue
        if source.tables is None and (text := _save_whole(variant, family)) is not None:
            yield Saved(variant, family, text)
        else:
            some = [t for t in there if source.tables is None or t in source.tables]
            yield _save_tables(variant, family, some, source)


def _save_whole(variant: Variant, family: Family) -> str | None:
    """All tables; None where the program cannot read a rule of nft, and ends there."""
    try:
        return programs.save(variant, family)
    except RefusedError:
        if variant == "legacy":
            raise
        return None


def _save_tables(variant: Variant, family: Family, tables: list[str], source: _Source) -> Saved:
    """These tables one by one, without the rules of nft that the program cannot read."""
    texts, unreadable = [], []
    for table in tables:
        try:
            texts.append(programs.save(variant, family, "-t", table))
        except RefusedError:
            if variant == "legacy":
                raise
            text, chains = _chain_by_chain(family, table, source)
            texts.append(text)
            unreadable += [(table, chain) for chain in chains]
    return Saved(variant, family, "".join(texts), tuple(unreadable))


def _chain_by_chain(family: Family, table: str, source: _Source) -> tuple[str, list[str]]:
    """A table of nf_tables in the words of iptables-save, and the chains that it cannot read."""
    lines, unreadable = [f"*{table}"], []
    for chain in source.chains:
        if (FAMILIES_BY_NAME.get(chain.family), chain.table) != (family, table) or not chain.name:
            continue
        if source.tables is not None and not chain.hooked and not is_ours(chain.name):
            continue
        lines.append(f":{chain.name} - [0:0]")
        try:
            text = programs.list_chain("nft", family, table, chain.name)
        except RefusedError:
            unreadable.append(chain.name)
            place = BaseChain(family, table, chain.name)
            lines += [f"-A {chain.name} -j {name}" for name in hidden_jumps.targets(place)]
        else:
            lines += [line for line in text.split("\n") if line.startswith("-A ")]
    return "\n".join((*lines, "COMMIT", "")), unreadable


def _comment(rule: str) -> str:
    """The words of iptables-save, which puts a backslash before either quote and before itself."""
    quoted = _COMMENT.fullmatch(rule)
    return _ESCAPED.sub(r"\1", quoted[1]) if quoted else ""
