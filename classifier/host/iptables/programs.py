"""The programs of iptables: which there are, what they save, and one restore."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Literal

from classifier.errors import HostError
from classifier.host import programs
from classifier.host.iptables import lock_file
from classifier.policy import Family

Variant = Literal["nft", "legacy"]
"""The two kernel sides iptables can speak to: nf_tables, and the older ip_tables."""

IPTABLES: Mapping[Family, str] = {4: "iptables", 6: "ip6tables"}
"""The program for each family."""

_LOCK_SECONDS = "10"
"""How long another program may hold the lock of the legacy variant."""
_PACKAGE = "(Debian package: iptables)"


def program(variant: Variant, family: Family, tool: str = "") -> str | None:
    """Path of `iptables-nft-save` and the like (`tool`: save, restore or none); None: not there."""
    name, end = IPTABLES[family], f"-{tool}" if tool else ""
    exact = programs.find(f"{name}-{variant}{end}")
    if exact or _plain_variant() != variant:
        return exact
    return programs.find(f"{name}{end}")


def installed_variant() -> Variant:
    """What the program `iptables` of this host is. Raises HostError when there is none."""
    variant = _plain_variant()
    if variant is None:
        raise HostError(f"iptables: not found in PATH or /usr/sbin {_PACKAGE}")
    return variant


@functools.cache
def _plain_variant() -> Variant | None:
    path = programs.find("iptables")
    if path is None:
        return None
    return "nft" if "nf_tables" in programs.run([path, "--version"]) else "legacy"


def save(variant: Variant, family: Family, *options: str) -> str:
    """What iptables-save prints. Raises HostError."""
    return programs.run(
        [_required(variant, family, "save"), *options], None, lock_file.environment()
    )


def list_chain(variant: Variant, family: Family, table: str, chain: str, *options: str) -> str:
    """The rules of one chain, as iptables-save prints them. Raises HostError."""
    path = _required(variant, family)
    return programs.run([path, "-t", table, "-S", chain, *options], None, lock_file.environment())


def restore(variant: Variant, family: Family, text: str) -> None:
    """Feed `iptables-restore --noflush`; every table in it changes at once or not at all.

    Raises HostError with the words of iptables and the line they are about.
    """
    path = _required(variant, family, "restore")
    try:
        programs.run([path, "--noflush", "-w", _LOCK_SECONDS], text, lock_file.environment())
    except HostError as error:
        raise HostError(f"{error}{_line_of(str(error), text)}") from error


def _required(variant: Variant, family: Family, tool: str = "") -> str:
    path = program(variant, family, tool)
    if path is None:
        name = f"{IPTABLES[family]}-{variant}{f'-{tool}' if tool else ''}"
        raise HostError(f"{name}: not found in PATH or /usr/sbin {_PACKAGE}")
    return path


def _line_of(message: str, text: str) -> str:
    match = re.search(r"\bline:? (\d+)", message)
    lines = text.splitlines()
    if match is None or not 0 < int(match[1]) <= len(lines):
        return ""
    line = lines[int(match[1]) - 1]
    return f" (in: {line})" if line != "COMMIT" else f" (in: {' | '.join(lines)})"
