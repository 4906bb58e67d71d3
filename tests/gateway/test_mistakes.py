"""A configuration with mistakes changes nothing on the host and names every one of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from host_snapshots import snapshot

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

# line in the text below, key, a word of the rule that was broken
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


@pytest.mark.parametrize("command", ["check", "plan", "run", "down"])
def test_thirty_mistakes_are_all_named_and_nothing_is_changed(
    lab: StartLab, configuration: Configuration, command: str
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    gateway.service.config.write_text(THIRTY_MISTAKES)
    before = snapshot(gateway.gateway)
    done = gateway.service.command(command, str(gateway.service.config), check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    named = done.stderr.splitlines()
    assert len(named) >= 30
    for number, line in enumerate(THIRTY_MISTAKES.splitlines(), 1):
        if "=" in line and not line.startswith(('name = "one"', 'interface = "eth5', 'use = "all')):
            assert any(f"line {number}:" in said for said in named), f"not named: {line}"
    assert snapshot(gateway.gateway) == before


def test_an_interface_that_is_not_there_stops_the_start_before_any_change(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(configuration({"wired": 1, "wifi1": 1}), service=False)
    gateway.gateway.run(["ip", "link", "set", "eth1", "down"])
    gateway.gateway.run(["ip", "link", "set", "eth1", "name", "eth7"])
    before = snapshot(gateway.gateway)
    directory = str(gateway.service.config.parent)
    options = ["--runtime-dir", f"{directory}/run", "--state-dir", f"{directory}/state"]
    done = gateway.service.command("run", str(gateway.service.config), *options, check=False)
    assert done.returncode == 1
    assert "eth1" in done.stderr
    assert snapshot(gateway.gateway) == before
