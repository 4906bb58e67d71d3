"""Reload: a new policy for a gateway that carries traffic, taken whole or not at all."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from host_service import eventually
from host_snapshots import snapshot

from classifier.service.control.client import ask

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.flows import FiveTuple
    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
FLOWS_PER_SECOND = 2000
RELOADS = 50


def reload(gateway: Lab, text: str | None = None) -> None:
    """The service takes `text` for its file, or its file as it is, and says so."""
    if text is not None:
        gateway.service.config.write_text(text)
    gateway.service.command("reload", "--runtime-dir", str(gateway.service.runtime_dir))


def shares(gateway: Lab, count: int) -> dict[str, int]:
    taken = list(gateway.connect(gateway.flows(count, "tcp", 8080)).values())
    assert None not in taken
    return {str(name): taken.count(name) for name in sorted(map(str, set(taken)))}


def marks_and_tables(gateway: Lab) -> dict[str, tuple[int, int]]:
    uplinks = gateway.status()["uplinks"]
    return {name: (uplink["mark"], uplink["table"]) for name, uplink in uplinks.items()}


@contextmanager
def new_flows(gateway: Lab) -> Iterator[list[FiveTuple]]:
    """One-way flows, as many a second as a busy LAN begins; all that were sent, at the end."""
    sent: list[FiveTuple] = []
    ended = threading.Event()

    def send() -> None:
        tick = 0.05
        while not ended.wait(tick):
            flows = gateway.flows(round(FLOWS_PER_SECOND * tick), "udp", 5000)
            gateway.send(flows)
            sent.extend(flows)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield sent
    finally:
        ended.set()
        sender.join()


def test_new_weights_hold_from_the_reload_on_and_established_flows_stay(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    assert shares(gateway, 20) == {"wifi1": 10, "wired": 10}
    with gateway.open(gateway.flows(1, "tcp", 8080)[0]) as connection:
        reload(gateway, configuration({"wired": 3, "wifi1": 1}))
        assert shares(gateway, 40) == {"wifi1": 10, "wired": 30}
        assert connection.echo() == b"still there?"
    status = gateway.status()
    assert status["reloads"] == 1
    # What was counted before is counted still.
    assert {name: uplink["flows"] for name, uplink in status["uplinks"].items()} == {
        "wired": 10 + 30 + (connection.uplink == "wired"),
        "wifi1": 10 + 10 + (connection.uplink == "wifi1"),
    }
    assert gateway.stop_service() == 0


def test_a_hangup_reloads_too(lab: StartLab, configuration: Configuration) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.service.config.write_text(configuration({"wired": 4, "wifi1": 1}))
    gateway.service.reload()
    eventually(lambda: gateway.status()["reloads"] == 1, "the reload is counted")
    assert shares(gateway, 50) == {"wifi1": 10, "wired": 40}
    gateway.service.config.write_text("nonsense")
    gateway.service.reload()
    refused = "not reloaded, the old policy stays in force"
    eventually(lambda: refused in gateway.service.log.read_text(), "the refusal is logged")
    assert gateway.status()["reloads"] == 1


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ("[surprise]\n", 2, "surprise"),
        (
            "[uplinks.lte]\ninterface = 'eth7'\ngateway = '192.0.2.2'\n",
            1,
            "uplinks.lte.gateway = 192.0.2.2: is an address of this host (eth0)",
        ),
        ("[queue]\nfirst = 3\n", 2, "queue: a change needs a restart"),
        ("[[rules]]\nname = 'own'\nuser = 0\nuse = 'wired'\n", 2, "a change needs a restart"),
    ],
    ids=["mistakes", "refused by the host", "queue", "user"],
)
def test_a_file_that_cannot_be_taken_changes_nothing(
    lab: StartLab, configuration: Configuration, change: str, code: int, said: str
) -> None:
    text = configuration(WEIGHTS)
    gateway = lab(text)
    before, numbers = snapshot(gateway.gateway), marks_and_tables(gateway)
    gateway.service.config.write_text(f"{text}\n{change}")
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    done = gateway.service.command("reload", *where, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert snapshot(gateway.gateway) == before
    assert marks_and_tables(gateway) == numbers
    assert gateway.status()["reloads"] == 0
    assert shares(gateway, 20) == {"wifi1": 10, "wired": 10}


def test_an_uplink_in_the_middle_of_the_file_changes_no_other_s_mark_and_may_go_again(
    lab: StartLab, configuration: Configuration
) -> None:
    three = {"wired": 1, "wifi1": 1, "wifi2": 1}
    gateway = lab(configuration(three), service=False)
    text = configuration(three)
    middle = text[text.index("[uplinks.wifi1]") : text.index("[uplinks.wifi2]")]
    two = text.replace(middle, "").replace('"wifi1", ', "")
    gateway.service.config.write_text(two)
    gateway.start_service()

    before, host = marks_and_tables(gateway), snapshot(gateway.gateway)
    with gateway.open(gateway.flows(1, "tcp", 8080)[0]) as connection:
        reload(gateway, text)
        assert set(marks_and_tables(gateway)) == set(three)
        assert {name: marks_and_tables(gateway)[name] for name in before} == before
        assert shares(gateway, 30) == {"wifi1": 10, "wifi2": 10, "wired": 10}
        reload(gateway, two)
        assert marks_and_tables(gateway) == before
        assert snapshot(gateway.gateway) == host
        assert shares(gateway, 20) == {"wifi2": 10, "wired": 10}
        assert connection.echo() == b"still there?"


def test_sticky_remotes_keep_their_uplink_over_reloads(
    lab: StartLab, configuration: Configuration
) -> None:
    def text(weight: int) -> str:
        return configuration({"wired": weight, "wifi1": 1}, balancer='sticky = "remote"')

    gateway = lab(text(1))
    remotes = [f"198.18.7.{number}" for number in range(1, 41)]
    first = {to: gateway.connect(gateway.flows(1, "tcp", 8080, to=to)) for to in remotes}
    for weight in (5, 9, 1):
        reload(gateway, text(weight))
        for to in remotes:
            again = gateway.connect(gateway.flows(1, "tcp", 8080, to=to))
            assert set(again.values()) == set(first[to].values())
    assert gateway.status()["sticky"]["entries"] >= len(remotes)


def test_a_helper_and_masquerading_that_come_first_with_a_reload_work(
    lab: StartLab, configuration: Configuration
) -> None:
    plain = configuration(WEIGHTS, uplink="masquerade = false")
    gateway = lab(plain)
    gateway.start_ftp()
    reload(gateway, configuration(WEIGHTS, gateway='helpers = ["ftp"]'))
    for number in range(4):
        transfer = gateway.ftp_transfer("198.18.9.9", passive=number % 2 == 0)
        assert transfer.held, transfer
    assert gateway.stop_service() == 0


def test_fifty_reloads_under_load_lose_and_split_no_flow(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS))
    gateway.tap.clear()
    with new_flows(gateway) as sent:
        for number in range(RELOADS):
            reload(gateway, configuration({"wired": 1 + number % 3, "wifi1": 1}))
    gateway.tap.wait_for_packets(len(sent))
    status = gateway.status()
    assert status["reloads"] == RELOADS
    assert len(sent) > 10 * RELOADS, "the load was a load"
    assert (status["queue"]["unclassified"], status["queue"]["dropped"]) == (0, 0)
    assert (status["direct"]["flows"], status["drop"]["flows"]) == (0, 0)
    assert gateway.tap.split_flows() == []
    assert sum(uplink["flows"] for uplink in status["uplinks"].values()) == len(sent)
    assert gateway.stop_service() == 0


def test_status_has_an_answer_at_every_moment_of_a_reload_that_removes_an_uplink(
    lab: StartLab, configuration: Configuration
) -> None:
    three = configuration({**WEIGHTS, "wifi2": 1})
    gateway = lab(three)
    answers: list[dict[str, Any]] = []
    ended = threading.Event()

    def look() -> None:
        while not ended.is_set():
            answers.append(ask(gateway.service.runtime_dir, "GET", "/status", seconds=20))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        for number in range(10):
            text = configuration(WEIGHTS) if number % 2 == 0 else three
            gateway.service.config.write_text(text)
            ask(gateway.service.runtime_dir, "POST", "/reload", seconds=20)
    finally:
        ended.set()
        looking.join()
    found = {tuple(answer["uplinks"]) for answer in answers}
    assert found == {("wired", "wifi1"), ("wired", "wifi1", "wifi2")}
    assert len(answers) > 20
