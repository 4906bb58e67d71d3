"""iptables as a program: what is there, and one atomic change of it.

`iptables-save` is read into plain values; `change()` computes the shortest iptables-restore input
that leads from what is there to what shall be, so that a chain that is right already is not
touched and keeps its counters.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from classifier.errors import HostError
from classifier.host import basechains
from classifier.host.state import (
    CHAIN_PREFIX,
    FOUND_CHAIN,
    IPTABLES,
    Chain,
    Family,
    Firewall,
    Jump,
    Variant,
)

_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin", "/usr/local/sbin"))
_LOCK = Path("/run/xtables.lock")
_LOCK_SECONDS = "10"
"""How long another program may hold the lock of the legacy variant."""
_PACKAGE = "(Debian package: iptables)"
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')
_TARGET = re.compile(r"(?:^| )(?:-j|-g) (\S+)")

TableChains = Mapping[str, Mapping[str, tuple[str, ...]]]


@dataclass(frozen=True)
class Saved:
    """What iptables-save prints for one family: table -> chain -> rules without `-A CHAIN`."""

    family: Family
    tables: TableChains = field(default_factory=dict)

    def chain(self, table: str, name: str) -> tuple[str, ...] | None:
        return self.tables.get(table, {}).get(name)

    @property
    def ours(self) -> Firewall:
        """Our chains and the jumps to them, without the chain that remembers."""
        chains = [
            Chain(table, name, rules)
            for table, chains in self.tables.items()
            for name, rules in chains.items()
            if is_ours(name) and name != FOUND_CHAIN
        ]
        jumps = [
            Jump(table, name, target(rule) or "")
            for table, chains in self.tables.items()
            for name, rules in chains.items()
            for rule in rules
            if not is_ours(name) and is_ours(target(rule) or "")
        ]
        return Firewall(self.family, tuple(chains), tuple(jumps))


def is_ours(chain: str) -> bool:
    return chain.startswith(CHAIN_PREFIX)


def target(rule: str) -> str | None:
    """The chain or target that a rule goes to."""
    match = _TARGET.search(unquoted(rule))
    return match[1] if match else None


def unquoted(rule: str) -> str:
    """The rule without comments and other strings, which may look like a part of it."""
    return _QUOTED.sub('""', rule)


def program(variant: Variant, family: Family, tool: str) -> str | None:
    """Path of `iptables-nft-save` and the like (`tool` is save or restore); None: not there."""
    name = IPTABLES[family]
    exact = shutil.which(f"{name}-{variant}-{tool}", path=_PATH)
    if exact or _plain_variant() != variant:
        return exact
    return shutil.which(f"{name}-{tool}", path=_PATH)


def is_used(variant: Variant, family: Family) -> bool:
    """Whether there can be rules to save. Asks the kernel first: the legacy program would load
    ip_tables just to say that there are none."""
    return bool(basechains.existing(variant, family) and program(variant, family, "save"))


def _required(variant: Variant, family: Family, tool: str) -> str:
    path = program(variant, family, tool)
    if path is None:
        name = IPTABLES[family]
        raise HostError(f"the program {name}-{variant}-{tool} is not installed {_PACKAGE}")
    return path


def installed_variant() -> Variant:
    """What the program `iptables` of this host is. Raises HostError when there is none."""
    variant = _plain_variant()
    if variant is None:
        raise HostError(f"the program iptables is not installed {_PACKAGE}")
    return variant


@functools.cache
def _plain_variant() -> Variant | None:
    path = shutil.which("iptables", path=_PATH)
    if path is None:
        return None
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return "nft" if "nf_tables" in said else "legacy"


def save(variant: Variant, family: Family, *options: str) -> Saved:
    """What is there now. Raises HostError."""
    return parse(family, save_text(variant, family, *options))


def save_text(variant: Variant, family: Family, *options: str) -> str:
    return _run([_required(variant, family, "save"), *options], None)


def parse(family: Family, text: str) -> Saved:
    tables: dict[str, dict[str, tuple[str, ...]]] = {}
    chains: dict[str, tuple[str, ...]] = {}
    for line in text.splitlines():
        if line.startswith("*"):
            chains = tables.setdefault(line[1:].strip(), {})
        elif line.startswith(":"):
            chains.setdefault(line[1:].split()[0], ())
        elif line.startswith("-A "):
            _, name, rule = line.split(" ", 2)
            chains[name] = (*chains.get(name, ()), rule.strip())
    return Saved(family, tables)


def restore(variant: Variant, family: Family, text: str) -> None:
    """Feed `iptables-restore --noflush`; every table in it changes at once or not at all.

    Raises HostError with the words of iptables and the line they are about.
    """
    if not text:
        return
    path = _required(variant, family, "restore")
    try:
        _run([path, "--noflush", "-w", _LOCK_SECONDS], text)
    except HostError as error:
        raise HostError(f"{error}{_line_of(str(error), text)}") from error


def change(there: Saved, wanted: Firewall) -> str:
    """The input for `restore` that leads from `there` to `wanted`; empty when nothing differs."""
    ours = there.ours
    tables = dict.fromkeys((*wanted.tables, *(t for t in there.tables if t in ours.tables)))
    return "".join(
        f"*{table}\n{lines}COMMIT\n"
        for table in tables
        if (lines := _change_table(table, there, wanted))
    )


def _change_table(table: str, there: Saved, wanted: Firewall) -> str:
    chains = [chain for chain in wanted.chains if chain.table == table]
    changed = [chain for chain in chains if there.chain(table, chain.name) != chain.rules]
    surplus = [
        chain.name
        for chain in there.ours.chains
        if chain.table == table and chain.name not in {kept.name for kept in chains}
    ]
    lines = [
        *(f":{chain.name} - [0:0]" for chain in changed),
        *(f"-A {chain.name} {rule}" for chain in changed for rule in chain.rules),
        *_change_jumps(table, there, [jump for jump in wanted.jumps if jump.table == table]),
        *(f"-F {name}" for name in surplus),
        *(f"-X {name}" for name in surplus),
    ]
    return "".join(f"{line}\n" for line in lines)


def _change_jumps(table: str, there: Saved, wanted: Iterable[Jump]) -> list[str]:
    missing = {(jump.hook, jump.rule): jump for jump in wanted}
    surplus: list[str] = []
    for name, rules in there.tables.get(table, {}).items():
        if is_ours(name):
            continue
        for rule in rules:
            if is_ours(target(rule) or "") and missing.pop((name, rule), None) is None:
                surplus.append(f"-D {name} {rule}")
    return [*(f"-A {jump.hook} {jump.rule}" for jump in missing.values()), *surplus]


def _run(argv: list[str], text: str | None) -> str:
    try:
        done = subprocess.run(
            argv, input=text, capture_output=True, text=True, check=False, env=_environment()
        )
    except OSError as error:
        raise HostError(f"{argv[0]}: {error.strerror}") from error
    if done.returncode != 0:
        said = "; ".join(line for line in done.stderr.splitlines() if line.strip())
        raise HostError(f"{Path(argv[0]).name}: {said or f'exit code {done.returncode}'}")
    return done.stdout


def _environment() -> dict[str, str]:
    environment = dict(os.environ, LC_ALL="C")
    # Root of a user namespace cannot write /run; the legacy variant wants a lock all the same.
    writable = _LOCK if _LOCK.exists() else _LOCK.parent
    if not os.access(writable, os.W_OK):
        lock = Path(tempfile.gettempdir()) / f"nfq-classifier-xtables-{os.getuid()}.lock"
        environment.setdefault("XTABLES_LOCKFILE", str(lock))
    return environment


def _line_of(message: str, text: str) -> str:
    match = re.search(r"\bline:? (\d+)", message)
    lines = text.splitlines()
    if match is None or not 0 < int(match[1]) <= len(lines):
        return ""
    line = lines[int(match[1]) - 1]
    return f" (in: {line})" if line != "COMMIT" else f" (in: {' | '.join(lines)})"
