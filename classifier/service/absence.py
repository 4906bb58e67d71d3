"""Where no service answers: whether its rules are there all the same, or it serves elsewhere.

Asked without any right, and only by commands that have failed already.
"""

from __future__ import annotations

import os

from classifier.errors import HostError
from classifier.host import programs
from classifier.host.state import PROTOCOL
from classifier.service.lock import holder


def described() -> str:
    """What is known of the calling thread's network namespace, to follow "no service is running
    there"; empty when nothing of ours is here."""
    found = holder()
    if found is not None and found.uid in (0, os.geteuid()):
        return (
            f", but this network namespace is held by {found.process}:"
            " it starts or stops, or has another --runtime-dir"
        )
    if _has_rules():
        return (
            ", but its rules are in place and new flows pass as direct"
            ' (queue.overload = "drop": they are dropped): run or down'
        )
    return ""


def _has_rules() -> bool:
    # By a program, since pyroute2 takes a tenth of a second to import.
    ip = programs.find("ip")
    try:
        return ip is not None and f"proto {PROTOCOL}" in programs.run([ip, "-4", "rule", "show"])
    except HostError:
        return False
