"""What the host was like before us, as far as we change it.

Kept by the kernel itself among our rules (each firewall program has its place for it), so that
`down` needs no file, and a crash forgets nothing. A running service knows it as well, for the case
that somebody flushes the rules. Lines of text:

    boot ID                    the boot that all this is about (/proc/sys/kernel/random/boot_id)
    link NAME INDEX            an interface that some of the next are about
    sysctl KEY=VALUE           the value before us
    created ip mangle [OUTPUT] a builtin table or base chain that did not exist
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from classifier.host.state import FAMILIES_BY_NAME, FAMILY_NAMES
from classifier.host.sysctls import OURS
from classifier.policy import Family

_KINDS = "|".join(OURS)
_SYSCTL = re.compile(
    rf"sysctl (net/ipv[46]/(?:ip_forward|conf/(?!\.\.?/)[^/]+/(?:{_KINDS})))=([0-9]{{1,10}})"
)
_LINK = re.compile(r"link ([^/\s]+) ([0-9]{1,10})")
_CREATED = re.compile(r"created (ip6?) (raw|mangle|nat)(?: ([A-Z]+))?")


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A builtin table, or one of its base chains."""

    family: Family
    table: str
    name: str | None = None
    """None: the table itself."""

    def __str__(self) -> str:
        words = (FAMILY_NAMES[self.family], self.table, self.name)
        return " ".join(word for word in words if word)


@dataclass(frozen=True, slots=True)
class Memory:
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Key to the value it had before us; in the order they were noted."""
    created: frozenset[BaseChain] = frozenset()
    """Tables and base chains that were not there before us."""
    links: Mapping[str, int] = field(default_factory=dict)
    """Name of an interface to the index that it had then; without one the name is trusted."""

    def __bool__(self) -> bool:
        return bool(self.sysctls or self.created)

    def noting(self, sysctls: Mapping[str, str], created: Iterable[BaseChain] = ()) -> Memory:
        """This memory and what is new; what was noted first stays, whoever comes later."""
        return replace(
            self, sysctls={**sysctls, **self.sysctls}, created=self.created | frozenset(created)
        )

    def joined(self, other: Memory) -> Memory:
        noting = self.noting(other.sysctls, other.created)
        return replace(noting, links={**other.links, **self.links})

    def on(self, links: Mapping[str, int]) -> Memory:
        """The same where interfaces are called what they are now (name to index).

        The values of one that was renamed went with it. What one had that is gone, nobody needs:
        another one of its name came with values of its own.
        """
        names = {index: name for name, index in links.items()}
        values: dict[str, str] = {}
        for key, value in self.sysctls.items():
            interface = _interface(key)
            if interface in self.links:
                now = names.get(self.links[interface])
                if now is None:
                    continue
                key = key.replace(f"/conf/{interface}/", f"/conf/{now}/", 1)
            values[key] = value
        return replace(self, sysctls=values, links=_of_these(links, values))

    def forgetting(self, keys: Iterable[str]) -> Memory:
        gone = frozenset(keys)
        values = {k: v for k, v in self.sysctls.items() if k not in gone}
        return replace(self, sysctls=values, links=_of_these(self.links, values))

    def lines(self, boot_id: str) -> tuple[str, ...]:
        return (
            f"boot {boot_id}",
            *(f"created {chain}" for chain in sorted(self.created, key=str)),
            *(f"link {name} {index}" for name, index in sorted(self.links.items())),
            *(f"sysctl {key}={value}" for key, value in self.sysctls.items()),
        )


def _of_these(links: Mapping[str, int], keys: Iterable[str]) -> dict[str, int]:
    """Those of `links` that sysctls of these keys are about."""
    interfaces = set(map(_interface, keys))
    return {name: index for name, index in links.items() if name in interfaces}


def _interface(key: str) -> str:
    """The interface of net/ipv4/conf/NAME/rp_filter and the like; also "all". Else empty."""
    parts = key.split("/")
    return parts[3] if len(parts) == 5 else ""


def parse(lines: Iterable[str], boot_id: str) -> Memory:
    """The memory in `lines`; what another boot left, restored with saved rules, is nothing.

    Files are written and tables deleted by these words: a line of any other form is passed over.
    """
    values: dict[str, str] = {}
    created: set[BaseChain] = set()
    links: dict[str, int] = {}
    for line in lines:
        if line.startswith("boot ") and line != f"boot {boot_id}":
            return Memory()
        if match := _SYSCTL.fullmatch(line):
            values[match[1]] = match[2]
        elif match := _CREATED.fullmatch(line):
            created.add(BaseChain(FAMILIES_BY_NAME[match[1]], match[2], match[3]))
        elif match := _LINK.fullmatch(line):
            links[match[1]] = int(match[2])
    return Memory(values, frozenset(created), links)
