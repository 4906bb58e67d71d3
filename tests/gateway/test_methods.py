"""Balancing methods of one's own, and by load, in a gateway that carries traffic."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest
from host_service import eventually

from classifier import Classifier
from classifier.config import parse_policy
from classifier.lab.namespace import Namespace
from classifier.service.loads import LoadSampler

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

METHODS = """
import time


class BySourcePort:
    def __init__(self, odd):
        self.odd = odd

    def validate(self, uplinks):
        if self.odd not in uplinks:
            raise ValueError(f"odd = {self.odd!r}: must be an uplink")

    def select(self, flow, uplinks, now):
        assert abs(now - time.time()) < 3600
        assert flow.in_interface == "lan0"
        odd = [uplink for uplink in uplinks if uplink.name == self.odd]
        return odd[0] if flow.sport % 2 else next(u for u in uplinks if u not in odd)


class Unprepared:
    def prepare(self, uplinks, seed):
        raise RuntimeError("not today")

    def select(self, flow, uplinks, now):
        return uplinks[0]


class Failing:
    def select(self, flow, uplinks, now):
        raise RuntimeError("no idea")


class Hanging:
    def select(self, flow, uplinks, now):
        while True:
            time.sleep(0.01)
"""
WEIGHTS = {"wired": 1, "wifi1": 1}


@pytest.fixture(autouse=True)
def methods(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is on PYTHONPATH for the service, and for this process, which reads the file."""
    folder = tmp_path_factory.mktemp("methods")
    (folder / "gateway_methods.py").write_text(METHODS)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def reload(gateway: Lab, text: str, fails: bool = False) -> str:
    gateway.service.config.write_text(text)
    words = ("reload", "--runtime-dir", str(gateway.service.runtime_dir))
    done = gateway.service.command(*words, check=False)
    assert done.returncode == (2 if fails else 0), done.stderr
    return done.stderr


def test_a_method_places_flows_and_what_it_does_wrong_is_told(
    lab: StartLab, configuration: Configuration
) -> None:
    own = configuration(
        WEIGHTS, method="gateway_methods:BySourcePort", balancer='options = { odd = "wifi1" }'
    )
    gateway = lab(own)
    flows = gateway.flows(40, "tcp", 8080)
    for flow, uplink in gateway.connect(flows).items():
        assert uplink == ("wifi1" if flow.sport % 2 else "wired")
    assert gateway.status()["balancers"]["all"] == {
        "method": "gateway_methods:BySourcePort", "entries": 0, "evictions": 0, "errors": 0,
    }  # fmt: skip

    # A mistake in a new file changes nothing.
    refused = reload(gateway, own.replace('"wifi1" }', '"umts" }'), fails=True)
    assert "balancers.all.options = { odd = \"umts\" }: it refuses these: odd = 'umts'" in refused
    (flow,) = gateway.flows(1, "tcp", 8080)
    assert gateway.connect([flow])[flow] == ("wifi1" if flow.sport % 2 else "wired")

    reload(gateway, configuration(WEIGHTS, method="gateway_methods:Failing"))
    taken = gateway.connect(gateway.flows(40, "tcp", 8080))
    assert set(taken.values()) == {"wired", "wifi1"}
    status = gateway.status()
    assert status["balancers"]["all"]["errors"] == 40
    assert any("RuntimeError: no idea (" in warning for warning in status["warnings"])
    # The service looks at what went wrong whenever it looks at the host.
    steer = ("uplink", "wired", "auto", "--runtime-dir", str(gateway.service.runtime_dir))
    gateway.service.command(*steer)
    log = gateway.service.log
    eventually(lambda: "its method failed" in log.read_text(), "the error is in the log")
    assert log.read_text().count("its method failed") == 1

    reload(gateway, configuration(WEIGHTS))
    assert sorted(gateway.connect(gateway.flows(2, "tcp", 8080)).values()) == ["wifi1", "wired"]


def test_a_reload_whose_method_cannot_be_prepared_leaves_no_uplink_behind(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration(WEIGHTS), service=False)
    gateway.service.config.write_text(configuration({"wired": 1}))
    gateway.start_service()
    new = configuration(WEIGHTS, method="gateway_methods:Unprepared")
    assert "RuntimeError: not today" in reload(gateway, new, fails=True)
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    gateway.service.command("uplink", "wired", "up", *where)
    assert list(gateway.status()["uplinks"]) == ["wired"]
    assert set(gateway.connect(gateway.flows(4, "tcp", 8080)).values()) == {"wired"}


def test_a_method_that_hangs_lets_traffic_flow_and_the_service_answer_and_stop(
    lab: StartLab, configuration: Configuration
) -> None:
    text = configuration(
        WEIGHTS, method="gateway_methods:Hanging", more="[queue]\nlength = 4\n"
    )  # fmt: skip
    gateway = lab(text)
    gateway.send(gateway.flows(200, "udp", 5000))
    eventually(lambda: gateway.status()["queue"]["unclassified"] > 100, "flows pass unclassified")
    told = "balancer all: its method has not come back for"
    eventually(lambda: any(told in w for w in gateway.status()["warnings"]), "status tells it")
    began = time.monotonic()
    gateway.service.stop()
    assert time.monotonic() - began < 25
    assert "queue 0: its thread hangs" in gateway.service.log.read_text()
    assert "nfqc" not in gateway.gateway.run(["iptables-save"]).stdout


def test_loads_are_those_of_the_interfaces_and_a_full_uplink_overflows(host: Namespace) -> None:
    policy = parse_policy("""
        [uplinks.first]
        interface = "lo"
        capacity = "1mbit"
        [uplinks.second]
        interface = "eth1"
        capacity = "1mbit"
        [balancers.all]
        method = "overflow"
        uplinks = ["first", "second"]
        [[rules]]
        use = "all"
    """)
    engine = Classifier(policy, seed=1)
    sampler = LoadSampler(engine.engine, lambda uplink: None)
    packet = (
        bytes.fromhex("4500001c000000004011000000000000")
        + bytes(4)
        + bytes.fromhex("0400003500080000")
    )
    host.run(["ip", "link", "set", "lo", "up"])
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sampler.sample()
        assert engine.classify(packet, 0.0).uplink == "first"
        deadline = time.monotonic() + 30
        number = 0
        while True:
            for _ in range(100):
                sender.sendto(bytes(1000), ("127.0.0.1", 9))
            time.sleep(0.01)
            sampler.sample()
            number += 1
            if (
                engine.classify(packet[:12] + number.to_bytes(4) + packet[16:], 0.0).uplink
                == "second"
            ):
                break
            assert time.monotonic() < deadline, "the traffic on lo is not seen"
