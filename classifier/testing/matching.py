"""Which flows an assertion is about."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import TypedDict, TypeGuard, Unpack

from classifier.config.names import PROTOCOL_NAMES, protocol_name
from classifier.errors import UsageError
from classifier.policy import DIRECT, DROP, Policy
from classifier.replay import FlowDecision
from classifier.replay.reasons import REASONS

Ports = int | tuple[int, int] | range
"""One, or the first and the last of a range, both included (of a `range`, as Python has it)."""


class FlowMatch(TypedDict, total=False):
    """What a flow has to be; all that is given has to hold."""

    uplink: str
    """Where it goes: an uplink, `direct` or `drop`."""
    rule: str
    reason: str
    protocol: str | int
    """A name such as tcp, or a number."""
    src: str
    """An address or a network."""
    dst: str
    sport: Ports
    dport: Ports


_LAST_PORT = 65535

Test = Callable[[FlowDecision, str], bool]
"""Of a flow, and where it goes."""


def matcher(policy: Policy, **match: Unpack[FlowMatch]) -> Test:
    """Raises UsageError for what no flow of the policy can be: a name that it does not have, say,
    would make an assertion hold that says nothing."""
    unknown = match.keys() - FlowMatch.__annotations__.keys()
    if unknown:
        names = ", ".join(FlowMatch.__annotations__)
        raise UsageError(f"{min(unknown)}: is nothing that flows are told apart by ({names})")
    ways = [*(uplink.name for uplink in policy.uplinks), DIRECT, DROP]
    tests: list[Test] = []
    if "uplink" in match:
        wanted = _one_of("uplink", match["uplink"], ways)
        tests.append(lambda _, way: way == wanted)
    if "rule" in match:
        rule = _one_of("rule", match["rule"], [rule.name for rule in policy.rules])
        tests.append(lambda flow, _: flow.rule == rule)
    if "reason" in match:
        reason = _one_of("reason", match["reason"], list(REASONS))
        tests.append(lambda flow, _: flow.reason == reason)
    if "protocol" in match:
        protocol = _protocol(match["protocol"])
        tests.append(lambda flow, _: flow.protocol == protocol)
    if "src" in match:
        tests.append(_address("src", match["src"]))
    if "dst" in match:
        tests.append(_address("dst", match["dst"]))
    if "sport" in match:
        sources = _ports("sport", match["sport"])
        tests.append(lambda flow, _: flow.sport is not None and flow.sport in sources)
    if "dport" in match:
        targets = _ports("dport", match["dport"])
        tests.append(lambda flow, _: flow.dport is not None and flow.dport in targets)
    return lambda flow, way: all(test(flow, way) for test in tests)


def match_text(match: FlowMatch) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in match.items()) or "all"


def _one_of(key: str, value: object, known: list[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise UsageError(f"{key} = {value!r}: must be one of {', '.join(known)}")
    return value


def _protocol(value: object) -> str:
    number = PROTOCOL_NAMES.get(value) if isinstance(value, str) else value
    if number is None and isinstance(value, str) and value.isascii() and value.isdigit():
        number = int(value)
    if not _is_number(number, 255):
        raise UsageError(
            f"protocol = {value!r}: must be a name such as tcp, or a number from 0 to 255"
        )
    return protocol_name(number)


def _address(end: str, value: object) -> Test:
    try:
        if not isinstance(value, str):
            raise ValueError("must be an address or a network as text")
        network = ip_network(value)
    except ValueError as error:
        raise UsageError(f"{end} = {value!r}: {error}") from None
    return lambda flow, _: ip_address(flow.src if end == "src" else flow.dst) in network


def _ports(key: str, value: object) -> range:
    first = last = value
    if isinstance(value, tuple) and len(value) == 2:
        first, last = value
    elif isinstance(value, range) and value:
        first, last = min(value), max(value)
    if not _is_number(first, _LAST_PORT) or not _is_number(last, _LAST_PORT) or first > last:
        raise UsageError(
            f"{key} = {value!r}: must be a port from 0 to {_LAST_PORT}, or the first and the last"
            " of a range, such as (1000, 2000)"
        )
    return value if isinstance(value, range) else range(first, last + 1)


def _is_number(value: object, last: int) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= last
