"""The capabilities (capabilities(7)) of this process over its network namespace."""

from __future__ import annotations

import re
from pathlib import Path

from classifier.errors import HostError

_CAP_NET_ADMIN = 12  # <linux/capability.h>


def has_net_admin() -> bool:
    """Whether CAP_NET_ADMIN is in force, in the user namespace that this process is in."""
    status = Path("/proc/thread-self/status").read_text()
    found = re.search(r"^CapEff:\s*([0-9a-f]+)$", status, re.MULTILINE)
    return found is None or bool(int(found[1], 16) >> _CAP_NET_ADMIN & 1)


def require_net_admin() -> None:
    """Raises HostError, before any tool says it in its own words or does half of something."""
    if not has_net_admin():
        raise HostError("this needs CAP_NET_ADMIN: run it as root, or in a user namespace")
