"""Failures of a policy's tests, and how flows are shown in them."""

from __future__ import annotations

from collections.abc import Sequence

from classifier.replay import FlowDecision
from classifier.replay.report import Report

FIRST = 5
"""Flows that a failure shows."""


class PolicyAssertionError(AssertionError):
    """A policy does not do what its test says."""


def fail(lead: str, *details: str) -> None:
    """Raises PolicyAssertionError."""
    __tracebackhide__ = True
    raise PolicyAssertionError("\n".join((lead, *details)))


def first_flows(report: Report, numbers: Sequence[int]) -> list[str]:
    """The first of the flows of these numbers, a line each, with their decisions."""
    lines = [f"  {flow_text(report, number)}" for number in numbers[:FIRST]]
    if len(numbers) > FIRST:
        lines.append(f"  ... and {len(numbers) - FIRST} more")
    return lines


def flow_text(report: Report, number: int) -> str:
    flow = report.decisions[number]
    after = flow.time - report.decisions[0].time
    ends = f"{_end(flow.src, flow.sport)} > {_end(flow.dst, flow.dport)}"
    decision = decision_text(flow, report.decisions.way(number))
    return f"{after:.3f} s {flow.protocol} {ends}: {decision}"


def decision_text(flow: FlowDecision, way: str) -> str:
    """Where a flow goes and why; `way` is its uplink, `direct` or `drop`."""
    rule = "no rule" if flow.rule is None else f"rule {flow.rule!r}"
    return f"{way if flow.uplink is None else f'uplink {way}'}, {rule}, {flow.reason}"


def _end(address: str, port: int | None) -> str:
    if port is None:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
