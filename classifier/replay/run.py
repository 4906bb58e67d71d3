"""Running captures through the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from pathlib import Path as FilePath

from classifier.engine.engine import Engine
from classifier.engine.load_meter import wants_loads
from classifier.errors import UsageError
from classifier.policy import Network, Policy
from classifier.replay.against import moves
from classifier.replay.annotate import CapturePart, annotate
from classifier.replay.captures import AnyPath, in_order_of_time
from classifier.replay.figures import Figures, figures
from classifier.replay.flow_log import FlowLog
from classifier.replay.loads import SampledLoads
from classifier.replay.observer import Observer
from classifier.replay.reader import CaptureReader
from classifier.replay.report import (
    Comparison,
    Decisions,
    Report,
    RuleUse,
    Use,
    method_errors,
)
from classifier.replay.script import Script, Together, UplinkEvent, UplinkScript, parse_event
from classifier.replay.tracker import Tracker
from classifier.state.asked import Asked

_DIRECT, _DROPPED, _INBOUND = 0, 254, 255


class Replay:
    """Captures that pass, one after the other, through one engine.

    Several captures are one stream: flows go on from one to the next, and time does not go back.
    `keep` is whether the report has every flow and not only the sums; a flow takes some 80 bytes.
    `at` says when uplinks fail and return: "120s wired down" is 120 seconds after the first packet.
    `against` is another policy, asked about the same flows in the same pass. `watch` is whether the
    report has `figures`; with `against` it always has. `number_packets` is for `annotate`.
    `asked` is what is asked of uplinks by hand at the start. `prepare` is called with each engine
    before the first packet, when its time is 0.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        seed: int | None = None,
        lan: Iterable[str | Network] = (),
        in_interface: str | None = None,
        keep: bool = True,
        at: Iterable[str] = (),
        against: Policy | None = None,
        watch: bool = False,
        number_packets: bool = False,
        asked: Mapping[str, Asked] | None = None,
        prepare: Callable[[Engine], None] = lambda engine: None,
    ) -> None:
        if seed is None:
            seed = int.from_bytes(os.urandom(8))
        events = [_event(text, policy, against) for text in at]
        self._policy = policy
        self._against = against
        self._parts: list[CapturePart] = []
        engine = Engine(policy, seed)
        self._engines = [engine]
        self._script = UplinkScript(engine, policy, events, asked)
        prepare(engine)
        self._observer: Observer | None = None
        if watch or number_packets or against is not None:
            self._observer = Observer(policy, seed, number_packets)
        self._tracker = Tracker(
            engine,
            [network(value) for value in lan],
            _interface(policy, in_interface),
            keep,
            self._observer,
        )
        others: list[Script] = []
        if wants_loads(policy):
            others.append(SampledLoads(engine, policy, self._tracker.measure()))
        if self._observer is not None and against is not None:
            other = Engine(against, seed)
            self._engines.append(other)
            self._observer.compare(against, other, _interface(against, in_interface), keep)
            others.append(UplinkScript(other, against, events, asked))
            prepare(other)
            if wants_loads(against):
                others.append(SampledLoads(other, against, self._observer.measure_other()))
        self._tracker.follow(Together(self._script, *others))

    @property
    def waiting(self) -> tuple[UplinkEvent, ...]:
        """What `at` asks for and the captures have not come to yet."""
        return self._script.waiting

    def read(self, path: AnyPath, progress: Callable[[int], None] | None = None) -> None:
        """Take a capture in, "-" for standard input, to its end.

        Raises `CaptureError` when it cannot be read further; what was read before counts.
        `progress` is called now and then with the bytes read so far.
        """
        before, whole = self._packets, False
        try:
            with CaptureReader(os.fspath(path)) as reader:
                while self._tracker.read(reader):
                    if progress is not None:
                        progress(reader.offset)
            whole = True
        finally:
            self._parts.append(CapturePart(os.fspath(path), self._packets - before, whole))

    @property
    def _packets(self) -> int:
        return self._tracker.counts()[0]

    def annotate(self, report: Report, path: FilePath) -> None:
        """Write the captures as one pcapng file, each flow's first packet with a comment.

        For a replay that keeps its flows and numbers packets. Raises OutputError.
        """
        if self._observer is None:
            raise ValueError("packets were not numbered")
        first_packets = [self._observer.first_packet(i) for i in range(len(report.decisions))]
        annotate(report, self._parts, first_packets, path)

    def report(self) -> Report:
        """The sums of everything read; closes all flows."""
        self._tracker.finish()
        began, observer = self._tracker.span(), self._observer
        watched = comparison = None
        if observer is not None:
            watched = figures(self._policy, observer.tally, observer.remotes, began)
            if self._against is not None:
                other = figures(self._against, observer.other_tally, None, began)
                comparison = Comparison(
                    self._against,
                    self._report(self._against, self._engines[1], observer.other_log, other, None),
                    moves(self._policy, self._against, observer),
                )
        return self._report(self._policy, self._engines[0], self._tracker.log, watched, comparison)

    def _report(
        self,
        policy: Policy,
        engine: Engine,
        log: FlowLog,
        watched: Figures | None,
        against: Comparison | None,
    ) -> Report:
        packets, malformed, untracked, without_ip = self._tracker.counts()
        _, milliseconds = self._tracker.span()
        totals = {uplink.name: log.total(uplink.id) for uplink in policy.uplinks}
        placed = sum(flows for flows, _, _ in totals.values())
        uplinks = {
            name: Use(flows, count, size, share=flows / placed if placed else 0.0)
            for name, (flows, count, size) in totals.items()
        }
        direct = Use(*log.total(_DIRECT))
        dropped = Use(*log.total(_DROPPED))
        return Report(
            seconds=milliseconds / 1000,
            packets=packets,
            flows=placed + direct.flows + dropped.flows,
            malformed=malformed,
            untracked=untracked,
            without_ip=without_ip,
            uplinks=uplinks,
            direct=direct,
            dropped=dropped,
            inbound=Use(*log.total(_INBOUND)),
            rules=tuple(
                RuleUse(rule.name, flows)
                for rule, flows in zip(policy.rules, log.rules(), strict=True)
            ),
            decisions=Decisions(log, policy),
            figures=watched,
            against=against,
            balancers=method_errors(policy, engine),
        )


