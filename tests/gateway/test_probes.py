"""Health probes see what a line does, leave by their own uplink, and say what went wrong."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from probe_servers import DNS_PORT, HTTP_PORT, WEB_ADDRESS, all_servers, dns_server, http_server

from classifier.lab.flows import TCP
from classifier.lab.lab import Lab
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace
from classifier.policy import Health, ProbeKind, Target
from classifier.uplinks.health import Answer
from classifier.uplinks.prober import Prober
from classifier.uplinks.probes import ask, probe_of
from classifier.uplinks.probes import http as http_probe
from classifier.uplinks.probes.binding import Binding

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

PROMISED = 5.0
"""Seconds in which a dead line is seen with the defaults."""
DEADLINE = 30.0
HOST, HOST6 = "203.0.113.9", "2001:db8:9::9"
"""The target, behind every uplink."""
TCP_PORT = 8080
KINDS: tuple[ProbeKind, ...] = ("icmp", "tcp", "dns", "http")
PROBES = [(kind, host) for kind in KINDS for host in (HOST, HOST6)]


def target(kind: ProbeKind, host: str, name: str = ".", path: str = "") -> Target:
    port = {"icmp": 0, "tcp": TCP_PORT, "dns": DNS_PORT, "http": HTTP_PORT}[kind]
    text = f"http://[{host}]/{path}" if ":" in host else f"http://{host}/{path}"
    return Target(text if kind == "http" else host, host, port, name)


def binding(gateway: Lab, name: str) -> Binding:
    uplink = gateway.policy.uplink(name)
    return Binding(uplink.interface, gateway.policy.mark(uplink))


def answer_of(
    gateway: Lab, kind: ProbeKind, asked: Target, by: Binding, timeout: float = 10.0
) -> Answer:
    with gateway.gateway.enter():
        return asyncio.run(ask(probe_of(kind), asked, by, scaled(timeout)))


@contextmanager
def black_hole(internet: Namespace) -> Iterator[None]:
    """Behind the ISP's router all is lost, while the carrier and the router stay."""
    rules = [("iptables", HOST), ("ip6tables", HOST6)]

    def change(action: str) -> None:
        for program, host in rules:
            drop = ["-t", "raw", action, "PREROUTING", "-d", host, "-j", "DROP"]
            internet.run([program, "-w", *drop])

    change("-I")
    try:
        yield
    finally:
        change("-D")


@pytest.fixture
def gateway(lab: StartLab, configuration: Configuration) -> Iterator[Lab]:
    """Main's default uplink is `wired`; the servers are behind both uplinks."""
    gateway = lab(
        configuration(
            {"wired": 1, "wifi1": 1},
            uplink='gateway6 = "auto"',
            more='[queue]\noverload = "drop"',
        )
    )
    for version in (4, 6):
        gateway.serve(TCP, TCP_PORT, version)
    addresses = (HOST, HOST6)
    with ExitStack() as undo:
        for internet in gateway.isps.values():
            undo.enter_context(all_servers(internet, addresses))
        yield gateway


async def until(holds: Callable[[], bool], seconds: float) -> None:
    async with asyncio.timeout(scaled(seconds)):
        while not holds():
            await asyncio.sleep(0.01)


def test_each_kind_sees_a_black_hole_within_the_promised_time_and_the_return(gateway: Lab) -> None:
    probers = {
        (kind, host): Prober(
            "wifi1",
            # As by default, except that it comes back sooner.
            Health(kind, (target(kind, host),), up=2, window=5),
            binding(gateway, "wifi1"),
            lambda *_: None,
        )
        for kind, host in PROBES
    }

    def all_are(good: bool) -> bool:
        return all(
            prober.verdict(6 if ":" in host else 4).good == good
            for (_, host), prober in probers.items()
        )

    async def story() -> None:
        tasks = [asyncio.create_task(prober.run()) for prober in probers.values()]
        answered = {
            key: lambda prober=prober: any(a.seconds for a in prober.answers.values())
            for key, prober in probers.items()
        }
        await until(lambda: all(holds() for holds in answered.values()), DEADLINE)
        assert all_are(True)
        with black_hole(gateway.isps["wifi1"]):
            await until(lambda: all_are(False), PROMISED)
            for prober in probers.values():
                (answer,) = prober.answers.values()
                assert answer.failure == "no answer within 1s"
        await until(lambda: all_are(True), DEADLINE)
        for task in tasks:
            task.cancel()

    run_in(gateway.gateway, story())


def run_in(namespace: Namespace, story: Coroutine[Any, Any, None]) -> None:
    with namespace.enter():
        asyncio.run(story)


@pytest.mark.parametrize(("dead", "alive"), [("wired", "wifi1"), ("wifi1", "wired")])
def test_a_probe_leaves_by_its_own_uplink_main_s_default_or_not(
    gateway: Lab, dead: str, alive: str
) -> None:
    with black_hole(gateway.isps[dead]):
        for kind, host in PROBES:
            asked = target(kind, host)
            assert answer_of(gateway, kind, asked, binding(gateway, alive)).seconds is not None
            lost = answer_of(gateway, kind, asked, binding(gateway, dead), 0.3)
            assert lost.failure.startswith("no answer within ")


def test_probes_never_reach_the_queue_so_they_work_without_a_classifier(gateway: Lab) -> None:
    asked = [(kind, target(kind, host)) for kind, host in PROBES]
    by = binding(gateway, "wifi1")
    before = gateway.status()["queue"]["packets"]
    assert all(answer_of(gateway, kind, to, by).seconds for kind, to in asked)
    assert gateway.status()["queue"]["packets"] == before
    gateway.service.kill()
    # With overload = "drop" nothing else of the gateway gets out now.
    with gateway.gateway.enter(), socket.socket() as plain:
        plain.settimeout(0.3)
        with pytest.raises(TimeoutError):
            plain.connect((HOST, TCP_PORT))
    assert all(answer_of(gateway, kind, to, by).seconds for kind, to in asked)


