"""Kernel modules: there, to be loaded, or missing."""

from __future__ import annotations

import contextlib
import functools
import gzip
import logging
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from classifier.errors import HostError
from classifier.host import programs

_log = logging.getLogger(__name__)

Presence = Literal["present", "loadable", "missing"]
"""present: loaded or built in; loadable: a file of this kernel that modprobe can load, and has not
refused to."""

_LOADED = Path("/sys/module")
_SYMBOLS = Path("/proc/kallsyms")
_CONFIG = Path("/proc/config.gz")
_refused: set[str] = set()
"""Modules that modprobe was asked for and that are not there."""
_FORBIDDEN = re.compile(r"^install \S*/(?:false|true)\b", re.MULTILINE)
"""How an administrator forbids a module, in modprobe.d(5)."""


def presence(names: Iterable[str]) -> dict[str, Presence]:
    """Of each of these modules, on the running kernel."""
    wanted = tuple(names)
    built_in = _listed("modules.builtin") | _configured(wanted)
    if not built_in:
        built_in = _with_symbols(wanted)
    loadable = _listed("modules.dep") if programs.find("modprobe") and _may_load() else frozenset()
    made: dict[str, Presence] = {}
    for name in wanted:
        if name in built_in or (_LOADED / name).exists():
            made[name] = "present"
        else:
            may = name in loadable and name not in _refused and _is_allowed(name)
            made[name] = "loadable" if may else "missing"
    return made


def load(names: Iterable[str]) -> None:
    """Ask modprobe for them. Of those that it refuses `presence` says "missing" from now on."""
    modprobe = programs.find("modprobe")
    for name in names:
        try:
            if modprobe:
                programs.run([modprobe, name])
        except HostError as error:
            if presence([name])[name] != "present":
                _refused.add(name)
                _log.warning("kernel module %s: %s", name, error)


@functools.cache
def _is_allowed(name: str) -> bool:
    """Whether modprobe would load it, as its configuration says; needs no rights."""
    modprobe = programs.find("modprobe")
    try:
        return bool(modprobe) and not _FORBIDDEN.search(programs.run([str(modprobe), "-D", name]))
    except HostError:
        return False


@functools.cache
def _listed(file: str) -> frozenset[str]:
    """The names in a list of /lib/modules: one module a line, as a path (depmod(8))."""
    path = Path("/lib/modules", os.uname().release, file)
    with contextlib.suppress(OSError):
        paths = re.findall(r"^([^:\s]+)", path.read_text(errors="replace"), re.MULTILINE)
        return frozenset(Path(p).name.partition(".ko")[0].replace("-", "_") for p in paths)
    return frozenset()


@functools.cache
def _configured(names: tuple[str, ...]) -> frozenset[str]:
    """Those that are built in by the kernel's own configuration, where it tells that."""
    with contextlib.suppress(OSError, EOFError):
        config = gzip.decompress(_CONFIG.read_bytes()).decode(errors="replace")
        return frozenset(name for name in names if f"\nCONFIG_{name.upper()}=y\n" in config)
    return frozenset()


@functools.cache
def _with_symbols(names: tuple[str, ...]) -> frozenset[str]:
    """Those whose code is in the kernel's list of symbols, which takes a fifth of a second."""
    with contextlib.suppress(OSError):
        symbols = _SYMBOLS.read_text()
        return frozenset(n for n in names if re.search(rf" {n}(_init)?$", symbols, re.MULTILINE))
    return frozenset()


def _may_load() -> bool:
    """Whether this process may load modules: only root of the first user namespace may."""
    with contextlib.suppress(OSError, ValueError):
        status = Path("/proc/thread-self/status").read_text()
        effective = int(re.findall(r"^CapEff:\s*(\S+)$", status, re.MULTILINE)[0], 16)
        first, _, count = map(int, Path("/proc/thread-self/uid_map").read_text().split()[:3])
        return bool(effective >> _CAP_SYS_MODULE & 1) and (first, count) == (0, 2**32 - 1)
    return False


_CAP_SYS_MODULE = 16  # <linux/capability.h>
