"""Put back what was found, for `remove` and for an `apply` that fails in the middle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from classifier.host import basechains, found, sysctls, xtables
from classifier.host.state import Firewall, Variant

SWITCHES = (sysctls.FORWARD4, sysctls.FORWARD6)


def restore_sysctls(values: Mapping[str, str]) -> list[str]:
    """Give sysctls the values they were found with; says which, as `key = value`.

    One that has another value than ours by now has been changed by somebody else, and stays.
    Raises HostError.
    """
    done: list[str] = []
    turned: set[str] = set()
    for key, value in _switches_first(values):
        current = sysctls.read(key)
        switch = switch_of(key)
        if switch is not None:
            # The kernel has just rewritten it together with its switch.
            wanted = switch in turned and current not in (None, value)
        else:
            wanted = current == sysctls.ours(key)
        if wanted:
            sysctls.write(key, value)
            done.append(f"{key} = {value}")
            turned.add(key)
    return done


def switch_of(key: str) -> str | None:
    """The sysctl whose change also changes `key`; None where that is none but itself."""
    if key in SWITCHES or not key.endswith(("/forwarding", "/accept_redirects")):
        return None
    return sysctls.FORWARD4 if key.startswith("net/ipv4/") else sysctls.FORWARD6


def forget_since(variant: Variant, there: found.Found, before: found.Found) -> None:
    """Take back what was noted after `before`, with what it was noted for. Raises HostError.

    `there` is what the memory of `variant` alone had been.
    """
    now = found.read(variant)
    restore_sysctls({k: v for k, v in now.sysctls.items() if k not in before.sysctls})
    if there.exists:
        found.write(variant, there)
    elif now.exists:
        found.forget(variant)
    basechains.delete(now.created - before.created)


def restore_firewall(variant: Variant, before: Firewall) -> None:
    """Make our chains and jumps what they were. Raises HostError."""
    there = xtables.save(variant, before.family)
    xtables.restore(variant, before.family, xtables.change(there, before))


def _switches_first(values: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    return sorted(values.items(), key=lambda item: item[0] not in SWITCHES)
