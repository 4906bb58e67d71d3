"""The policies of these tests, as text."""

UPLINKS = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
gateway6 = "2001:db8::1"
capacity = "20mbit"
weight = 4
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
capacity = "10mbit"
weight = 2
[uplinks.c]
interface = "eth2"
gateway = "203.0.113.1"
capacity = "5mbit"
weight = 1
"""


def written(method: str, weights: str) -> str:
    return (
        UPLINKS
        + f"""
[balancers.all]
method = "{method}"
uplinks = {weights}
[[rules]]
name = "rest"
use = "all"
"""
    )
