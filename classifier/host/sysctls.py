"""Sysctls of the calling thread's network namespace."""

from __future__ import annotations

from pathlib import Path

from classifier.errors import HostError

_ROOT = Path("/proc/sys")

FORWARD4 = "net/ipv4/ip_forward"
FORWARD6 = "net/ipv6/conf/all/forwarding"
REDIRECTS4 = "net/ipv4/conf/all/accept_redirects"

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


def per_interface(family: str, name: str) -> dict[str, str]:
    """Key to value of net/FAMILY/conf/*/NAME: all, default and every interface."""
    folder = _ROOT / "net" / family / "conf"
    try:
        interfaces = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return {}
    keys = [f"net/{family}/conf/{interface}/{name}" for interface in interfaces]
    return {key: value for key in keys if (value := read(key)) is not None}


def follow_switch(switch: str) -> dict[str, str]:
    """The sysctls that the kernel rewrites when `switch` is written, key to value after 1 -> 0.

    net/ipv4/devinet.c inet_forward_change() sets `forwarding` of every interface, and
    accept_redirects of `all` to the opposite; net/ipv6/addrconf.c addrconf_fixup_forwarding()
    sets `forwarding` of every interface.
    """
    if switch == FORWARD4:
        followers = dict.fromkeys(per_interface("ipv4", "forwarding"), "0")
        followers.pop("net/ipv4/conf/all/forwarding", None)  # the same variable as ip_forward
        return followers | {REDIRECTS4: "1"}
    if switch == FORWARD6:
        followers = dict.fromkeys(per_interface("ipv6", "forwarding"), "0")
        followers.pop(FORWARD6, None)
        return followers
    return {}
