"""Running captures through the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network

from classifier.engine.engine import Engine
from classifier.errors import UsageError
from classifier.policy import Network, Policy
from classifier.replay.captures import AnyPath, in_order_of_time
from classifier.replay.reader import CaptureReader
from classifier.replay.report import Decisions, Report, RuleUse, Use
from classifier.replay.script import UplinkEvent, UplinkScript, parse_event
from classifier.replay.tracker import Tracker
from classifier.state.asked import Asked

_DIRECT, _DROPPED, _INBOUND = 0, 254, 255


class Replay:
    """Captures that pass, one after the other, through one engine.

    Several captures are one stream: flows go on from one to the next, and time does not go back.
    `keep` is whether the report has every flow and not only the sums; a flow takes some 80 bytes.
    `at` says when uplinks fail and return: "120s wired down" is 120 seconds after the first packet.
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
        asked: Mapping[str, Asked] | None = None,
    ) -> None:
        """`asked`: what is asked of uplinks by hand at the start."""
        if in_interface is None and len(policy.gateway.lan) == 1:
            in_interface = policy.gateway.lan[0]
        self._policy = policy
        events = [parse_event(text, policy) for text in at]
        engine = Engine(policy, int.from_bytes(os.urandom(8)) if seed is None else seed)
        self.engine = engine
        """Its time is 0 until the first packet, and counts from that."""
        self._script = UplinkScript(engine, policy, events, asked or {})
        self._tracker = Tracker(engine, [_network(value) for value in lan], in_interface, keep)
        self._tracker.follow(self._script)

    @property
    def waiting(self) -> tuple[UplinkEvent, ...]:
        """What `at` asks for and the captures have not come to yet."""
        return self._script.waiting

    def read(self, path: AnyPath, progress: Callable[[int], None] | None = None) -> None:
        """Take a capture in, "-" for standard input, to its end.

        Raises `CaptureError` when it cannot be read further; what was read before counts.
        `progress` is called now and then with the bytes read so far.
        """
        with CaptureReader(os.fspath(path)) as reader:
            while self._tracker.read(reader):
                if progress is not None:
                    progress(reader.offset)

    def report(self) -> Report:
        """The sums of everything read; closes all flows."""
        self._tracker.finish()
        log = self._tracker.log
        packets, malformed, untracked, without_ip = self._tracker.counts()
        _, milliseconds = self._tracker.span()
        totals = {uplink.name: log.total(uplink.id) for uplink in self._policy.uplinks}
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
                for rule, flows in zip(self._policy.rules, log.rules(), strict=True)
            ),
            decisions=Decisions(log, self._policy),
        )


def replay(
    policy: Policy,
    paths: AnyPath | Iterable[AnyPath],
    *,
    seed: int | None = None,
    lan: Iterable[str | Network] = (),
    in_interface: str | None = None,
    at: Iterable[str] = (),
) -> Report:
    """Run captures (pcap or pcapng, "-" for standard input) through a policy.

    Captures may be packed by gzip or zstd. A folder stands for the captures in it; several are read
    in order of time.
    Every new flow is taken for an outbound one, unless `lan` names the networks that are inside.
    `in_interface` is where flows are said to come in: by default the policy's only LAN interface,
    or none if it has several. `at` says when uplinks fail and return, such as "120s wired down" or
    "5m wired up", counted from the first packet. The same captures with the same seed give the same
    report.

    Raises `CaptureError` when a capture cannot be read to its end, naming packet and byte.
    """
    run = Replay(policy, seed=seed, lan=lan, in_interface=in_interface, at=at)
    for path in in_order_of_time([paths] if isinstance(paths, str | os.PathLike) else paths):
        run.read(path)
    return run.report()


def _network(value: str | Network) -> Network:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise UsageError(f"lan {value}: {error}") from None
