"""The running service says what it would do with a flow, and does just that when the flow comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
STICKY = 'sticky = { by = "remote", timeout = "1h" }'
RULES = '[[rules]]\nname = "mail"\nprotocol = "tcp"\nto_ports = 25\nuse = "direct"'


def asked(gateway: Lab, flow: FiveTuple) -> dict[str, Any]:
    words = f"tcp {flow.src}:{flow.sport} > {flow.dst}:{flow.dport} in lan0"
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    said = gateway.service.command("explain", "--live", words, "--json", *where).stdout
    answer: dict[str, Any] = json.loads(said)
    return answer


def counted(gateway: Lab) -> object:
    status = gateway.status()
    return [status[key] for key in ("rules", "queue", "sticky", "direct")], [
        uplink["flows"] for uplink in status["uplinks"].values()
    ]


def test_the_answer_is_what_happens_then_and_asking_changes_nothing(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, balancer=STICKY, rules=RULES))
    gateway.connect(gateway.flows(3, "tcp", 8080))
    (fresh,) = gateway.flows(1, "tcp", 8080, to="198.18.7.7")
    before = counted(gateway)
    answers = [asked(gateway, fresh) for _ in range(3)]
    assert counted(gateway) == before
    assert answers[0] == answers[1] == answers[2]
    (answer, *_) = answers
    assert (answer["reason"], answer["method"], answer["sticky"]) == ("nth", "nth", None)
    assert answer["way"] == [
        {"rule": "mail", "takes": False, "why": "to_ports 8080 is not in 25"},
        {"rule": "the rest", "takes": True, "why": "everything matches: use all"},
    ]
    taken = gateway.connect([fresh])[fresh]
    assert taken == answer["uplink"]
    uplink = gateway.status()["uplinks"][taken]
    assert (answer["mark"], answer["table"]) == (uplink["mark"], uplink["table"])
    interface = {"wired": "eth0", "wifi1": "eth1"}[taken]
    assert f" dev {interface} table {uplink['table']} " in answer["route"]
    (again,) = gateway.flows(1, "tcp", 8080, to="198.18.7.7")
    known = asked(gateway, again)
    assert (known["uplink"], known["reason"]) == (taken, "sticky")
    assert 3500 < known["sticky"] <= 3600
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    gateway.service.command("uplink", str(taken), "drain", *where)
    other = asked(gateway, again)
    assert (other["uplink"], other["sticky"]) == (({*WEIGHTS} - {taken}).pop(), None)
    wrong = gateway.service.command("explain", "--live", "nonsense", *where, check=False)
    assert wrong.returncode == 2
    assert 'cannot read the flow "nonsense"' in wrong.stderr


def test_what_is_drawn_when_the_flow_comes_is_not_foretold(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS, method="weighted"))
    answer = asked(gateway, gateway.flows(1, "tcp", 8080)[0])
    assert (answer["uplink"], answer["reason"], answer["mark"]) == (None, "weighted", 0)
    assert "is not known before" in answer["why"]
