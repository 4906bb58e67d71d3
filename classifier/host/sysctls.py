"""Sysctls of the calling thread's network namespace."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from classifier.errors import HostError
from classifier.host.kernel_links import KernelLink
from classifier.policy import Family

_ROOT = Path("/proc/sys")

FORWARD4 = "net/ipv4/ip_forward"
FORWARD6 = "net/ipv6/conf/all/forwarding"
REDIRECTS4 = "net/ipv4/conf/all/accept_redirects"
SWITCHES = (FORWARD4, FORWARD6)

OURS = {
    "ip_forward": "1",
    "forwarding": "1",
    "rp_filter": "2",
    "src_valid_mark": "1",
    "accept_ra": "2",
    "accept_redirects": "0",
}
"""The value each kind of sysctl has while the gateway runs, by the last part of its key."""


def ours(key: str) -> str:
    return OURS[key.rpartition("/")[2]]


def read(key: str) -> str | None:
    """The value, or None where the kernel has no such sysctl."""
    try:
        return (_ROOT / key).read_text().strip()
    except OSError:
        return None


def write(key: str, value: str) -> None:
    """Raises HostError with the kernel's words."""
    try:
        (_ROOT / key).write_text(f"{value}\n")
    except OSError as error:
        raise HostError(f"sysctl {key} = {value}: {error.strerror}") from error


_PER_INTERFACE: Mapping[Family, tuple[str, ...]] = {
    4: ("rp_filter", "src_valid_mark", "forwarding"),
    6: ("accept_ra", "forwarding"),
}


def read_all(links: Iterable[KernelLink]) -> dict[str, str]:
    """Every sysctl that a plan may look at; key to value."""
    values: dict[str, str] = {}
    for family, names in _PER_INTERFACE.items():
        folder = f"net/ipv{family}/conf"
        for name in names:
            for key in (f"{folder}/all/{name}", f"{folder}/default/{name}"):
                _read_into(values, key)
            for link in links:
                if family in link.sysctls:
                    values[f"{folder}/{link.name}/{name}"] = link.sysctls[family][name]
    for key in (FORWARD4, REDIRECTS4):
        _read_into(values, key)
    return values


def _read_into(values: dict[str, str], key: str) -> None:
    if (value := read(key)) is not None:
        values[key] = value


def accepting_routers(key: str, value: str) -> str | None:
    """The interface that accepts router advertisements, also when forwarding, from this on."""
    folder, _, name = key.rpartition("/")
    return folder.rpartition("/")[2] if (name, value) == ("accept_ra", "2") else None


def switch_of(key: str) -> str | None:
    """The sysctl whose change also changes `key`; None where that is none but itself.

    net/ipv4/devinet.c inet_forward_change() sets `forwarding` of every interface, and
    accept_redirects of `all` to the opposite; net/ipv6/addrconf.c addrconf_fixup_forwarding()
    sets `forwarding` of every interface.
    """
    if key in SWITCHES or not key.endswith(("/forwarding", "/accept_redirects")):
        return None
    return FORWARD4 if key.startswith("net/ipv4/") else FORWARD6


def followers(switch: str, values: Mapping[str, str]) -> dict[str, str]:
    """Those of `values` that the kernel rewrites when `switch` is written, as found in it.

    Only those that would not come back by themselves when the switch goes from 1 to 0 again.
    """
    # The same variable as ip_forward.
    same = "net/ipv4/conf/all/forwarding"
    after = {k: _after_off(k) for k in values if k != same and switch_of(k) == switch}
    return {key: values[key] for key, value in after.items() if values[key] != value}


def _after_off(follower: str) -> str:
    return "1" if follower == REDIRECTS4 else "0"