def test_a_connection_of_a_probe_has_the_mark_of_its_uplink(gateway: Lab) -> None:
    by = binding(gateway, "wifi1")
    for kind in KINDS:
        assert answer_of(gateway, kind, target(kind, HOST), by).seconds is not None
    marks = [entry.mark for entry in gateway.connections() if entry.dst == HOST]
    assert marks == [by.mark] * len(KINDS)


@pytest.mark.parametrize(
    ("kind", "asked", "failure"),
    [
        ("tcp", Target("x", HOST, 9), "Connection refused"),
        ("dns", target("dns", HOST, "broken"), "the server answers SERVFAIL"),
        ("http", target("http", HOST, path="302"), "HTTP status 302"),
        ("http", target("http", HOST6, path="503"), "HTTP status 503"),
        ("http", Target("http://203.0.113.9:9/", HOST, 9), "Connection refused"),
    ],
)
def test_an_answer_that_does_not_count_is_explained(
    gateway: Lab, kind: ProbeKind, asked: Target, failure: str
) -> None:
    answer = answer_of(gateway, kind, asked, binding(gateway, "wifi1"))
    assert answer.seconds is None and failure in answer.failure


@pytest.mark.parametrize(("kind", "host"), PROBES)
def test_an_uplink_that_is_gone_or_has_no_way_out_is_explained(
    gateway: Lab, kind: ProbeKind, host: str
) -> None:
    asked, by = target(kind, host), binding(gateway, "wifi1")
    answer = answer_of(gateway, kind, asked, Binding("none0", by.mark))
    assert "No such device" in answer.failure
    gateway.gateway.run(["ip", "link", "set", "eth1", "down"])
    answer = answer_of(gateway, kind, asked, by)
    assert "unreachable" in answer.failure or "Network is down" in answer.failure


def test_a_name_that_does_not_exist_is_an_answer(gateway: Lab) -> None:
    by = binding(gateway, "wifi1")
    assert answer_of(gateway, "dns", target("dns", HOST, "none"), by).seconds is not None


def test_the_name_in_a_url_is_looked_up_through_the_uplink(
    gateway: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver 127.0.0.53\nnameserver {HOST}\n")
    monkeypatch.setattr(http_probe, "RESOLV_CONF", str(resolv_conf))
    internet, by = gateway.isps["wifi1"], binding(gateway, "wifi1")
    asked = Target("http://web.example/x", "web.example", HTTP_PORT)
    with black_hole(gateway.isps["wired"]), http_server(internet, WEB_ADDRESS) as paths:
        assert answer_of(gateway, "http", asked, by).seconds is not None
        assert paths == ["/x"]
    # One that is silent comes before those that know.
    resolv_conf.write_text(f"nameserver 203.0.113.99\nnameserver {HOST6}\nnameserver {HOST}\n")
    with http_server(internet, WEB_ADDRESS):
        assert answer_of(gateway, "http", asked, by).seconds is not None
    resolv_conf.write_text("nameserver 203.0.113.99\n")
    assert "no answer within" in answer_of(gateway, "http", asked, by, 0.3).failure
    resolv_conf.write_text("nameserver 127.0.0.53\n")
    answer = answer_of(gateway, "http", asked, by)
    assert "can be asked through an uplink" in answer.failure


def test_probes_that_get_no_answer_leave_nothing_open(
    gateway: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolv_conf = tmp_path / "resolv.conf"
    resolv_conf.write_text(f"nameserver {HOST}\n")
    monkeypatch.setattr(http_probe, "RESOLV_CONF", str(resolv_conf))
    by = binding(gateway, "wifi1")
    named = Target("http://web.example/x", "web.example", HTTP_PORT)
    asked = [(kind, target(kind, host)) for kind, host in PROBES] + [("http", named)]

    async def all_fail() -> None:
        answers = [ask(probe_of(kind), to, by, 0.05) for kind, to in asked for _ in range(5)]
        assert not any(answer.seconds for answer in await asyncio.gather(*answers))
        open_then.append(len(list(Path("/proc/self/fd").iterdir())))
        assert asyncio.all_tasks() == {asyncio.current_task()}

    open_then: list[int] = []
    with black_hole(gateway.isps["wifi1"]), gateway.gateway.enter():
        for _ in range(3):
            asyncio.run(all_fail())
    assert open_then[0] == open_then[1] == open_then[2]


def test_shell_metacharacters_in_targets_are_data(gateway: Lab, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    by, command = binding(gateway, "wifi1"), f"$(touch${{IFS}}{witness})"
    address = "203.0.113.10"
    internet = gateway.isps["wifi1"]
    with http_server(internet, address) as paths, dns_server(internet, address) as names:
        url = Target(f"http://{address}/a;touch%20{witness};`id`", address, HTTP_PORT)
        assert answer_of(gateway, "http", url, by).seconds is not None
        asked = Target(address, address, DNS_PORT, "a;reboot.example")
        assert answer_of(gateway, "dns", asked, by).seconds is not None
        assert paths == [f"/a;touch%20{witness};%60id%60"]
        assert names == ["a\\;reboot.example."]
    answer = answer_of(gateway, "icmp", Target("x", HOST), Binding(command, by.mark))
    assert answer.seconds is None
    assert not witness.exists()
