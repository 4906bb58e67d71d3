"""Every spelling that the configuration allows means what its page says."""

from __future__ import annotations

import grp
import pwd
from ipaddress import ip_network
from typing import Any

import pytest

from classifier.config import parse_policy
from classifier.policy import (
    Balancer,
    Capacity,
    Health,
    Member,
    Policy,
    Rule,
    Sticky,
    Target,
    Uplink,
)

UPLINKS = """
[uplinks.a]
interface = "eth0"
weight = 3
[uplinks.b]
interface = "eth1"
"""


def policy(text: str) -> Policy:
    return parse_policy(text + UPLINKS)


def rule(line: str) -> Rule:
    (rule,) = policy(f'[[rules]]\nuse = "a"\n{line}').rules
    return rule


def balancer(lines: str) -> Balancer:
    (balancer,) = policy(f"[balancers.x]\n{lines}").balancers
    return balancer


def test_two_uplinks_are_enough_and_all_else_has_its_default() -> None:
    assert policy("") == Policy(
        gateway=type(policy("").gateway)(),
        queue=type(policy("").queue)(),
        uplinks=policy("").uplinks,
    )
    assert [(u.name, u.id, u.weight) for u in policy("").uplinks] == [("a", 1, 3), ("b", 2, 1)]


@pytest.mark.parametrize(
    ("line", "field", "value"),
    [
        ('protocol = "tcp"', "protocols", (6,)),
        ('protocol = "UDP"', "protocols", (17,)),
        ("protocol = 0", "protocols", (0,)),
        ('protocol = ["tcp", 17, "sctp", 6]', "protocols", (6, 17, 132)),
        ("to_ports = 0", "to_ports", ((0, 0),)),
        ('to_ports = "80"', "to_ports", None),
        ('to_ports = ["6660-6669", 65535]', "to_ports", ((6660, 6669), (65535, 65535))),
        ('from_ports = "7-7"', "from_ports", ((7, 7),)),
        ('to = "192.0.2.7"', "to", (ip_network("192.0.2.7/32"),)),
        ('to = ["::/0", "0.0.0.0/0"]', "to", (ip_network("::/0"), ip_network("0.0.0.0/0"))),
        ('from = "2001:DB8::/32"', "from_", (ip_network("2001:db8::/32"),)),
        ('in_interface = "eth2.100"', "in_interfaces", ("eth2.100",)),
        ('in_interface = ["br0", "wg0"]', "in_interfaces", ("br0", "wg0")),
        ('family = "ipv6"', "family", "ipv6"),
        ("user = 0", "users", (0,)),
        ('user = ["root", 33]', "users", (0, 33)),
        ("dscp = 0", "dscp", (0,)),
        ('dscp = ["ef", "cs1", "af41", "AF11", 63]', "dscp", (46, 8, 34, 10, 63)),
        ("strict = true", "strict", True),
        ('name = "über alles: 100 %"', "name", "über alles: 100 %"),
    ],
)
def test_a_match_means_what_it_says(line: str, field: str, value: Any) -> None:
    if value is None:
        with pytest.raises(Exception, match="must be a port"):
            rule(line)
    else:
        assert getattr(rule(line), field) == value


def test_a_user_is_found_by_its_name_on_this_host() -> None:
    entry = pwd.getpwall()[-1]
    assert rule(f'user = "{entry.pw_name}"').users == (pwd.getpwnam(entry.pw_name).pw_uid,)


def test_rules_without_names_are_called_by_their_number() -> None:
    text = '[[rules]]\nuse = "a"\n[[rules]]\nuse = "b"\nname = "second"\n[[rules]]\nuse = "drop"\n'
    assert [r.name for r in policy(text).rules] == ["rule 1", "second", "rule 3"]


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("1", 1.0), ('"1ms"', 0.001), ('"500ms"', 0.5), ('"90s"', 90.0), ('"10m"', 600.0),
     ('"4h"', 14400.0)],
)  # fmt: skip
def test_a_duration_means_what_it_says(written: str, seconds: float) -> None:
    sticky = balancer(f'uplinks = ["a"]\nsticky = {{ timeout = {written} }}').sticky
    assert sticky is not None
    assert sticky.timeout == seconds


@pytest.mark.parametrize(
    ("written", "sticky"),
    [
        ('"local"', Sticky(by="local")),
        ("{}", Sticky()),
        (
            '{ by = "local+remote", timeout = 5, prefix4 = 24, prefix6 = 64, size = 1 }',
            Sticky("local+remote", 5.0, 24, 64, 1),
        ),
    ],
)
def test_sticky_as_a_word_or_a_table(written: str, sticky: Sticky) -> None:
    assert balancer(f'uplinks = "a"\nsticky = {written}').sticky == sticky


def test_a_list_of_uplinks_takes_their_weights_and_a_table_gives_its_own() -> None:
    assert balancer('uplinks = ["b", "a"]').members == (Member("b", 1), Member("a", 3))
    assert balancer("uplinks = { b = 2, a = 1 }").members == (Member("b", 2), Member("a", 1))


def test_a_balancer_is_nth_over_direct_unless_it_says_otherwise() -> None:
    plain = balancer('uplinks = ["a"]')
    assert (plain.method, plain.sticky, plain.fallback) == ("nth", None, "direct")


