"""A plan as text that can be read, compared and, line by line, typed in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from classifier.host import xtables
from classifier.host.state import IPTABLES, Firewall, HostPlan


def render(plan: HostPlan) -> str:
    """The whole plan; the iptables sections are exactly the input for iptables-restore."""
    sections = (
        ("missing", (f"# there is no interface {name}: run refuses" for name in plan.missing)),
        ("warnings", (f"# {warning}" for warning in plan.warnings)),
        ("routes", (f"ip -{route.family} route add {route}" for route in plan.routes)),
        ("routing rules", (f"ip -{rule.family} rule add {rule}" for rule in plan.rules)),
        ("sysctls", (f"sysctl -w {sysctl.key}={sysctl.value}" for sysctl in plan.sysctls)),
        ("kernel modules", (f"modprobe {module}" for module in plan.modules)),
        *((_restore_command(plan, f), _restore_input(f)) for f in plan.firewalls),
    )
    return "\n".join(text for title, lines in sections if (text := _section(title, lines)))


def _section(title: str, lines: Iterable[str]) -> str:
    text = "".join(f"{line}\n" for line in lines)
    return f"# {title}\n{text}" if text else ""


def _restore_command(plan: HostPlan, firewall: Firewall) -> str:
    name = IPTABLES[firewall.family]
    return f"{name}-{plan.variant}-restore --noflush"


def _restore_input(firewall: Firewall) -> Iterator[str]:
    yield from xtables.change(xtables.Saved(firewall.family), firewall).splitlines()
