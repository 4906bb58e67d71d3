"""What the host was like before us, remembered by the kernel itself.

The memory is a chain that nothing jumps to, in the mangle table of IPv4; every rule of it is only
a comment. So `down` needs no file, and a reboot forgets the memory together with what it is about.
Two kinds of lines: `sysctl KEY=VALUE`, and `created ip mangle [OUTPUT]` for a builtin table or
base chain that did not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from classifier.host import sysctls, xtables
from classifier.host.basechains import BaseChain
from classifier.host.state import FOUND_CHAIN, Variant, other_variant

_COMMENT = re.compile(r'-m comment --comment "(.*)"')
_ESCAPED = re.compile(r"\\(.)")
_KINDS = "|".join(sysctls.OURS)
_SYSCTL = re.compile(
    rf"sysctl (net/ipv[46]/(?:ip_forward|conf/(?!\.\.?/)[^/]+/(?:{_KINDS})))=([0-9]{{1,10}})"
)
_CREATED = re.compile(r"created (ip6? (?:raw|mangle|nat)(?: [A-Z]+)?)")
_PREFIX = "-m comment --comment "


@dataclass(frozen=True)
class Found:
    exists: bool = False
    sysctls: Mapping[str, str] = field(default_factory=dict)
    """Key to the value it had before us; in the order they were noted."""
    created: frozenset[BaseChain] = frozenset()
    """Tables and base chains that were not there before us."""

    def noting(self, sysctls: Mapping[str, str], created: Iterable[BaseChain]) -> Found:
        """This memory and what is new; what was noted first stays, whoever comes later."""
        return Found(self.exists, {**sysctls, **self.sysctls}, self.created | frozenset(created))

    def forgetting(self, keys: Iterable[str]) -> Found:
        gone = frozenset(keys)
        return replace(self, sysctls={k: v for k, v in self.sysctls.items() if k not in gone})


def read(variant: Variant) -> Found:
    """Raises HostError."""
    rules = xtables.save(variant, 4).chain("mangle", FOUND_CHAIN)
    if rules is None:
        return Found()
    values: dict[str, str] = {}
    created: set[BaseChain] = set()
    for comment in map(_comment, rules):
        # Files are written and tables deleted by these words: what is not ours to say is not heard.
        if match := _SYSCTL.fullmatch(comment):
            values[match[1]] = match[2]
        elif match := _CREATED.fullmatch(comment):
            created.add(BaseChain.parse(match[1]))
    return Found(True, values, frozenset(created))


def read_all(variant: Variant) -> Found:
    """The memory of `variant`, and what the other one has if it was used here before.

    Raises HostError.
    """
    own = read(variant)
    other = other_variant(variant)
    if not xtables.is_used(other, 4):
        return own
    before = read(other)
    return own.noting(before.sysctls, before.created) if before.exists else own


def write(variant: Variant, memory: Found) -> None:
    """Replace the memory by `memory` in one step. Raises HostError."""
    comments = [
        *(f"created {chain}" for chain in sorted(memory.created, key=str)),
        *(f"sysctl {key}={value}" for key, value in memory.sysctls.items()),
    ]
    rules = "".join(f"-A {FOUND_CHAIN} {_PREFIX}{_quoted(comment)}\n" for comment in comments)
    xtables.restore(variant, 4, f"*mangle\n:{FOUND_CHAIN} - [0:0]\n{rules}COMMIT\n")


def forget(variant: Variant) -> None:
    """Remove the memory itself. Raises HostError when it is not there."""
    text = f"*mangle\n-F {FOUND_CHAIN}\n-X {FOUND_CHAIN}\nCOMMIT\n"
    xtables.restore(variant, 4, text)


def _comment(rule: str) -> str:
    """The words of iptables-save, which puts a backslash before either quote and before itself."""
    quoted = _COMMENT.fullmatch(rule)
    return _ESCAPED.sub(r"\1", quoted[1]) if quoted else ""


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
