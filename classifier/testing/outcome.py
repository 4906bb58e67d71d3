"""Captures through a policy, with what a test can say about the outcome."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, Unpack

from classifier.config import load_policy
from classifier.errors import UsageError
from classifier.policy import Policy
from classifier.replay import Replay, Report
from classifier.replay.against import byte_shares, pairs
from classifier.replay.captures import in_order_of_time
from classifier.testing.asserting import FIRST, decision_text, fail, first_flows, flow_text
from classifier.testing.matching import FlowMatch, match_text, matcher

AnyPath = str | os.PathLike[str]
SameBy = Literal["remote", "local", "local+remote"]
_SAME = {"remote": "remote", "local": "LAN host", "local+remote": "LAN host and remote"}


class Share(float):
    """A share, 0 to 1, that can be asserted."""

    _report: Report
    _uplink: str
    _by: str

    @classmethod
    def of(cls, report: Report, uplink: str, by: Literal["flows", "bytes"]) -> Share:
        share = cls(report.share(uplink) if by == "flows" else byte_shares(report)[uplink])
        share._report, share._uplink, share._by = report, uplink, by
        return share

    def between(self, low: float, high: float) -> Share:
        """Raises PolicyAssertionError unless it is, both ends included."""
        __tracebackhide__ = True
        if low > high:
            raise UsageError(f"between({low}, {high}): the first must not be above the second")
        if not low <= self <= high:
            self._fail(f"between {low:.2%} and {high:.2%}", too_low=self < low)
        return self

    def at_least(self, low: float) -> Share:
        __tracebackhide__ = True
        if self < low:
            self._fail(f"at least {low:.2%}", too_low=True)
        return self

    def at_most(self, high: float) -> Share:
        __tracebackhide__ = True
        if self > high:
            self._fail(f"at most {high:.2%}", too_low=False)
        return self

    def _fail(self, wanted: str, too_low: bool) -> None:
        __tracebackhide__ = True
        report, sizes = self._report, byte_shares(self._report)
        table = [
            f"  {name}: {use.flows} flows ({use.share:.2%}), {use.bytes} bytes ({sizes[name]:.2%})"
            for name, use in report.uplinks.items()
        ]
        odd = [
            number
            for number, flow in enumerate(report.decisions)
            if flow.uplink is not None and (flow.uplink != self._uplink) == too_low
        ]
        where = "other uplinks" if too_low else self._uplink
        fail(
            f"share of {self._uplink} by {self._by} is {float(self):.2%}: must be {wanted}",
            *table,
            *([f"first flows by {where}:", *first_flows(report, odd)] if odd else ()),
        )


class Outcome:
    """What a policy did with captures. Every assertion raises PolicyAssertionError, an
    AssertionError, whose text lists the first flows that are not as they have to be."""

    def __init__(self, policy: Policy, report: Report) -> None:
        self.policy = policy
        self.report = report

    def share(self, uplink: str, by: Literal["flows", "bytes"] = "flows") -> Share:
        """The part, 0 to 1, that an uplink has of all flows (or bytes) that went by uplinks.

        To be compared, or asserted: `share("wired").between(0.6, 0.7)`. Raises UsageError where the
        policy has no such uplink.
        """
        if uplink not in self.report.uplinks:
            raise UsageError(f"the policy has no uplink {uplink!r}")
        if by not in ("flows", "bytes"):
            raise UsageError(f"by = {by!r}: must be flows or bytes")
        return Share.of(self.report, uplink, by)

    def never(self, **match: Unpack[FlowMatch]) -> None:
        """No flow matches: `never(uplink="lte", protocol="udp", dport=(1000, 2000))`."""
        __tracebackhide__ = True
        found = self._matching(match)
        if found:
            fail(
                f"{len(found)} of {self.report.flows} flows match {match_text(match)}; none must:",
                *first_flows(self.report, found),
            )

    def same_uplink(self, by: SameBy = "remote", **match: Unpack[FlowMatch]) -> None:
        """All flows to a remote (of a LAN host, of a pair) that go by uplinks, and match, go by the
        same one. Where no flow matches, that is a failure, too."""
        __tracebackhide__ = True
        if by not in _SAME:
            raise UsageError(f"by = {by!r}: must be one of {', '.join(_SAME)}")
        report = self.report
        last: dict[str, int] = {}
        broken: list[tuple[int, int]] = []
        placed = [n for n in self._matching(match) if report.decisions[n].uplink is not None]
        if not placed:
            fail(f"no flow that went by an uplink matches {match_text(match)}")
        for number in placed:
            flow = report.decisions[number]
            key = {"remote": flow.dst, "local": flow.src}.get(by, f"{flow.src} > {flow.dst}")
            before = last.get(key)
            if before is not None and report.decisions[before].uplink != flow.uplink:
                broken.append((before, number))
            last[key] = number
        if broken:
            lines = []
            for before, number in broken[:FIRST]:
                lines += [f"  {flow_text(report, before)}", f"  then {flow_text(report, number)}"]
            more = [f"  ... and {len(broken) - FIRST} more"] if len(broken) > FIRST else []
            fail(
                f"{len(broken)} of {len(placed)} flows ({match_text(match)}) went by another uplink"
                f" than the flow of the same {_SAME[by]} before; none must:",
                *lines,
                *more,
            )

    def moved_at_most(self, limit: float) -> None:
        """At most so many flows go another way than by the policy `against`: an integer is a number
        of flows, another value a share, 0 to 1. UsageError without `against`."""
        __tracebackhide__ = True
        comparison, report = self.report.against, self.report
        if comparison is None:
            raise UsageError("moved_at_most: needs the policy to compare with, replay(against=...)")
        most = limit if isinstance(limit, int) else limit * report.flows
        if comparison.moved <= most:
            return
        moved = [n for n, pair in enumerate(pairs(report, comparison)) if pair.moved]
        others = comparison.report.decisions
        lines = [
            f"{flow}; by the other policy {decision_text(others[number], others.way(number))}"
            for number, flow in zip(moved, first_flows(report, moved), strict=False)
        ][:FIRST]
        wanted = f"{limit} flows" if isinstance(limit, int) else f"{limit:.2%}"
        fail(
            f"{comparison.moved} of {report.flows} flows"
            f" ({comparison.moved / report.flows:.2%}) moved: must be at most {wanted}",
            *(f"  {m.source} to {m.target}: {m.amount.flows} flows" for m in comparison.moves),
            "first flows that moved:",
            *lines,
        )

    def _matching(self, match: FlowMatch) -> list[int]:
        matches, decisions = matcher(self.policy, **match), self.report.decisions
        return [n for n, flow in enumerate(decisions) if matches(flow, decisions.way(n))]


def replay(
    policy: Policy | AnyPath,
    captures: AnyPath | Iterable[AnyPath],
    *,
    against: Policy | AnyPath | None = None,
    seed: int = 0,
    **options: Any,
) -> Outcome:
    """Captures through a policy, given as it is or by its file; likewise `against`, the policy to
    compare it with. More options are those of `classifier.replay`.

    The seed is fixed, so that a test finds the same each time. Raises ConfigError, CaptureError,
    UsageError for what would test nothing, such as an event after the captures' end, and
    PolicyAssertionError where a method of one's own fails, so that weights decide instead.
    """
    __tracebackhide__ = True
    policy = _loaded(policy)
    other = None if against is None else _loaded(against)
    several = [captures] if isinstance(captures, str | os.PathLike) else list(captures)
    if not several:
        raise UsageError("captures: none are given, so that every assertion would hold")
    run = Replay(policy, seed=seed, against=other, **options)
    for path in in_order_of_time(several):
        run.read(path)
    report = run.report()
    if run.waiting:
        raise UsageError(
            f"at = {str(run.waiting[0])!r}: does not happen, as the captures end after"
            f" {report.seconds:g}s"
        )
    failures = report.failures()
    if report.against is not None:
        failures += [f"against: {text}" for text in report.against.report.failures()]
    if failures:
        fail(*failures)
    return Outcome(policy, report)


class Replays:
    """`replay` with files of a folder; what has been replayed once is not replayed again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done: dict[object, Outcome] = {}

    def __call__(
        self,
        policy: Policy | AnyPath,
        captures: AnyPath | Iterable[AnyPath],
        *,
        against: Policy | AnyPath | None = None,
        **options: Any,
    ) -> Outcome:
        """As `replay`; names of files that are not absolute are those of the folder."""
        several = [captures] if isinstance(captures, str | os.PathLike) else captures
        policy, against = self._place(policy), None if against is None else self._place(against)
        paths = tuple(self._folder / path for path in several)
        key = repr((policy, paths, against, sorted(options.items())))
        if key not in self._done:
            self._done[key] = replay(policy, paths, against=against, **options)
        return self._done[key]

    def _place(self, policy: Policy | AnyPath) -> Policy | Path:
        return policy if isinstance(policy, Policy) else self._folder / policy


def _loaded(policy: Policy | AnyPath) -> Policy:
    return policy if isinstance(policy, Policy) else load_policy(os.fspath(policy))
