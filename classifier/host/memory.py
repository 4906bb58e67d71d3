"""What the host was like before us, as far as we change it.

Kept by the kernel itself among our rules (each firewall program has its place for it), so that
`down` needs no file, and a crash forgets nothing. A running service knows it as well, for the case
that somebody flushes the rules. Lines of text:

    boot ID                    the boot that all this is about (/proc/sys/kernel/random/boot_id)
    sysctl KEY=VALUE           the value before us
    created ip mangle [OUTPUT] a builtin table or base chain that did not exist
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from classifier.host.state import Family
from classifier.host.sysctls import OURS

_KINDS = "|".join(OURS)
_SYSCTL = re.compile(
    rf"sysctl (net/ipv[46]/(?:ip_forward|conf/(?!\.\.?/)[^/]+/(?:{_KINDS})))=([0-9]{{1,10}})"
)
_CREATED = re.compile(r"created (ip6?) (raw|mangle|nat)(?: ([A-Z]+))?")
_NAMES: Mapping[Family, str] = {4: "ip", 6: "ip6"}


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A builtin table, or one of its base chains."""

    family: Family
    table: str
    name: str | None = None
    """None: the table itself."""

    def __str__(self) -> str:
        words = (_NAMES[self.family], self.table, self.name)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Memory:
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Key to the value it had before us; in the order they were noted."""
    created: frozenset[BaseChain] = frozenset()
    """Tables and base chains that were not there before us."""

    def __bool__(self) -> bool:
        return bool(self.sysctls or self.created)

    def noting(self, sysctls: Mapping[str, str], created: Iterable[BaseChain] = ()) -> Memory:
        """This memory and what is new; what was noted first stays, whoever comes later."""
        return Memory({**sysctls, **self.sysctls}, self.created | frozenset(created))

    def joined(self, other: Memory) -> Memory:
        return self.noting(other.sysctls, other.created)

    def forgetting(self, keys: Iterable[str]) -> Memory:
        gone = frozenset(keys)
        return replace(self, sysctls={k: v for k, v in self.sysctls.items() if k not in gone})

    def lines(self, boot_id: str) -> tuple[str, ...]:
        return (
            f"boot {boot_id}",
            *(f"created {chain}" for chain in sorted(self.created, key=str)),
            *(f"sysctl {key}={value}" for key, value in self.sysctls.items()),
        )


def parse(lines: Iterable[str], boot_id: str) -> Memory:
    """The memory in `lines`; what another boot left, restored with saved rules, is nothing.

    Files are written and tables deleted by these words: a line of any other form is passed over.
    """
    values: dict[str, str] = {}
    created: set[BaseChain] = set()
    for line in lines:
        if line.startswith("boot ") and line != f"boot {boot_id}":
            return Memory()
        if match := _SYSCTL.fullmatch(line):
            values[match[1]] = match[2]
        elif match := _CREATED.fullmatch(line):
            created.add(BaseChain(6 if match[1] == "ip6" else 4, match[2], match[3]))
    return Memory(values, frozenset(created))
