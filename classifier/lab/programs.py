"""Where programs are found: an ordinary user's PATH on Debian lacks /usr/sbin."""

from __future__ import annotations

import os

from classifier.host.programs import SYSTEM_FOLDERS, find

_PACKAGES = {
    "conntrack": "conntrack",
    "dnsmasq": "dnsmasq-base",
    "ip": "iproute2",
    "ip6tables": "iptables",
    "iptables": "iptables",
    "iptables-legacy": "iptables",
    "iptables-restore": "iptables",
    "mount": "mount",
    "nft": "nftables",
    "radvd": "radvd",
    "setpriv": "util-linux",
    "udhcpc": "udhcpc",
    "unshare": "util-linux",
}


def search_path(path: str | None = None) -> str:
    """`path`, by default PATH, and behind it the folders for system programs that it lacks."""
    folders = (path or os.environ.get("PATH", os.defpath)).split(os.pathsep)
    return os.pathsep.join([*folders, *(f for f in SYSTEM_FOLDERS if f not in folders)])


def missing(name: str) -> str | None:
    """Why the program cannot be used, with the Debian package that has it; None when it can."""
    if find(name) is not None:
        return None
    package = f" (Debian package: {_PACKAGES[name]})" if name in _PACKAGES else ""
    return f"{name}: not found in PATH or /usr/sbin{package}"
