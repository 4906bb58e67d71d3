"""A configuration with mistakes changes nothing on the host and names every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from host_snapshots import snapshot

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

THIRTY_MISTAKES = """\
[gateway]
lan = ["eth2", "eth2"]
local = "yes"
mask = 0x1010
firewall = "pf"
helpers = ["telnet"]
speed = 1
[queue]
first = -1
count = 0
length = 0
backend = "fast"
overload = "panic"
[uplinks.direct]
interface = "eth5"
[uplinks.wired]
interface = "an-interface-name-too-long"
gateway = "192.168.1.300"
weight = 0
masquerade = 1
[uplinks.wifi1]
gateway6 = "192.168.1.1"
[uplinks.lte]
interface = "eth2"
[balancers.all]
method = "random"
uplinks = ["wired", "nowhere"]
sticky = { by = "colour", timeout = "soon", prefix4 = 40 }
fallback = "elsewhere"
[[rules]]
name = "one"
to = ["192.168.1.1/16"]
protocol = "tcpp"
to_ports = [0x20000, "9-1"]
family = "ipv5"
use = "nothing"
[[rules]]
name = "one"
dscp = 64
user = "nobody-by-this-name"
strict = true
use = "all"
"""


# Line in the text above, key and value, a word of the rule that was broken.
NAMED = [
    (2, 'gateway.lan[2] = "eth2"', "twice"),
    (3, 'gateway.local = "yes"', "true or false"),
    (4, "gateway.mask = 0x1010", "bits"),
    (5, 'gateway.firewall = "pf"', "iptables"),
    (6, 'gateway.helpers[1] = "telnet"', "ftp"),
    (7, "gateway.speed = 1", "unknown"),
    (9, "queue.first = -1", "65535"),
    (10, "queue.count = 0", "64"),
    (11, "queue.length = 0", "1048576"),
    (12, 'queue.backend = "fast"', "native"),
    (13, 'queue.overload = "panic"', "drop"),
    (14, "uplinks.direct", "reserved"),
    (17, 'uplinks.wired.interface = "an-interface-name-too-long"', "15 characters"),
    (18, 'uplinks.wired.gateway = "192.168.1.300"', "IPv4"),
    (19, "uplinks.wired.weight = 0", "65535"),
    (20, "uplinks.wired.masquerade = 1", "true or false"),
    (21, "uplinks.wifi1.interface", "required"),
    (22, 'uplinks.wifi1.gateway6 = "192.168.1.1"', "IPv6"),
    (24, 'uplinks.lte.interface = "eth2"', "own"),
    (26, 'balancers.all.method = "random"', "nth"),
    (27, 'balancers.all.uplinks[2] = "nowhere"', "uplink"),
    (28, 'balancers.all.sticky.by = "colour"', "remote"),
    (28, 'balancers.all.sticky.timeout = "soon"', "90s"),
    (28, "balancers.all.sticky.prefix4 = 40", "32"),
    (29, 'balancers.all.fallback = "elsewhere"', "direct"),
    (32, 'rules[1].to[1] = "192.168.1.1/16"', "192.168.0.0/16"),
    (33, 'rules[1].protocol = "tcpp"', "tcp"),
    (34, "rules[1].to_ports[1] = 0x20000", "6660-6669"),
    (34, 'rules[1].to_ports[2] = "9-1"', "1-9"),
    (35, 'rules[1].family = "ipv5"', "ipv6"),
    (36, 'rules[1].use = "nothing"', "direct"),
    (38, 'rules[2].name = "one"', "another"),
    (39, "rules[2].dscp = 64", "63"),
    (40, 'rules[2].user = "nobody-by-this-name"', "user"),
    (41, "rules[2].strict = true", "strict"),
]


@pytest.mark.parametrize("command", ["check", "plan", "run"])
def test_thirty_mistakes_are_all_named_and_nothing_is_changed(
    lab: StartLab, configuration: Configuration, command: str
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    gateway.service.config.write_text(THIRTY_MISTAKES)
    before = snapshot(gateway.gateway)
    done = gateway.service.command(command, str(gateway.service.config), check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    said = done.stderr.splitlines()
    for line, key, rule in NAMED:
        start = f"line {line}: {key}: "
        assert any(start in one and rule in one.split(start)[1] for one in said), f"not said: {key}"
    assert len(said) == len(NAMED) >= 30, "one that is none, or one told twice"
    assert not gateway.service.state_dir.exists()
    assert snapshot(gateway.gateway) == before


def test_a_file_full_of_mistakes_keeps_nobody_from_removing_what_is_ours(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    before = snapshot(gateway.gateway)
    gateway.start_service()
    gateway.service.kill()
    gateway.service.config.write_text(THIRTY_MISTAKES)
    for arguments in ([str(gateway.service.config)], []):
        assert gateway.service.command("down", *arguments, check=False).returncode == 0
        assert snapshot(gateway.gateway) == before
