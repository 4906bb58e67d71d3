"""Policies that captures are run through."""

ALTERNATING = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
gateway6 = "2001:db8::1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
gateway6 = "2001:db8:1::1"
[balancers.all]
method = "nth"
uplinks = ["a", "b"]
[[rules]]
name = "home"
to = ["10.0.0.0/8"]
use = "direct"
[[rules]]
name = "no mail"
protocol = "tcp"
to_ports = [25]
use = "drop"
[[rules]]
name = "rest"
use = "all"
"""
"""Two uplinks taken in turn; 10/8 is direct, port 25 is dropped."""
