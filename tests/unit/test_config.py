"""Good configurations come out as the values they say."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from classifier.config import load_policy, parse_policy
from classifier.errors import ConfigError
from classifier.policy import Balancer, Gateway, Member, Policy, Queue, Rule, Sticky, Uplink

CONTRACT = """
[gateway]
lan = ["eth2"]                 # interfaces whose new flows are classified
local = true                   # the gateway's own new flows too (default true)
mask = 0x3f00                  # mark bits that are ours (default)
firewall = "auto"              # auto | nftables | iptables
helpers = ["ftp"]              # conntrack helpers to assign, so that data connections follow

[queue]                        # all optional
first = 0                      # first NFQUEUE number
count = 1                      # queues, one thread each
length = 8192
backend = "native"             # native | netfilterqueue (the library)
overload = "accept"            # accept | drop

[uplinks.wired]
interface = "eth0"
gateway = "192.168.1.254"
gateway6 = "auto"
weight = 34                    # default 1
masquerade = true              # default
[uplinks.wifi1]
interface = "eth1"
gateway = "172.16.0.1"
weight = 33

[balancers.all]
method = "nth"
uplinks = ["wired", "wifi1"]   # or { wired = 2, wifi1 = 1 }: weights of this balancer
sticky = { by = "remote", timeout = "4h" }
fallback = "direct"            # when no uplink is up: direct | drop | name

[[rules]]
name = "home networks"
to = ["192.168.0.0/16", "10.0.0.0/8"]
use = "direct"
[[rules]]
name = "interactive stays on the wire"
protocol = "tcp"               # name, number or list
to_ports = [21, 22, 80, 443, "6660-6669"]
use = "wired"
[[rules]]
name = "the rest"
use = "all"
"""


def test_the_configuration_of_the_contract_loads_exactly() -> None:
    assert parse_policy(CONTRACT) == Policy(
        gateway=Gateway(lan=("eth2",), local=True, mask=0x3F00, helpers=("ftp",)),
        queue=Queue(),
        uplinks=(
            Uplink("wired", 1, "eth0", "192.168.1.254", "auto", weight=34),
            Uplink("wifi1", 2, "eth1", "172.16.0.1", weight=33),
        ),
        balancers=(
            Balancer(
                "all",
                "nth",
                (Member("wired", 34), Member("wifi1", 33)),
                Sticky(by="remote", timeout=4 * 3600.0),
                "direct",
            ),
        ),
        rules=(
            Rule(
                "home networks",
                "direct",
                to=(ip_network("192.168.0.0/16"), ip_network("10.0.0.0/8")),
            ),
            Rule(
                "interactive stays on the wire",
                "wired",
                protocols=(6,),
                to_ports=((21, 21), (22, 22), (80, 80), (443, 443), (6660, 6669)),
            ),
            Rule("the rest", "all"),
        ),
    )


def test_a_file_is_loaded_like_its_text(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(CONTRACT)
    assert load_policy(file) == load_policy(str(file)) == parse_policy(CONTRACT)


def test_a_file_that_is_not_there_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.toml: cannot be read: No such file"):
        load_policy(tmp_path / "missing.toml")
