"""`explain FILE FLOW`: what a policy decides about a flow, and why.

A fresh engine is asked, with every uplink up and nothing remembered; what a running service would
decide also depends on what it has seen.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator

from classifier.commands.flow import FORM, Flow, first_packet, parse_flow
from classifier.config import load_policy
from classifier.engine.classifier import Classifier
from classifier.engine.decision import Decision
from classifier.policy import Policy

HELP = "say which rule, balancer and uplink a flow would get, and why"

_WHY = {
    "pinned": "the rule names this uplink",
    "nth": "the balancer takes turns by weight; this is what the first flow gets",
    "weighted": "the balancer draws by weight, another --seed otherwise",
    "hash": "the balancer hashes the address, another --seed otherwise",
    "fallback": "no uplink of the balancer can take the flow",
    "drop": "the flow is dropped",
    "direct": "left to the main routing table",
    "malformed": "the packet makes no sense and is left alone",
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the configuration, in TOML")
    parser.add_argument("flow", metavar="FLOW", help=FORM)
    parser.add_argument("--json", action="store_true", help="print the decision as JSON")


def run(options: argparse.Namespace) -> int:
    policy = load_policy(options.file)
    flow = parse_flow(options.flow)
    # Without a seed the same question shall still get the same answer.
    classifier = Classifier(policy, seed=options.seed or 0)
    decision = classifier.classify(first_packet(flow), 0.0, flow.in_interface, flow.user)
    explanation = _explain(policy, flow, decision)
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
    """The balancer that the rule uses, also where its fallback decided."""
    uplink: str | None
    reason: str
    mark: int
    why: str
    notes: tuple[str, ...]


def _explain(policy: Policy, flow: Flow, decision: Decision) -> Explanation:
    rule = next((rule for rule in policy.rules if rule.name == decision.rule), None)
    balancer = next((b for b in policy.balancers if rule is not None and b.name == rule.use), None)
    why = "no rule takes it, so the main routing table decides" if rule is None else ""
    return Explanation(
        flow=str(flow),
        rule=decision.rule,
        balancer=balancer.name if balancer else None,
        uplink=decision.uplink,
        reason=decision.reason,
        mark=decision.mark,
        why=why if decision.reason == "direct" and why else _WHY[decision.reason],
        notes=tuple(_notes(policy, flow)),
    )


def _notes(policy: Policy, flow: Flow) -> Iterator[str]:
    """What happens to such a flow before or instead of being classified."""
    if flow.in_interface is None:
        if not policy.gateway.local:
            yield "the gateway's own flows are not classified, as gateway.local is false"
        return
    for uplink in policy.uplinks:
        if uplink.interface == flow.in_interface:
            yield f'a flow that comes in on uplink "{uplink.name}" gets its mark unasked'
            return
    if flow.in_interface not in policy.gateway.lan:
        yield f"flows from {flow.in_interface} are not classified, as it is not in gateway.lan"


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
    return "".join(f"{title:<10}{text}\n" for title, text in lines)
