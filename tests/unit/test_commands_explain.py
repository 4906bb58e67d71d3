"""`explain` says what the engine decides, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from classifier.commands import main
from classifier.config import load_policy
from classifier.engine.classifier import Classifier
from classifier.service.explain.flow import first_packet, parse_flow

CONFIG = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
gateway6 = "auto"
[uplinks.wifi]
interface = "eth1"
[balancers.turns]
uplinks = ["wifi", "wired"]
[balancers.hashed]
method = "hash"
uplinks = ["wifi", "wired"]
[balancers.four]
uplinks = ["wifi"]
fallback = "wired"
[[rules]]
name = "home"
to = "10.0.0.0/8"
use = "direct"
[[rules]]
name = "web"
protocol = "tcp"
to_ports = 443
use = "wired"
[[rules]]
name = "voice"
dscp = "ef"
use = "four"
[[rules]]
name = "telnet"
to_ports = 23
use = "drop"
[[rules]]
name = "of root"
user = 0
use = "wifi"
[[rules]]
name = "names"
to_ports = 53
use = "hashed"
[[rules]]
name = "tcp"
protocol = "tcp"
use = "turns"
"""


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG)
    return str(file)


def explained(
    config: str, flow: str, capsys: pytest.CaptureFixture[str], *more: str
) -> dict[str, Any]:
    assert main(["explain", config, flow, "--json", *more]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return said


@pytest.mark.parametrize(
    ("flow", "rule", "balancer", "uplink", "reason", "mark"),
    [
        ("tcp 192.168.1.5:40000 > 203.0.113.9:443 in lan0", "web", None, "wired", "pinned", 0x100),
        ("tcp 192.168.1.5:40000 > 10.0.0.9:443 in lan0", "home", None, None, "direct", 0x3F00),
        ("udp 192.168.1.5:4 > 192.0.2.1:443 in lan0", None, None, None, "direct", 0x3F00),
        ("tcp 192.168.1.5:4 > 192.0.2.1:80 in lan0", "tcp", "turns", "wifi", "nth", 0x200),
        ("udp 192.168.1.5:4 > 192.0.2.1:23 in lan0", "telnet", None, None, "drop", 0),
        ("icmp 192.0.2.1 > 192.0.2.2 dscp 46", "voice", "four", "wifi", "nth", 0x200),
        ("icmpv6 fd00::1 > 2001:db8::2 dscp ef", "voice", "four", "wired", "fallback", 0x100),
        ("gre 192.0.2.1 > 192.0.2.2 user root", "of root", None, "wifi", "pinned", 0x200),
    ],
)
def test_a_flow_is_explained_by_what_the_engine_decides(
    config: str,
    capsys: pytest.CaptureFixture[str],
    flow: str,
    rule: str | None,
    balancer: str | None,
    uplink: str | None,
    reason: str,
    mark: int,
) -> None:
    said = explained(config, flow, capsys)
    assert (said["rule"], said["balancer"], said["uplink"]) == (rule, balancer, uplink)
    assert (said["reason"], said["mark"]) == (reason, mark)
    assert said["why"]


@pytest.mark.parametrize("incoming", ["", " in lan0"])
@pytest.mark.parametrize(
    ("flow", "kind"),
    [
        ("udp 192.168.1.5:4 > 224.0.0.251:53", "multicast"),
        ("udp [fd00::5]:4 > [ff02::fb]:53", "multicast"),
        ("udp 192.168.1.5:4 > 255.255.255.255:53", "broadcast"),
        ("udp 192.168.1.5:4 > 0.0.0.0:53", "broadcast"),
        ("udp 192.168.1.5:4 > 127.0.0.53:53", "loopback"),
        ("udp [fd00::5]:4 > [::1]:53", "loopback"),
    ],
)
def test_what_the_gateway_leaves_alone_gets_no_uplink(
    config: str, capsys: pytest.CaptureFixture[str], flow: str, kind: str, incoming: str
) -> None:
    said = explained(config, flow + incoming, capsys)
    assert (said["uplink"], said["rule"], said["reason"], said["mark"]) == (None, None, "direct", 0)
    assert f"flows to {kind} addresses are not classified" in said["why"]


def test_the_words_for_people(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", config, "tcp [fd00::5]:4 > [2001:db8::9]:443 in lan0"]) == 0
    assert capsys.readouterr().out == (
        "flow      tcp [fd00::5]:4 > [2001:db8::9]:443 in lan0\n"
        "not       home: to 2001:db8::9 is not in 10.0.0.0/8\n"
        "rule      web\n"
        "balancer  none\n"
        "uplink    wired\n"
        "reason    pinned: the rule names this uplink\n"
        "mark      0x100, table 20801\n"
    )


@pytest.mark.parametrize(
    ("incoming", "local", "mark", "why"),
    [
        (" in eth1", "true", 0x200, 'comes in on uplink "wifi" is not classified'),
        (" in br7", "true", 0, "not classified, because it is not in gateway.lan"),
        ("", "false", 0, "not classified, because gateway.local is false"),
        (" user root", "false", 0, "not classified, because gateway.local is false"),
    ],
)
def test_a_flow_that_never_reaches_the_classifier_gets_no_uplink(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    incoming: str,
    local: str,
    mark: int,
    why: str,
) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONFIG.replace('["lan0"]', f'["lan0"]\nlocal = {local}'))
    said = explained(str(file), f"tcp 192.0.2.1:4 > 192.0.2.2:443{incoming}", capsys)
    assert (said["rule"], said["balancer"], said["uplink"]) == (None, None, None)
    assert (said["reason"], said["mark"]) == ("direct", mark)
    assert why in said["why"]
    assert main(["explain", str(file), f"tcp 192.0.2.1:4 > 192.0.2.2:443{incoming}"]) == 0
    text = capsys.readouterr().out
    assert "uplink    none\n" in text
    assert why in " ".join(text.split())


def test_a_flow_without_an_interface_is_said_to_be_taken_as_locally_originated(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flow = "tcp 192.168.1.5:4 > 192.0.2.2:443"
    assert explained(config, flow, capsys)["notes"] == [
        'taken as a locally originated flow; for a flow from the LAN add "in lan0"'
    ]
    assert explained(config, flow, capsys)["uplink"] == "wired"
    for more in (" in lan0", " user root"):
        assert explained(config, flow + more, capsys)["notes"] == []


def test_the_seed_decides_a_hash_and_the_same_seed_decides_alike(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def uplinks(seed: int) -> list[str]:
        flows = [f"udp 192.168.1.5:4 > 192.0.2.{i}:53 in lan0" for i in range(20)]
        return [explained(config, f, capsys, "--seed", str(seed))["uplink"] for f in flows]

    assert uplinks(7) == uplinks(7)
    assert uplinks(7) != uplinks(8)
    assert set(uplinks(7)) == {"wired", "wifi"}


@pytest.mark.parametrize("addresses", [("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")])
def test_no_protocol_makes_a_packet_that_the_engine_cannot_read(
    config: str, addresses: tuple[str, str]
) -> None:
    classifier = Classifier(load_policy(config), seed=1)
    extension_headers = {0, 43, 44, 51, 60, 135, 139, 140} if ":" in addresses[0] else set()
    for protocol in set(range(256)) - extension_headers:
        source, destination = addresses
        if protocol in (6, 17, 33, 132, 136):
            source, destination = f"[{source}]:1", f"[{destination}]:443"
        flow = parse_flow(f"{protocol} {source} > {destination}")
        decision = classifier.classify(first_packet(flow), 0.0)
        assert decision.reason != "malformed", protocol
        assert (decision.rule == "web") == (protocol == 6)


def test_a_flow_that_cannot_be_read_exits_2(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", config, "tcp to somewhere"]) == 2
    assert "the form is PROTOCOL SOURCE" in capsys.readouterr().err
