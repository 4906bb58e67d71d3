"""What this kernel can do, found out by doing it in a namespace of its own.

A missing feature is an error that names the feature and the kernel option that brings it, so
that a skipped test and a refused `lab` say the same.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from classifier.errors import LabError
from classifier.host import ct_helpers
from classifier.host.modules import presence
from classifier.lab import programs
from classifier.lab.namespace import Namespace


class MissingFeatureError(LabError):
    """This kernel, or this user's rights, lack something that the lab needs."""


@dataclass(frozen=True, slots=True)
class Feature:
    name: str
    """As in "this kernel lacks NAME"."""
    option: str
    """The kernel configuration that brings it."""
    commands: tuple[tuple[str, ...], ...]
    """All succeed, in one new namespace, where the feature exists; none for namespaces alone."""


def _iptables(program: str, table: str, *rule: str) -> tuple[str, ...]:
    return (program, "-w", "-t", table, *rule)


def _netfilter(program: str) -> tuple[tuple[str, ...], ...]:
    return (
        _iptables(
            program, "mangle", "-A", "PREROUTING",
            *("-m", "conntrack", "--ctstate", "NEW"),
            *("-j", "NFQUEUE", "--queue-num", "0", "--queue-bypass"),
        ),
        _iptables(program, "mangle", "-A", "OUTPUT", "-j", "CONNMARK", "--save-mark"),
        _iptables(program, "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"),
    )  # fmt: skip


def _nft_rule(rule: str) -> tuple[tuple[str, ...], ...]:
    chain = "{ type filter hook prerouting priority 0; }"
    return (
        ("nft", "add table ip feature"),
        ("nft", f"add chain ip feature first {chain}"),
        ("nft", f"add rule ip feature first {rule}"),
    )


NAMESPACES = Feature("network namespaces", "CONFIG_NET_NS", ())
VETH = Feature("veth interfaces", "CONFIG_VETH", (("ip", "link", "add", "veth1", "type", "veth"),))
POLICY_ROUTING = Feature(
    "policy routing",
    "CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES",
    (
        ("ip", "rule", "add", "fwmark", "1/1", "lookup", "7"),
        ("ip", "-6", "rule", "add", "fwmark", "1/1", "lookup", "7"),
    ),
)
NETFILTER = Feature(
    "iptables with NFQUEUE, CONNMARK and NAT",
    "CONFIG_NETFILTER_XT_TARGET_NFQUEUE, CONFIG_NETFILTER_XT_CONNMARK, CONFIG_NF_NAT",
    _netfilter("iptables"),
)
NETFILTER6 = Feature(
    "ip6tables with NFQUEUE, CONNMARK and NAT",
    "CONFIG_IP6_NF_MANGLE, CONFIG_IP6_NF_NAT",
    _netfilter("ip6tables"),
)
LEGACY = Feature(
    "the legacy variant of iptables",
    "CONFIG_IP_NF_MANGLE, CONFIG_IP_NF_NAT",
    _netfilter("iptables-legacy"),
)
FTP_HELPER = Feature(
    "the conntrack helper for FTP",
    "CONFIG_NF_CONNTRACK_FTP, CONFIG_NF_NAT_FTP, CONFIG_NETFILTER_XT_TARGET_CT",
    (
        _iptables(
            "iptables", "raw", "-A", "PREROUTING", "-p", "tcp", "--dport", "21",
            *("-j", "CT", "--helper", "ftp"),
        ),
    ),
)  # fmt: skip
NFT_QUEUE = Feature(
    "the nft statement queue", "CONFIG_NFT_QUEUE", _nft_rule("queue flags bypass to 0")
)
TUN = Feature("tun devices", "CONFIG_TUN", (("ip", "tuntap", "add", "tun1", "mode", "tun"),))

GATEWAY = (NAMESPACES, VETH, POLICY_ROUTING, NETFILTER, NETFILTER6)
"""Without these there is no virtual gateway."""

PROGRAMS = ("ip", "iptables", "iptables-restore", "conntrack", "setpriv", "unshare")


@cache
def problem(feature: Feature) -> str | None:
    """Why the feature cannot be used here, or None when it can."""
    try:
        with Namespace.create("feature") as namespace:
            for command in feature.commands:
                if (absent := programs.missing(command[0])) is not None:
                    return f"{absent}, needed for {feature.name}"
                namespace.run(command)
    except LabError as error:
        if not feature.commands:
            return _no_namespaces(str(error))
        kernel = platform.release()
        return f"this kernel ({kernel}) lacks {feature.name} ({feature.option}): {error}"
    return None


def require(*features: Feature) -> None:
    """Raise MissingFeatureError, naming every one of the features that cannot be used here."""
    problems = [said for feature in features if (said := problem(feature)) is not None]
    if problems:
        raise MissingFeatureError("\n".join(problems))


def require_gateway() -> None:
    """Raise MissingFeatureError unless a virtual gateway can be built here."""
    require_programs(*PROGRAMS)
    # One by one: without namespaces the others need not be tried.
    for feature in GATEWAY:
        require(feature)


def own_namespaces(argv: Sequence[str]) -> list[str]:
    """The command that runs `argv` with all rights over a network and mount namespace of its own.

    /run is an empty directory there, because iptables keeps its lock in it. As a user without
    rights the command gets a user namespace as well, in which that user is root. PATH names the
    folders of system programs too, which an ordinary user's lacks on Debian.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    script = 'mount -t tmpfs -o mode=755 tmpfs /run && ip link set lo up && exec "$@"'
    path = f"PATH={programs.search_path()}"
    return [
        "env",
        path,
        "unshare",
        *user,
        "--net",
        "--mount",
        "--",
        "sh",
        "-c",
        script,
        "sh",
        *argv,
    ]


def require_user_namespaces() -> None:
    """Raise MissingFeatureError when this user cannot have `own_namespaces`."""
    require_programs("unshare", "mount", "ip")
    tried = subprocess.run(own_namespaces(["true"]), capture_output=True, text=True)
    if tried.returncode != 0:
        raise MissingFeatureError(_no_namespaces(tried.stderr.strip()))


def _no_namespaces(said: str) -> str:
    why = "chroot, or a container without rights?"
    if os.geteuid() != 0:
        why += " Users need CONFIG_USER_NS, kernel.unprivileged_userns_clone"
    return f"cannot make namespaces here ({why}): {said}"


def missing_helper_modules(helpers: Iterable[str]) -> list[str]:
    """Kernel modules that these conntrack helpers need, and that cannot be had here."""
    found = presence(ct_helpers.modules(helpers))
    return [name for name, there in found.items() if there == "missing"]


def require_programs(*names: str) -> None:
    """Raise MissingFeatureError, naming every one of the programs that is not there."""
    absent = [said for name in names if (said := programs.missing(name)) is not None]
    if absent:
        raise MissingFeatureError("\n".join(absent))
