"""Every mistake in a configuration is named, with its line, key, value and the rule it broke."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from classifier.config import load_policy, parse_policy
from classifier.errors import ConfigError, Mistake


def mistakes(text: str) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_policy(text)
    return caught.value.mistakes


# Two good uplinks at the end, so that each case above them has only the mistake it is about.
UPLINKS = """
[uplinks.a]
interface = "eth0"
[uplinks.b]
interface = "eth1"
"""

# Text before UPLINKS, the line of the mistake, its key, its value, a part of the rule.
CASES = {
    "lan of another type": ("[gateway]\nlan = 5", 2, "gateway.lan", "5", "name of an interface"),
    "lan interface too long": (
        '[gateway]\nlan = [\n "eth2",\n "an-interface-too-long"]',
        4, "gateway.lan[2]", '"an-interface-too-long"', "1 to 15 characters",
    ),
    "lan interface as iptables writes several": (
        '[gateway]\nlan = ["eth+"]', 2, "gateway.lan[1]", '"eth+"', "must name one interface",
    ),
    "lan interface of a name that the kernel keeps": (
        '[gateway]\nlan = ["all"]', 2, "gateway.lan[1]", '"all"', "reserved by the kernel",
    ),
    "lan interface with a quote": (
        "[gateway]\nlan = 'e\"0'", 2, "gateway.lan", "'e\"0'", "no space, quote",
    ),
    "lan interface with a slash": (
        '[gateway]\nlan = ["eth/0"]', 2, "gateway.lan[1]", '"eth/0"', '"/" or ":"',
    ),
    "lan interface twice": (
        '[gateway]\nlan = ["br0", "br0"]', 2, "gateway.lan[2]", '"br0"', "listed twice",
    ),
    "local as a number": ("[gateway]\nlocal = 1", 2, "gateway.local", "1", "true or false"),
    "nothing to classify": (
        "[gateway]\nlocal = false", 2, "gateway.local", "false", "no flow would be classified",
    ),
    "mask with a hole": ("[gateway]\nmask = 0x3d00", 2, "gateway.mask", "0x3d00", "contiguous"),
    "mask of two bits": ("[gateway]\nmask = 0x300", 2, "gateway.mask", "0x300", "at least 3"),
    "mask zero": ("[gateway]\nmask = 0", 2, "gateway.mask", "0", "at least 3 contiguous bits"),
    "mask beyond 32 bits": (
        "[gateway]\nmask = 0x700000000", 2, "gateway.mask", "0x700000000", "within 32 bits",
    ),
    "mask as text": ('[gateway]\nmask = "0x3f00"', 2, "gateway.mask", '"0x3f00"', "0x3f00"),
    "mask true": ("[gateway]\nmask = true", 2, "gateway.mask", "true", "at least 3"),
    "nftables": (
        '[gateway]\nfirewall = "nftables"', 2, "gateway.firewall", '"nftables"', "not built yet",
    ),
    "unknown firewall": (
        '[gateway]\nfirewall = "pf"', 2, "gateway.firewall", '"pf"', '"auto" or "iptables"',
    ),
    "unknown helper": (
        '[gateway]\nhelpers = ["ftpd"]', 2, "gateway.helpers[1]", '"ftpd"', "did you mean ftp?",
    ),
    "unknown key with a near one": (
        '[gateway]\nhelper = "ftp"', 2, "gateway.helper", '"ftp"', "did you mean helpers?",
    ),
    "unknown key with none near": ("[gateway]\nzzz = 1", 2, "gateway.zzz", "1", "unknown key"),
    "unknown table": ("[gatway]\nlocal = true", 1, "gatway", "", "did you mean gateway?"),
    "gateway no table": ("gateway = 3", 1, "gateway", "3", "must be a table: [gateway]"),
    "first queue too high": (
        "[queue]\nfirst = 65536", 2, "queue.first", "65536", "from 0 to 65535",
    ),
    "first queue negative": ("[queue]\nfirst = -1", 2, "queue.first", "-1", "from 0 to 65535"),
    "last queue too high": (
        "[queue]\nfirst = 65535\ncount = 2", 2, "queue.first", "65535", "above 65535",
    ),
    "no queue": ("[queue]\ncount = 0", 2, "queue.count", "0", "from 1 to 64"),
    "queue length": ("[queue]\nlength = 1.5", 2, "queue.length", "1.5", "an integer"),
    "backend": ('[queue]\nbackend = "nativ"', 2, "queue.backend", '"nativ"', "mean native?"),
    "overload": ('[queue]\noverload = true', 2, "queue.overload", "true", '"accept" or "drop"'),
    "uplink without interface": ("[uplinks.c]\nweight = 2", 1, "uplinks.c.interface", "", "is req"),
    "uplink reserved name": (
        '[uplinks.direct]\ninterface = "x"', 1, "uplinks.direct", "", "reserved",
    ),
    "uplink name with a space": (
        '[uplinks."my dsl"]\ninterface = "x"', 1, 'uplinks."my dsl"', "", "1 to 32 characters",
    ),
    "uplink name too long": (
        f'[uplinks.{"u" * 33}]\ninterface = "x"', 1, f"uplinks.{'u' * 33}", "", "1 to 32",
    ),
    "uplink no table": ("[uplinks]\nc = 3", 2, "uplinks.c", "3", "[uplinks.NAME]"),
    "uplink on a LAN interface": (
        '[gateway]\nlan = ["x"]\n[uplinks.c]\ninterface = "x"',
        4, "uplinks.c.interface", '"x"', "gateway.lan",
    ),
    "gateway no address": (
        '[uplinks.c]\ninterface = "x"\ngateway = "10.0.0"',
        3, "uplinks.c.gateway", '"10.0.0"', "must be the IPv4 address",
    ),
    "gateway of the other family": (
        '[uplinks.c]\ninterface = "x"\ngateway = "fe80::1"',
        3, "uplinks.c.gateway", '"fe80::1"', "belongs in gateway6",
    ),
    "gateway6 of the other family": (
        '[uplinks.c]\ninterface = "x"\ngateway6 = "10.0.0.1"',
        3, "uplinks.c.gateway6", '"10.0.0.1"', "belongs in gateway",
    ),
    "gateway multicast": (
        '[uplinks.c]\ninterface = "x"\ngateway = "224.0.0.1"',
        3, "uplinks.c.gateway", '"224.0.0.1"', "multicast",
    ),
    "gateway loopback": (
        '[uplinks.c]\ninterface = "x"\ngateway = "127.0.0.1"',
        3, "uplinks.c.gateway", '"127.0.0.1"', "loopback",
    ),
    "gateway unspecified": (
        '[uplinks.c]\ninterface = "x"\ngateway6 = "::"',
        3, "uplinks.c.gateway6", '"::"', "unspecified",
    ),
    "weight zero": (
        '[uplinks.c]\ninterface = "x"\nweight = 0',
        3, "uplinks.c.weight", "0", "from 1 to 65535",
    ),
    "weight fraction": (
        '[uplinks.c]\ninterface = "x"\nweight = 0.5',
        3, "uplinks.c.weight", "0.5", "an integer",
    ),
    "masquerade as text": (
        '[uplinks.c]\ninterface = "x"\nmasquerade = "yes"',
        3, "uplinks.c.masquerade", '"yes"', "true or false",
    ),
    "onlink as a number": (
        '[uplinks.c]\ninterface = "x"\ngateway = "192.0.2.1"\nonlink = 1',
        4, "uplinks.c.onlink", "1", "true or false",
    ),
    "onlink without a gateway": (
        '[uplinks.c]\ninterface = "x"\nonlink = true',
        3, "uplinks.c.onlink", "true", "needs a gateway",
    ),
    "balancer called as an uplink": (
        '[balancers.a]\nuplinks = ["b"]', 1, "balancers.a", "", "share one namespace",
    ),
    "balancer reserved name": (
        '[balancers.drop]\nuplinks = ["b"]', 1, "balancers.drop", "", "reserved",
    ),
    "balancer of a reserved name is one mistake": (
        '[balancers.direct]\nuplinks = ["b"]', 1, "balancers.direct", "", "reserved",
    ),
    "unknown method": (
        '[balancers.x]\nmethod = "random"\nuplinks = ["a"]',
        2, "balancers.x.method", '"random"', "must be one of nth, weighted, hash, least-loaded",
    ),
    "balancer without uplinks": (
        '[balancers.x]\nmethod = "nth"', 1, "balancers.x.uplinks", "", "required",
    ),
    "balancer over nothing": (
        "[balancers.x]\nuplinks = []", 2, "balancers.x.uplinks", "[]", "at least one uplink",
    ),
    "balancer over an empty table": (
        "[balancers.x]\nuplinks = {}", 2, "balancers.x.uplinks", "{}", "at least one",
    ),
    "balancer over the unknown": (
        '[balancers.x]\nuplinks = [\n"a", \n"wirred",\n]\n[uplinks.wired]\ninterface = "w"',
        4, "balancers.x.uplinks[2]", '"wirred"', "did you mean wired?",
    ),
    "balancer with an uplink twice": (
        '[balancers.x]\nuplinks = ["a", "b", "a"]',
        2, "balancers.x.uplinks[3]", '"a"', "listed twice",
    ),
    "balancer over a balancer": (
        '[balancers.x]\nuplinks = ["a"]\n[balancers.y]\nuplinks = ["x"]',
        4, "balancers.y.uplinks[1]", '"x"', "is a balancer",
    ),
    "balancer weight of another type": (
        '[balancers.x]\nuplinks = { a = 1, b = "2" }',
        2, "balancers.x.uplinks.b", '"2"', "from 1 to 65535",
    ),
    "balancer weight of the unknown": (
        "[balancers.x.uplinks]\na = 1\nq = 2",
        3, "balancers.x.uplinks.q", "2", "name of an uplink",
    ),
    "sticky word": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = "remotes"',
        3, "balancers.x.sticky", '"remotes"', "did you mean remote?",
    ),
    "sticky number": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = 5',
        3, "balancers.x.sticky", "5", '"remote", "local" or "local+remote", or a table',
    ),
    "sticky by": (
        '[balancers.x]\nuplinks = ["a"]\nsticky.by = "source"',
        3, "balancers.x.sticky.by", '"source"', '"local+remote"',
    ),
    "sticky timeout zero": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { timeout = 0 }',
        3, "balancers.x.sticky.timeout", "0", "longer than 0",
    ),
    "sticky timeout unit": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { timeout = "4 hours" }',
        3, "balancers.x.sticky.timeout", '"4 hours"', "500ms",
    ),
    "sticky timeout fraction": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { timeout = 1.5 }',
        3, "balancers.x.sticky.timeout", "1.5", "whole seconds",
    ),
    "sticky prefix4": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { prefix4 = 33 }',
        3, "balancers.x.sticky.prefix4", "33", "from 1 to 32",
    ),
    "sticky prefix6": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { prefix6 = 0 }',
        3, "balancers.x.sticky.prefix6", "0", "from 1 to 128",
    ),
    "sticky size": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { size = 16777217 }',
        3, "balancers.x.sticky.size", "16777217", "from 1 to 16777216",
    ),
    "sticky unknown key": (
        '[balancers.x]\nuplinks = ["a"]\nsticky = { by = "local", time = 3 }',
        3, "balancers.x.sticky.time", "3", "did you mean timeout?",
    ),
    "fallback unknown": (
        '[balancers.x]\nuplinks = ["a"]\nfallback = "dirct"',
        3, "balancers.x.fallback", '"dirct"', "did you mean direct?",
    ),
    "fallback to itself": (
        '[balancers.x]\nuplinks = ["a"]\nfallback = "x"',
        3, "balancers.x.fallback", '"x"', "to itself",
    ),
    "fallbacks in a cycle": (
        '[balancers.w]\nuplinks = ["a"]\nfallback = "x"\n'
        '[balancers.x]\nuplinks = ["a"]\nfallback = "y"\n'
        '[balancers.y]\nuplinks = ["a"]\nfallback = "x"',
        6, "balancers.x.fallback", '"y"', "cycle: x -> y -> x",
    ),
    "rules as one table": ('[rules]\nuse = "a"', 1, "rules", "", "array of tables: [[rules]]"),
    "rule no table": ("rules = [3]", 1, "rules[1]", "3", "must be a table: [[rules]]"),
    "rule without use": ('[[rules]]\nprotocol = "tcp"', 1, "rules[1].use", "", "is required"),
    "rule with an unknown use": (
        '[[rules]]\nuse = "a"\n[[rules]]\nuse = "wifi"', 4, "rules[2].use", '"wifi"', "must be dir",
    ),
    "rule with an empty use": ('[[rules]]\nuse = ""', 2, "rules[1].use", '""', "must be direct"),
    "port as other programs call it": (
        '[[rules]]\nuse = "a"\ndest_port = 80',
        3, "rules[1].dest_port", "80", "did you mean to_ports?",
    ),
    "source as other programs call it": (
        '[[rules]]\nuse = "a"\nsrc = "10.0.0.1"',
        3, "rules[1].src", '"10.0.0.1"', "did you mean from?",
    ),
    "rule name taken": (
        '[[rules]]\nname = "r"\nuse = "a"\n[[rules]]\nname = "r"\nuse = "a"',
        5, "rules[2].name", '"r"', "another rule",
    ),
    "rule name empty": ('[[rules]]\nname = ""\nuse = "a"', 2, "rules[1].name", '""', "1 to 64"),
    "strict direct": (
        '[[rules]]\nuse = "direct"\nstrict = true', 3, "rules[1].strict", "true", "uses an uplink",
    ),
    "network with host bits": (
        '[[rules]]\nuse = "a"\nto = [\n  "10.0.0.0/8",\n  "192.168.1.5/24",\n]',
        5, "rules[1].to[2]", '"192.168.1.5/24"', 'the network is "192.168.1.0/24"',
    ),
    "network no network": (
        '[[rules]]\nuse = "a"\nfrom = "example.org"',
        3, "rules[1].from", '"example.org"', "an address or a network",
    ),
    "network with a netmask": (
        '[[rules]]\nuse = "a"\nfrom = "10.0.0.0/255.0.0.0"',
        3, "rules[1].from", '"10.0.0.0/255.0.0.0"', "an address or a network",
    ),
    "network with a zone": (
        '[[rules]]\nuse = "a"\nto = "fe80::1%eth0"',
        3, "rules[1].to", '"fe80::1%eth0"', "an address or a network",
    ),
    "networks none": (
        '[[rules]]\nuse = "a"\nto = []', 3, "rules[1].to", "[]", "leave the key out",
    ),
    "networks of another family": (
        '[[rules]]\nuse = "a"\nfamily = "ipv6"\nto = ["2001:db8::/32",\n"10.0.0.0/8"]',
        5, "rules[1].to[2]", '"10.0.0.0/8"', 'not of family "ipv6"',
    ),
    "networks of two families": (
        '[[rules]]\nuse = "a"\nfrom = "10.0.0.0/8"\nto = "2001:db8::/32"',
        4, "rules[1].to", '"2001:db8::/32"', "no address family in common",
    ),
    "family": (
        '[[rules]]\nuse = "a"\nfamily = 4', 3, "rules[1].family", "4", '"ipv4" or "ipv6"',
    ),
    "protocol unknown": (
        '[[rules]]\nuse = "a"\nprotocol = ["udp", "tpc"]',
        3, "rules[1].protocol[2]", '"tpc"', "did you mean",
    ),
    "protocol number": (
        '[[rules]]\nuse = "a"\nprotocol = 256', 3, "rules[1].protocol", "256", "from 0 to 255",
    ),
    "port too high": (
        '[[rules]]\nuse = "a"\nto_ports = [80,\n 65536]',
        4, "rules[1].to_ports[2]", "65536", "from 0 to 65535",
    ),
    "port range backwards": (
        '[[rules]]\nuse = "a"\nfrom_ports = "20-10"',
        3, "rules[1].from_ports", '"20-10"', '"10-20"',
    ),
    "port by name": (
        '[[rules]]\nuse = "a"\nto_ports = "http"', 3, "rules[1].to_ports", '"http"', "a range such",
    ),
    "port true": (
        '[[rules]]\nuse = "a"\nto_ports = [true]', 3, "rules[1].to_ports[1]", "true", "a port",
    ),
    "ports without a protocol that has them": (
        '[[rules]]\nuse = "a"\nprotocol = "icmp"\nto_ports = 80',
        4, "rules[1].to_ports", "80", "ports need a protocol",
    ),
    "control group unknown": (
        '[gateway]\ncontrol_group = "no-such-group"',
        2, "gateway.control_group", '"no-such-group"', "a group of this host",
    ),
    "control group by number": (
        "[gateway]\ncontrol_group = 0", 2, "gateway.control_group", "0", "name of a group",
    ),
    "user unknown": (
        '[[rules]]\nuse = "a"\nuser = "nobody-at-all"',
        3, "rules[1].user", '"nobody-at-all"', "a user of this host",
    ),
    "user negative": ('[[rules]]\nuse = "a"\nuser = -1', 3, "rules[1].user", "-1", "user id"),
    "user of a forwarded flow": (
        '[[rules]]\nuse = "a"\nin_interface = "br0"\nuser = "root"',
        4, "rules[1].user", '"root"', "only locally originated flows",
    ),
    "dscp": ('[[rules]]\nuse = "a"\ndscp = 64', 3, "rules[1].dscp", "64", "from 0 to 63"),
    "dscp name": ('[[rules]]\nuse = "a"\ndscp = "af51"', 3, "rules[1].dscp", '"af51"', '"af41"'),
    "interface in a rule": (
        '[[rules]]\nuse = "a"\nin_interface = ["br 0"]',
        3, "rules[1].in_interface[1]", '"br 0"', "no space",
    ),
    "tier": (
        '[uplinks.c]\ninterface = "x"\ntier = 0', 3, "uplinks.c.tier", "0", "from 1 to 255",
    ),
    "flush": (
        '[uplinks.c]\ninterface = "x"\nflush = "always"',
        3, "uplinks.c.flush", '"always"', '"down" or "never"',
    ),
    "failback": (
        '[uplinks.c]\ninterface = "x"\nfailback = true',
        3, "uplinks.c.failback", "true", '"keep" or "move"',
    ),
    "capacity as a number": (
        '[uplinks.c]\ninterface = "x"\ncapacity = 100',
        3, "uplinks.c.capacity", "100", "must be a rate",
    ),
    "capacity in another unit": (
        '[uplinks.c]\ninterface = "x"\ncapacity = "10MB"',
        3, "uplinks.c.capacity", '"10MB"', '"20mbit"',
    ),
    "no capacity": (
        '[uplinks.c]\ninterface = "x"\ncapacity = "0mbit"',
        3, "uplinks.c.capacity", '"0mbit"', "must be a rate",
    ),
    "capacity of one direction": (
        '[uplinks.c]\ninterface = "x"\ncapacity = { down = "1mbit" }',
        3, "uplinks.c.capacity.up", "", "is required",
    ),
    "health no table": (
        '[uplinks.c]\ninterface = "x"\nhealth = "icmp"\n',
        3, "uplinks.c.health", '"icmp"', "must be a table",
    ),
    "least_up": (
        '[balancers.x]\nuplinks = ["a", "b"]\nleast_up = 3',
        3, "balancers.x.least_up", "3", "of which there are 2",
    ),
    "tier in a balancer": (
        '[balancers.x]\nuplinks = { a = { tier = "first" } }',
        2, "balancers.x.uplinks.a.tier", '"first"', "from 1 to 255",
    ),
    "key of a member": (
        '[balancers.x]\nuplinks = { a = { wieght = 1 } }',
        2, "balancers.x.uplinks.a.wieght", "1", "did you mean weight?",
    ),
    "a date": (
        '[[rules]]\nuse = "a"\nto = 1979-05-27', 3, "rules[1].to", "1979-05-27", "an address or",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "line", "key", "value", "rule"), CASES.values(), ids=CASES)
def test_a_mistake_is_named(text: str, line: int, key: str, value: str, rule: str) -> None:
    (mistake,) = mistakes(text + UPLINKS)
    assert (mistake.line, mistake.key, mistake.value) == (line, key, value)
    assert rule in mistake.rule


# Lines of a health table, the key of the mistake in it, its value, a part of the rule.
HEALTH_CASES = {
    "no probe": ('targets = "192.0.2.1"', "probe", "", "is required"),
    "unknown probe": ('probe = "ping"\ntargets = "x"', "probe", '"ping"', '"icmp", "tcp"'),
    "no targets": ('probe = "icmp"', "targets", "", "is required"),
    "empty targets": ('probe = "icmp"\ntargets = []', "targets", "[]", "must not be empty"),
    "target twice": (
        'probe = "icmp"\ntargets = ["192.0.2.1", "192.0.2.1"]',
        "targets[2]", '"192.0.2.1"', "twice",
    ),
    "unknown key": (
        'probe = "icmp"\ntargets = "192.0.2.1"\ntargts = 1', "targts", "1", "mean targets?",
    ),
    "icmp to a name": ('probe = "icmp"\ntargets = "x.org"', "targets", '"x.org"', "an address"),
    "icmp to a command": (
        'probe = "icmp"\ntargets = ["192.0.2.1", "$(reboot)"]',
        "targets[2]", '"$(reboot)"', "an address",
    ),
    "icmp to a port": (
        'probe = "icmp"\ntargets = "192.0.2.1:80"', "targets", '"192.0.2.1:80"', "an address",
    ),
    "icmp to oneself": ('probe = "icmp"\ntargets = "127.0.0.1"', "targets", '"127.0.0.1"', "loopb"),
    "IPv6 over an uplink without": (
        'probe = "icmp"\ntargets = "2001:db8::1"', "targets", '"2001:db8::1"', "needs gateway6",
    ),
    "tcp without a port": (
        'probe = "tcp"\ntargets = "192.0.2.1"', "targets", '"192.0.2.1"', ":443",
    ),
    "tcp to port 0": ('probe = "tcp"\ntargets = "192.0.2.1:0"', "targets", '"192.0.2.1:0"', ":443"),
    "tcp beyond the ports": (
        'probe = "tcp"\ntargets = "192.0.2.1:65536"', "targets", '"192.0.2.1:65536"', ":443",
    ),
    "tcp to a name": ('probe = "tcp"\ntargets = "x;reboot:80"', "targets", '"x;reboot:80"', ":443"),
    "IPv4 in brackets": (
        'probe = "tcp"\ntargets = "[192.0.2.1]:80"', "targets", '"[192.0.2.1]:80"', ":443",
    ),
    "dns to a name": ('probe = "dns"\ntargets = "x.org"', "targets", '"x.org"', "a DNS server"),
    "dns name": (
        'probe = "dns"\ntargets = "192.0.2.1"\nname = "a b"', "name", '"a b"', "must be a name",
    ),
    "name beside icmp": (
        'probe = "icmp"\ntargets = "192.0.2.1"\nname = "x.org"', "name", '"x.org"', "only",
    ),
    "http without a scheme": ('probe = "http"\ntargets = "x.org"', "targets", '"x.org"', "a URL"),
    "another scheme": ('probe = "http"\ntargets = "ftp://x/"', "targets", '"ftp://x/"', "a URL"),
    "http to a command": (
        'probe = "http"\ntargets = "http://`id`/"', "targets", '"http://`id`/"', "a URL",
    ),
    "http with a line feed": (
        'probe = "http"\ntargets = "http://x/\\nHost: y"',
        "targets", '"http://x/\\nHost: y"', "a URL",
    ),
    "http with a password": (
        'probe = "http"\ntargets = "http://a:b@x/"', "targets", '"http://a:b@x/"', "without a user",
    ),
    "http to a broken address": (
        'probe = "http"\ntargets = "http://[::x]/"', "targets", '"http://[::x]/"', "a URL",
    ),
    "http beyond the ports": (
        'probe = "http"\ntargets = "http://x:65536/"', "targets", '"http://x:65536/"', "a URL",
    ),
    "interval too short": (
        'probe = "icmp"\ntargets = "192.0.2.1"\ninterval = "99ms"', "interval", '"99ms"', "100ms",
    ),
    "timeout": ('probe = "icmp"\ntargets = "192.0.2.1"\ntimeout = 0', "timeout", "0", "longer"),
    "down": ('probe = "icmp"\ntargets = "192.0.2.1"\ndown = 0', "down", "0", "from 1 to 1000"),
    "up": ('probe = "icmp"\ntargets = "192.0.2.1"\nup = 1001', "up", "1001", "from 1 to 1000"),
    "window": ('probe = "icmp"\ntargets = "192.0.2.1"\nwindow = 0', "window", "0", "from 1 to"),
    "need more than there are": (
        'probe = "icmp"\ntargets = "192.0.2.1"\nneed = 2', "need", "2", "IPv4 targets, of which",
    ),
    "loss": ('probe = "icmp"\ntargets = "192.0.2.1"\nloss = 101', "loss", "101", "from 1 to 100"),
    "loss_ok": (
        'probe = "icmp"\ntargets = "192.0.2.1"\nloss_ok = 41', "loss_ok", "41", "above loss",
    ),
    "latency_ok": (
        'probe = "icmp"\ntargets = "192.0.2.1"\nlatency_ok = 2', "latency_ok", "2", "above latency",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "key", "value", "rule"), HEALTH_CASES.values(), ids=HEALTH_CASES)
def test_a_mistake_in_a_health_table_is_named(lines: str, key: str, value: str, rule: str) -> None:
    (mistake,) = mistakes(f'[uplinks.c]\ninterface = "x"\n[uplinks.c.health]\n{lines}\n{UPLINKS}')
    assert (mistake.key, mistake.value) == (f"uplinks.c.health.{key}", value)
    assert rule in mistake.rule


def test_need_is_counted_in_each_family_by_itself() -> None:
    (mistake,) = mistakes(
        '[uplinks.c]\ninterface = "x"\ngateway6 = "auto"\n[uplinks.c.health]\nprobe = "icmp"\n'
        'targets = ["192.0.2.1", "192.0.2.2", "2001:db8::1"]\nneed = 2' + UPLINKS
    )
    assert mistake.rule == "is more than the IPv6 targets, of which there are 1"


def test_an_interface_of_two_uplinks_is_named() -> None:
    (mistake,) = mistakes('uplinks.a.interface = "x"\nuplinks.b = { interface = "x" }')
    assert str(mistake) == (
        'line 2: uplinks.b.interface = "x": is already the interface of uplink "a"'
    )


def test_more_uplinks_than_the_mask_has_room_for_are_named() -> None:
    uplinks = "\n".join(f'[uplinks.u{i}]\ninterface = "eth{i}"' for i in range(1, 7))
    (mistake,) = mistakes(f"gateway.mask = 0x7\n{uplinks}")
    assert (mistake.line, mistake.key) == (12, "uplinks.u6")
    assert "0x7 has room for 5 uplinks, not 6" in mistake.rule


@pytest.mark.parametrize("text", ["", "[uplinks]", "[queue]\ncount = 2\n"])
def test_a_configuration_without_uplinks_is_refused(text: str) -> None:
    (mistake,) = mistakes(text)
    assert (mistake.key, mistake.rule) == ("uplinks", "at least one is required: [uplinks.NAME]")


@pytest.mark.parametrize(
    ("text", "line", "rule"),
    [
        ("[gateway\n", 1, "is not TOML"),
        ('[gateway]\nlan = ["a"', 2, "at the end of the file"),
        ("[queue]\nfirst = 0\nfirst = 1\n", 3, "Cannot overwrite a value"),
        ("a = 1\n[b]\n[b]\n", 3, "Cannot declare"),
        ("a = " + "1" * 5000, None, "too many digits"),
        ("a = 1\nb = " + "[" * 100_000, 2, "nested too deeply: at most 16"),
        ("a = 1\nb = " + "{c = " * 100_000, 2, "nested too deeply: at most 16"),
        ("b = " + "[" * 300 + "]" * 300, 1, "nested too deeply: at most 16"),
        ("# 1\n[b]\n" + ".".join("a" * 20_000) + " = 1", 3, "not have more than 16 parts"),
        ("[" + ".".join("a" * 20_000) + "]", 1, "not have more than 16 parts"),
        ("a = { b = 1,\t" + " . ".join("a" * 17) + " = 1 }", 1, "not have more than 16 parts"),
        ("a = '" + "." * 100 + "\n" + "." * 100, 2, "not TOML"),
    ],
)
def test_text_that_is_not_toml_is_one_mistake_with_its_line(
    text: str, line: int | None, rule: str
) -> None:
    (mistake,) = mistakes(text)
    assert mistake.line == line
    assert rule in mistake.rule


def test_a_long_key_is_refused_before_it_costs_time() -> None:
    start = time.process_time()
    (mistake,) = mistakes(".".join("a" * 2_000_000) + " = 1")
    assert mistake.line == 1
    assert time.process_time() - start < 1


@pytest.mark.parametrize("opening", ['"""', "'''", '"""\\', "'", '"', "[\n"])
def test_no_text_makes_the_check_for_depth_slow(opening: str) -> None:
    start = time.process_time()
    mistakes(opening * (1_000_000 // len(opening)))
    assert time.process_time() - start < 3


@pytest.mark.parametrize("quoted", ['"{}"', "'{}'", '"""{}"""', "'''{}'''", '"\\"{}"', '"# {}"'])
def test_dots_and_brackets_in_strings_and_comments_are_no_depth(quoted: str) -> None:
    many = "." * 20 + "[{" * 10
    policy = parse_policy(f'[[rules]]\nname = {quoted.format(many)}\nuse = "a" # {many}\n{UPLINKS}')
    assert many in policy.rules[0].name


def test_the_deepest_that_is_allowed_is_read() -> None:
    nested = "a." * 15 + "b = " + "[" * 16 + "]" * 16
    assert [m.rule for m in mistakes(nested + UPLINKS)] == ["unknown key"]


def test_a_file_of_absurd_size_is_refused_and_read_no_further(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(b"#" * (4 << 20) + b"\n")
    for path in (file, Path("/dev/zero")):
        with pytest.raises(ConfigError, match="larger than 4 MiB"):
            load_policy(path)
    file.write_bytes(UPLINKS.encode() + b"#" * ((4 << 20) - len(UPLINKS)))
    assert len(load_policy(file).uplinks) == 2


def test_a_file_that_is_not_utf8_is_named_with_the_line(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_bytes(b'[gateway]\nlan = ["\xff"]\n')
    with pytest.raises(ConfigError, match="line 2: is not UTF-8 text: byte 0xff"):
        load_policy(file)


def test_a_folder_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_policy(tmp_path)


def test_a_mistake_stays_on_one_line_whatever_was_written() -> None:
    for text in ('[gateway]\nlan = "a\\nb\\u001b[31m"', '[gateway]\nlan = """a\nb"""'):
        (mistake,) = mistakes(text + UPLINKS)
        assert str(mistake).isprintable()


THIRTY = """\
wan = "eth9"
[gateway]
lan = ["eth2", "eth2", "much-too-long-a-name"]
local = "yes"
mask = 0x5
firewall = "nftables"
helpers = ["ftp", "http"]
colour = "red"
[queue]
first = 65536
count = 65
length = 0
backend = "fast"
overload = "maybe"
[uplinks.drop]
interface = "eth0"
[uplinks.wired]
interface = "eth0"
gateway = "fe80::1"
gateway6 = "192.0.2.1"
weight = 0
masquerade = 1
[uplinks.empty]
[balancers.wired]
method = "my.module:Best"
uplinks = ["wired", "wifi", "wired"]
sticky = { by = "port", timeout = "1d" }
fallback = "wired"
[[rules]]
to = ["192.168.1.1/16", "nowhere"]
to_ports = ["90-80", 70000]
protocol = "tpc"
use = "everything"
[[rules]]
family = "ipv5"
user = -5
dscp = "gold"
strict = true
"""


def test_thirty_mistakes_in_one_file_are_all_named_at_once() -> None:
    found = [(m.line, m.key) for m in mistakes(THIRTY)]
    assert found == [
        (1, "wan"),
        (3, "gateway.lan[2]"),
        (3, "gateway.lan[3]"),
        (4, "gateway.local"),
        (5, "gateway.mask"),
        (6, "gateway.firewall"),
        (7, "gateway.helpers[2]"),
        (8, "gateway.colour"),
        (10, "queue.first"),
        (11, "queue.count"),
        (12, "queue.length"),
        (13, "queue.backend"),
        (14, "queue.overload"),
        (15, "uplinks.drop"),
        (18, "uplinks.wired.interface"),
        (19, "uplinks.wired.gateway"),
        (20, "uplinks.wired.gateway6"),
        (21, "uplinks.wired.weight"),
        (22, "uplinks.wired.masquerade"),
        (23, "uplinks.empty.interface"),
        (24, "balancers.wired"),
        (25, "balancers.wired.method"),
        (26, "balancers.wired.uplinks[2]"),
        (26, "balancers.wired.uplinks[3]"),
        (27, "balancers.wired.sticky.by"),
        (27, "balancers.wired.sticky.timeout"),
        (28, "balancers.wired.fallback"),
        (30, "rules[1].to[1]"),
        (30, "rules[1].to[2]"),
        (31, "rules[1].to_ports[1]"),
        (31, "rules[1].to_ports[2]"),
        (32, "rules[1].protocol"),
        (33, "rules[1].use"),
        (34, "rules[2].use"),
        (35, "rules[2].family"),
        (36, "rules[2].user"),
        (37, "rules[2].dscp"),
    ]