def test_fallbacks_may_follow_one_another_to_an_end() -> None:
    chain = policy(
        '[balancers.x]\nuplinks = ["a"]\nfallback = "y"\n'
        '[balancers.y]\nuplinks = ["b"]\nfallback = "z"\n'
        '[balancers.z]\nuplinks = ["b"]\nfallback = "a"\n'
    )
    assert [b.fallback for b in chain.balancers] == ["y", "z", "a"]


def test_addresses_come_out_in_their_usual_spelling() -> None:
    (uplink,) = parse_policy(
        '[uplinks.a]\ninterface = "ppp0"\ngateway = "auto"\ngateway6 = "FE80::0:1"'
    ).uplinks
    assert (uplink.gateway, uplink.gateway6) == ("auto", "fe80::1")


def test_the_group_of_the_control_socket_is_none_or_one_of_this_host() -> None:
    assert policy("").gateway.control_group is None
    name = grp.getgrall()[0].gr_name
    assert policy(f'[gateway]\ncontrol_group = "{name}"').gateway.control_group == name


def uplink(lines: str) -> Uplink:
    (uplink,) = parse_policy(f'[uplinks.a]\ninterface = "eth0"\n{lines}').uplinks
    return uplink


def health(lines: str) -> Health:
    found = uplink(f'gateway6 = "auto"\n[uplinks.a.health]\n{lines}').health
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("written", "capacity"),
    [
        ('"100mbit"', Capacity(12_500_000, 12_500_000)),
        ('"1kbit"', Capacity(125, 125)),
        ('{ down = "1gbit", up = "500kbit" }', Capacity(125_000_000, 62_500)),
    ],
)
def test_a_capacity_is_kept_in_bytes_per_second(written: str, capacity: Capacity) -> None:
    assert uplink(f"capacity = {written}").capacity == capacity


def test_what_happens_to_connections_and_the_tier_have_defaults() -> None:
    plain = uplink("")
    assert (plain.tier, plain.flush, plain.failback) == (1, "down", "keep")
    assert (plain.capacity, plain.health) == (None, None)
    other = uplink('tier = 2\nflush = "never"\nfailback = "move"')
    assert (other.tier, other.flush, other.failback) == (2, "never", "move")


def test_a_member_of_a_balancer_has_the_tier_of_its_uplink_or_its_own() -> None:
    tiers = UPLINKS.replace("weight = 3", "weight = 3\ntier = 2")

    def members(written: str) -> tuple[Member, ...]:
        (found,) = parse_policy(f"[balancers.x]\nuplinks = {written}\n{tiers}").balancers
        return found.members

    assert members('["a", "b"]') == (Member("a", 3, 2), Member("b", 1, 1))
    assert members("{ a = 5, b = { tier = 4 } }") == (Member("a", 5, 2), Member("b", 1, 4))
    assert members("{ a = { weight = 7 }, b = {} }") == (Member("a", 7, 2), Member("b", 1, 1))


def test_health_of_the_contract_loads_exactly() -> None:
    assert health(
        """
probe = "icmp"                 # icmp | tcp | dns | http
targets = ["192.0.2.1", "192.0.2.2"]
interval = "2s"
timeout = "700ms"
down = 4                       # rounds in a row
up = 6
need = 2                       # targets that must answer in a round
window = 100
loss = 30                      # percent over the window; down above, and
loss_ok = 20                   # good again below
latency = "400ms"
latency_ok = "300ms"
"""
    ) == Health(
        "icmp",
        (Target("192.0.2.1", "192.0.2.1"), Target("192.0.2.2", "192.0.2.2")),
        interval=2.0,
        timeout=0.7,
        down=4,
        up=6,
        need=2,
        window=100,
        loss=30,
        loss_ok=20,
        latency=0.4,
        latency_ok=0.3,
    )


def test_the_lower_limits_follow_the_upper_ones() -> None:
    plain = health('probe = "icmp"\ntargets = "192.0.2.1"')
    assert plain == Health("icmp", (Target("192.0.2.1", "192.0.2.1"),))
    found = health('probe = "icmp"\ntargets = "192.0.2.1"\nloss = 10\nlatency = "200ms"')
    assert (found.loss_ok, found.latency_ok) == (2, 0.1)


@pytest.mark.parametrize(
    ("probe", "written", "target", "family"),
    [
        ("icmp", "2001:DB8::1", Target("2001:DB8::1", "2001:db8::1"), 6),
        ("tcp", "192.0.2.1:443", Target("192.0.2.1:443", "192.0.2.1", 443), 4),
        ("tcp", "[2001:db8::1]:443", Target("[2001:db8::1]:443", "2001:db8::1", 443), 6),
        ("dns", "192.0.2.1", Target("192.0.2.1", "192.0.2.1", 53, "."), 4),
        ("dns", "2001:db8::1", Target("2001:db8::1", "2001:db8::1", 53, "."), 6),
        ("dns", "192.0.2.1:5353", Target("192.0.2.1:5353", "192.0.2.1", 5353, "."), 4),
        (
            "http",
            "http://192.0.2.1/a?b=`c`",
            Target("http://192.0.2.1/a?b=`c`", "192.0.2.1", 80),
            4,
        ),
        ("http", "https://x.org", Target("https://x.org", "x.org", 443), 4),
        (
            "http",
            "http://[2001:db8::1]:81/",
            Target("http://[2001:db8::1]:81/", "2001:db8::1", 81),
            6,
        ),
    ],
)
def test_a_target_means_what_it_says(probe: str, written: str, target: Target, family: int) -> None:
    (found,) = health(f"probe = '{probe}'\ntargets = '{written}'").targets
    assert (found, found.family) == (target, family)
