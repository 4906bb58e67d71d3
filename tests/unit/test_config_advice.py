"""What a policy says in vain is warned of, and nothing else is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from classifier.config import parse_policy
from classifier.config.advice import sticky_memory, warnings

UPLINKS = """
[uplinks.a]
interface = "eth0"
[uplinks.b]
interface = "eth1"
"""
BALANCER = '[balancers.x]\nuplinks = ["a", "b"]\n'


def advice(text: str) -> tuple[str, ...]:
    return warnings(parse_policy(text + UPLINKS))


def test_a_policy_in_which_everything_is_used_has_no_warnings() -> None:
    assert advice(f'{BALANCER}[[rules]]\nto_ports = 80\nuse = "a"\n[[rules]]\nuse = "x"') == ()


@pytest.mark.parametrize("use", ["x", "direct", "drop"])
def test_a_rule_after_one_that_takes_every_flow_is_warned_of(use: str) -> None:
    rules = f'[[rules]]\nuse = "{use}"\n[[rules]]\nname = "late"\nuse = "x"\n[[rules]]\nuse = "x"'
    assert advice(BALANCER + rules) == (
        'rule "rule 1" takes every flow; never reached: "late", "rule 3"',
    )


def test_a_rule_after_an_uplink_that_may_be_down_can_be_reached() -> None:
    pinned = '[[rules]]\nuse = "a"\n{}[[rules]]\nuse = "b"\n'
    assert advice(pinned.format("")) == ()
    assert advice(pinned.format("strict = true\n")) == (
        'rule "rule 1" takes every flow; never reached: "rule 2"',
    )


def test_what_no_rule_uses_is_warned_of() -> None:
    assert advice("") == ("there are no rules, so every flow is direct",)
    assert advice(BALANCER + '[[rules]]\nuse = "a"') == (
        'uplink "b" is used by no rule',
        'balancer "x" is used by no rule',
    )


def test_an_uplink_used_only_as_a_fallback_is_used() -> None:
    assert advice('[balancers.x]\nuplinks = "a"\nfallback = "b"\n[[rules]]\nuse = "x"') == ()


def test_a_timeout_beside_a_hash_is_warned_of() -> None:
    text = '[balancers.x]\nmethod = "hash"\nuplinks = ["a", "b"]\nsticky = {}\n'
    rule = '[[rules]]\nuse = "x"'
    assert advice(text.format('{ by = "local", prefix4 = 24 }') + rule) == ()
    for table in ('{ by = "local", timeout = "1h" }', "{ size = 5 }"):
        (said,) = advice(text.format(table) + rule)
        assert 'balancer "x": sticky timeout and size have no effect' in said


STICKY = (
    '[balancers.{0}]\nuplinks = ["a", "b"]\nsticky = {{ size = {1} }}\n[[rules]]\nuse = "{0}"\n'
)


def test_sticky_tables_of_a_gigabyte_are_warned_of() -> None:
    policy = [STICKY.format(f"x{i}", 16_777_216) + "to_ports = 80\n" for i in range(2)]
    assert advice(policy[0]) == ()
    assert advice("".join(policy)) == (
        "sticky tables take 1.0 GiB of memory at startup, 32 bytes for each entry of sticky size",
    )


def test_the_memory_that_is_told_is_what_the_engine_takes() -> None:
    policy = parse_policy(STICKY.format("x", 4_000_000) + UPLINKS)
    program = (
        "import sys\nfrom resource import getpagesize\n"
        "from pathlib import Path\n"
        "from classifier.config import parse_policy\n"
        "from classifier.engine.engine import Engine\n"
        "resident = lambda: int(Path('/proc/self/statm').read_text().split()[1]) * getpagesize()\n"
        "small, large = (parse_policy(text) for text in sys.argv[1:])\n"
        "one = Engine(small, 1); before = resident()\n"
        "two = Engine(small, 1); between = resident()\n"
        "three = Engine(large, 1); print(resident() - between - (between - before))\n"
    )
    texts = [STICKY.format("x", size) + UPLINKS for size in (1, 4_000_000)]
    command = [sys.executable, "-c", program, *texts]
    taken = int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
    assert sticky_memory(policy) == 128_000_000
    assert abs(taken - sticky_memory(policy)) < 4 << 20  # huge pages are rounded up


def test_a_hash_takes_no_memory_for_entries() -> None:
    text = STICKY.format("x", 4_000_000).replace("uplinks", 'method = "hash"\nuplinks')
    assert sticky_memory(parse_policy(text + UPLINKS)) == 0


def test_rules_that_no_flow_can_match_are_warned_of() -> None:
    found = advice(
        '[gateway]\nlan = ["br0"]\nlocal = false\n'
        '[[rules]]\nin_interface = ["br0", "br1"]\nuse = "a"\n'
        '[[rules]]\nuser = 0\nuse = "b"\n'
    )
    assert found == (
        'rule "rule 1": not in gateway.lan, so they never match: br1',
        'rule "rule 2" never matches: it has users, but gateway.local is false',
    )
