"""Running captures through the engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from ipaddress import ip_network

from classifier.engine.engine import Engine
from classifier.errors import UsageError
from classifier.policy import Network, Policy
from classifier.replay.reader import CaptureReader
from classifier.replay.report import Decisions, Report, RuleUse, Use
from classifier.replay.tracker import Tracker

Path = str | os.PathLike[str]

_DIRECT, _DROPPED, _INBOUND = 0, 254, 255


class Replay:
    """Captures that pass, one after the other, through one engine.

    Several captures are one stream: flows go on from one to the next, and time does not go back.
    `keep` is whether the report has every flow and not only the sums; a flow takes some 80 bytes.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        seed: int | None = None,
        lan: Iterable[str | Network] = (),
        in_interface: str | None = None,
        keep: bool = True,
    ) -> None:
        if in_interface is None and len(policy.gateway.lan) == 1:
            in_interface = policy.gateway.lan[0]
        self._policy = policy
        self._tracker = Tracker(
            Engine(policy, int.from_bytes(os.urandom(8)) if seed is None else seed),
            [_network(value) for value in lan],
            in_interface,
            keep,
        )

    def read(self, path: Path, progress: Callable[[int], None] | None = None) -> None:
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
        totals = {uplink.name: log.total(uplink.id) for uplink in self._policy.uplinks}
        placed = sum(flows for flows, _, _ in totals.values())
        uplinks = {
            name: Use(flows, count, size, share=flows / placed if placed else 0.0)
            for name, (flows, count, size) in totals.items()
        }
        direct = Use(*log.total(_DIRECT))
        dropped = Use(*log.total(_DROPPED))
        return Report(
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
    paths: Path | Iterable[Path],
    *,
    seed: int | None = None,
    lan: Iterable[str | Network] = (),
    in_interface: str | None = None,
) -> Report:
    """Run captures (pcap or pcapng, "-" for standard input) through a policy.

    Every new flow is taken for an outbound one, unless `lan` names the networks that are inside.
    `in_interface` is where flows are said to come in: by default the policy's only LAN interface,
    or none if it has several. The same captures with the same seed give the same report.

    Raises `CaptureError` when a capture cannot be read to its end, naming packet and byte.
    """
    run = Replay(policy, seed=seed, lan=lan, in_interface=in_interface)
    for path in [paths] if isinstance(paths, str | os.PathLike) else paths:
        run.read(path)
    return run.report()


def _network(value: str | Network) -> Network:
    if not isinstance(value, str):
        return value
    try:
        return ip_network(value)
    except ValueError as error:
        raise UsageError(f"lan {value}: {error}") from None
