"""Rules of others that would fight with ours: they change mark bits or send to our queues."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from classifier.host.iptables.programs import IPTABLES, Variant
from classifier.host.iptables.ruleset import QUEUE_TARGET, Ruleset, is_ours, target, unquoted
from classifier.policy import Policy

_SETS_MARK = re.compile(
    r"-j (MARK|CONNMARK) --set-xmark 0x([0-9a-f]+)/0x([0-9a-f]+)"
    r"|-j (TPROXY) .*--tproxy-mark 0x([0-9a-f]+)/0x([0-9a-f]+)"
)
_INTERESTING = ("MARK ", "-mark ", "NFQUEUE")


def conflicts(variant: Variant, ruleset: Ruleset, policy: Policy) -> Iterator[str]:
    """One line for every foreign rule that changes bits of ours or sends to a queue of ours."""
    program = f"{IPTABLES[ruleset.family]}-{variant}"
    clearing = frozenset(_where_clearing_hurts(ruleset.tables.get("mangle", {})))
    for table, chain, rule in ruleset.foreign():
        # Most rules of a large firewall are neither; this is quicker than to read them all.
        if not any(word in rule for word in _INTERESTING):
            continue
        words = unquoted(rule)
        what = f'{program} -t {table} rule "-A {chain} {printable(rule)}"'
        if trouble := _mark(words, policy.gateway.mask, (chain, rule) in clearing):
            yield f"{what} {trouble}; change it, or gateway.mask (0x{policy.gateway.mask:x})"
        if trouble := _queue(words, policy):
            yield f"{what} {trouble}; change it, or queue.first"


def _mark(rule: str, ours: int, clearing_hurts: bool) -> str:
    match = _SETS_MARK.search(rule)
    if not match:
        return ""
    kind, *texts = (group for group in match.groups() if group is not None)
    value, mask = (int(text, 16) & ours for text in texts)
    if value:
        return f"sets mark bits 0x{value:x} that are ours"
    if mask and (kind == "CONNMARK" or clearing_hurts):
        return f"clears mark bits 0x{mask:x} that are ours"
    return ""


def _where_clearing_hurts(mangle: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Chain and rule of what a packet meets between our decision and our saving of its mark."""
    for hook in ("PREROUTING", "OUTPUT"):
        rules = mangle.get(hook, ())
        yield from _reached(mangle, hook, rules[_our_jump(rules) :])
    yield from _reached(mangle, "FORWARD", mangle.get("FORWARD", ()))
    rules = mangle.get("POSTROUTING", ())
    yield from _reached(mangle, "POSTROUTING", rules[: _our_jump(rules)])


def _our_jump(rules: Sequence[str]) -> int:
    """The place of our jump; it will be the last one where it is not there yet."""
    places = (i for i, rule in enumerate(rules) if is_ours(target(rule) or ""))
    return next(places, len(rules))


def _reached(
    mangle: Mapping[str, Sequence[str]], chain: str, rules: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """These rules of a chain, and all rules of the foreign chains that they lead to."""
    waiting, seen = [(chain, rules)], {chain}
    while waiting:
        name, met = waiting.pop()
        for rule in met:
            yield name, rule
            aim = target(rule) or ""
            if aim in mangle and aim not in seen and not is_ours(aim):
                seen.add(aim)
                waiting.append((aim, mangle[aim]))


def _queue(rule: str, policy: Policy) -> str:
    match = QUEUE_TARGET.search(rule)
    if not match:
        return ""
    first, last = int(match[1]), int(match[2] or match[1])
    numbers = [number for number in policy.queue.numbers if first <= number <= last]
    return f"sends packets to queue {numbers[0]}, which is ours" if numbers else ""


def printable(rule: str) -> str:
    """The rule with bytes that are not UTF-8 written as escapes."""
    return rule.encode(errors="surrogateescape").decode(errors="backslashreplace")