def replay(
    policy: Policy,
    paths: AnyPath | Iterable[AnyPath],
    *,
    seed: int | None = None,
    lan: Iterable[str | Network] = (),
    in_interface: str | None = None,
    at: Iterable[str] = (),
    against: Policy | None = None,
) -> Report:
    """Run captures (pcap or pcapng, "-" for standard input) through a policy.

    Captures may be packed by gzip or zstd. A folder stands for the captures in it; several are read
    in order of time.
    Every new flow is taken for an outbound one, unless `lan` names the networks that are inside.
    `in_interface` is where flows are said to come in: by default the policy's only LAN interface,
    or none if it has several. `at` says when uplinks fail and return, such as "120s wired down" or
    "5m wired up", counted from the first packet. With `against` the same flows are shown to that
    policy as well, and `report.against` says what differs. The same captures with the same seed
    give the same report.

    Raises `CaptureError` when a capture cannot be read to its end, naming packet and byte.
    """
    run = Replay(policy, seed=seed, lan=lan, in_interface=in_interface, at=at, against=against)
    for path in in_order_of_time([paths] if isinstance(paths, str | os.PathLike) else paths):
        run.read(path)
    return run.report()


def _interface(policy: Policy, name: str | None) -> str | None:
    if name is None and len(policy.gateway.lan) == 1:
        return policy.gateway.lan[0]
    return name


def _event(text: str, policy: Policy, against: Policy | None) -> UplinkEvent:
    """An event about an uplink of either policy."""
    try:
        return parse_event(text, policy)
    except UsageError:
        if against is None:
            raise
        return parse_event(text, against)


def network(value: str | Network) -> Network:
    """A network of `lan`; UsageError."""
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise UsageError(f"lan {value}: {error}") from None
