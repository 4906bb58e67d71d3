"""What iptables-save prints, as plain values, and which part of it is ours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from classifier.policy import Family

CHAIN_PREFIX = "nfqc-"
MEMORY_CHAIN = "nfqc-memory"
"""An unreferenced chain whose comments say what the host was like before us (see `memory`)."""
QUEUE_CHAIN = "nfqc-queue"
SAVE_CHAIN = "nfqc-save"

TABLES = ("raw", "mangle", "nat")
"""Those that we have chains in, in the order packets meet them."""

QUEUE_TARGET = re.compile(r"-j NFQUEUE --queue-(?:num|balance) (\d+)(?::(\d+))?")
"""The first and the last queue of a rule that sends packets to some."""
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TARGET = re.compile(r"(?:^| )(?:-j|-g) (\S+)")


@dataclass(frozen=True, slots=True)
class Chain:
    """An iptables chain of ours with all its rules, in the words of iptables-save."""

    table: str
    name: str
    rules: tuple[str, ...]
    """Without the leading `-A NAME`."""


@dataclass(frozen=True, slots=True)
class Jump:
    """The one rule of ours in a chain that is not ours."""

    table: str
    hook: str
    """The builtin chain, such as PREROUTING."""
    chain: str

    @property
    def rule(self) -> str:
        return f"-j {self.chain}"


@dataclass(frozen=True, slots=True)
class OurRules:
    """Chains of ours and the jumps to them, of one address family."""

    family: Family
    chains: tuple[Chain, ...] = ()
    jumps: tuple[Jump, ...] = ()

    @property
    def tables(self) -> tuple[str, ...]:
        used = {chain.table for chain in self.chains} | {jump.table for jump in self.jumps}
        return tuple(table for table in TABLES if table in used)


@dataclass(frozen=True)
class Ruleset:
    """All rules of one family: table -> chain -> rules without `-A CHAIN`."""

    family: Family
    tables: Mapping[str, Mapping[str, tuple[str, ...]]] = field(default_factory=dict)
    unreadable: frozenset[tuple[str, str]] = frozenset()
    """Table and chain of which only the jumps to our chains are known (see `hidden_jumps`)."""

    def chain(self, table: str, name: str) -> tuple[str, ...] | None:
        return self.tables.get(table, {}).get(name)

    def foreign(self) -> Iterator[tuple[str, str, str]]:
        """Table, chain and rule of every rule in a chain that is not ours."""
        for table, chains in self.tables.items():
            for name, rules in chains.items():
                if not is_ours(name):
                    for rule in rules:
                        yield table, name, rule

    @cached_property
    def jumps(self) -> tuple[tuple[str, str, str], ...]:
        """The foreign rules that go to a chain of ours, in whatever form."""
        return tuple(
            (table, name, rule)
            for table, name, rule in self.foreign()
            if CHAIN_PREFIX in rule and is_ours(target(rule) or "")
        )

    @cached_property
    def ours(self) -> OurRules:
        """Our chains and the jumps to them, without the chain that remembers."""
        chains = [
            Chain(table, name, rules)
            for table, chains in self.tables.items()
            for name, rules in chains.items()
            if is_ours(name) and name != MEMORY_CHAIN
        ]
        jumps = [Jump(table, name, target(rule) or "") for table, name, rule in self.jumps]
        return OurRules(self.family, tuple(chains), tuple(jumps))


def is_ours(chain: str) -> bool:
    return chain.startswith(CHAIN_PREFIX)


def target(rule: str) -> str | None:
    """The chain or target that a rule goes to; a rule may have none."""
    match = _TARGET.search(unquoted(rule))
    return match[1] if match else None


def unquoted(rule: str) -> str:
    """The rule without comments and other strings, which may look like a part of it."""
    return _QUOTED.sub('""', rule) if '"' in rule else rule


def parse(family: Family, text: str) -> Ruleset:
    """Lines that make no sense are passed over: rules of others never matter."""
    tables: dict[str, dict[str, list[str]]] = {}
    chains: dict[str, list[str]] = {}
    for line in text.split("\n"):
        if line.startswith("-A "):
            _, name, *rule = line.split(" ", 2)
            chains.setdefault(name, []).append(rule[0].rstrip() if rule else "")
        elif line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":") and (words := line[1:].split()):
            chains.setdefault(words[0], [])
    return Ruleset(
        family,
        {
            table: {name: tuple(rules) for name, rules in chains.items()}
            for table, chains in tables.items()
        },
    )
