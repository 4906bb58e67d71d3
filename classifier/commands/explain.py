"""`explain FILE FLOW`: what a policy decides about a flow, and why.

A new engine decides, with every uplink up and no sticky entries; or, with `--state-dir`, one with
all that the service has stored. What a running service decides also depends on the flows since.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time

from classifier.commands.flow import FORM, Flow, first_packet, parse_flow
from classifier.commands.saved_state import SavedState, add_saved_state, saved_state
from classifier.commands.table import paragraph
from classifier.config import load_policy
from classifier.engine.engine import Engine
from classifier.policy import Policy

HELP = "explain which rule, balancer and uplink a flow would get"

_WHY = {
    "pinned": "the rule names this uplink",
    "nth": "weighted round robin; this is what the next flow gets",
    "sticky": "remembered from an earlier flow",
    "weighted": "a random draw by weight; another --seed may draw another uplink",
    "hash": "a hash of the sticky key; another --seed may give another uplink",
    "least-loaded": "the uplink with the most room; nothing is loaded here",
    "overflow": "the first uplink that has room; nothing is loaded here",
    "fastest": "the uplink with the least latency; none is known here, so the weights decide",
    "custom": "the balancer's own method says so",
    "fallback": "no uplink of the balancer can take the flow",
    "drop": "the flow is dropped",
    "direct": "left to the main routing table",
    "malformed": "the packet cannot be parsed and is left alone",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="configuration (TOML)")
    parser.add_argument("flow", metavar="FLOW", help=FORM)
    parser.add_argument("--json", action="store_true", help="print the decision as JSON")
    add_saved_state(parser)


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.file)
    flow = parse_flow(options.flow)
    saved = saved_state(policy, options)
    explanation = _not_classified(saved.policy, flow) or _classified(saved, flow)
    if options.json:
        print(json.dumps(dataclasses.asdict(explanation), indent=2))
    else:
        print(_text(explanation), end="")
    return 0


@dataclasses.dataclass(frozen=True, slots=True)
class Explanation:
    """A decision with what led to it; its fields are the keys of the JSON form."""

    flow: str
    rule: str | None
    balancer: str | None
    """The balancer that the rule uses, also if its fallback decided."""
    uplink: str | None
    reason: str
    mark: int
    why: str
    notes: tuple[str, ...]


def _not_classified(policy: Policy, flow: Flow) -> Explanation | None:
    """The explanation of a flow that never reaches the classifier; None for any other."""
    mark = 0
    if flow.in_interface is None:
        if policy.gateway.local:
            return None
        why = "locally originated flows are not classified, because gateway.local is false"
    elif uplink := next((u for u in policy.uplinks if u.interface == flow.in_interface), None):
        mark = policy.mark(uplink)
        why = (
            f'a flow that comes in on uplink "{uplink.name}" is not classified; the kernel gives it'
            " the mark of that uplink, so that replies leave there"
        )
    elif flow.in_interface in policy.gateway.lan:
        return None
    else:
        why = (
            f"flows from {flow.in_interface} are not classified, because it is not in gateway.lan;"
            " the main routing table decides"
        )
    return Explanation(str(flow), None, None, None, "direct", mark, why, _notes(policy, flow))


def _classified(saved: SavedState, flow: Flow) -> Explanation:
    """What the engine decides; the same question with the same seed gets the same answer."""
    policy = saved.policy
    # Methods of users may go by the time of day; those built in do not.
    now = round(time.time() * 1000)
    engine = saved.engine(saved.seed or 0, now)
    decision = engine.classify(first_packet(flow), now, flow.in_interface, flow.user)
    rule = next((rule for rule in policy.rules if rule.name == decision.rule), None)
    balancer = next((b for b in policy.balancers if rule is not None and b.name == rule.use), None)
    no_rule = decision.reason == "direct" and rule is None
    return Explanation(
        flow=str(flow),
        rule=decision.rule,
        balancer=balancer.name if balancer else None,
        uplink=decision.uplink,
        reason=decision.reason,
        mark=decision.mark,
        why="no rule matches, so the main routing table decides"
        if no_rule
        else _WHY[decision.reason],
        notes=(
            *_notes(policy, flow),
            *(f"uplink {name} is out of use: {why}" for name, why in saved.out_of_use.items()),
            *_failed(engine),
        ),
    )


def _failed(engine: Engine) -> tuple[str, ...]:
    """What went wrong in a method of a user, so that the weights decided."""
    counters = engine.counters().balancers
    return tuple(
        f"the method of balancer {name} failed, so that its weights decide: {balancer.last_error}"
        for name, balancer in counters.items()
        if balancer.errors
    )


def _notes(policy: Policy, flow: Flow) -> tuple[str, ...]:
    """A hint in case the flow was meant to come from the LAN: a policy knows no LAN addresses."""
    if flow.in_interface is not None or flow.user is not None or not policy.gateway.lan:
        return ()
    lan = " or ".join(f'"in {interface}"' for interface in policy.gateway.lan)
    return (f"taken as a locally originated flow; for a flow from the LAN add {lan}",)


def _text(explanation: Explanation) -> str:
    lines = [
        ("flow", explanation.flow),
        ("rule", explanation.rule or "none"),
        ("balancer", explanation.balancer or "none"),
        ("uplink", explanation.uplink or "none"),
        ("reason", f"{explanation.reason}: {explanation.why}"),
        ("mark", f"0x{explanation.mark:x}"),
        *(("note", note) for note in explanation.notes),
    ]
    return "".join(paragraph(f"{title:<10}", text) for title, text in lines)
