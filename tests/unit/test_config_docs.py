"""What the page about the configuration shows is what the parser accepts."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from classifier.config import parse_policy
from classifier.config.advice import warnings
from classifier.config.gateway import HELPERS
from classifier.config.names import DSCP_NAMES
from classifier.errors import ConfigError
from classifier.policy import METHOD_OPTIONS, Balancer, Gateway, Health, Queue, Rule, Sticky, Uplink

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text()
EXAMPLES = re.findall(r"^### (.*?)\n.*?^```toml\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


def test_the_page_has_its_three_examples() -> None:
    assert len(EXAMPLES) == 3
    assert PAGE.count("```toml") == 3


@pytest.mark.parametrize(("title", "text"), EXAMPLES, ids=[title for title, _ in EXAMPLES])
def test_an_example_loads_without_a_warning(title: str, text: str) -> None:
    assert warnings(parse_policy(text, title)) == ()


def test_the_example_of_three_links_does_what_its_title_says() -> None:
    policy = parse_policy(EXAMPLES[0][1])
    assert [member.weight for member in policy.balancers[0].members] == [34, 33, 33]
    by_name = {rule.name: rule for rule in policy.rules}
    assert [first for first, _ in by_name["interactive"].to_ports] == [21, 22, 80, 443, 6667]
    assert by_name["dns"].to_ports == ((53, 53),)


def test_the_mistakes_of_the_page_are_what_check_says() -> None:
    lines = {
        2: "[[rules]]", 3: 'use = "a"', 6: "[gateway]", 7: "mask = 0x3d00",
        8: "[uplinks.a]", 9: 'interface = "eth0"',
        30: "[[rules]]", 31: 'to = ["192.168.1.5/24"]', 32: 'use = "a"',
    }  # fmt: skip
    text = "\n".join(lines.get(number, "") for number in range(1, 33))
    with pytest.raises(ConfigError) as caught:
        parse_policy(text, "gateway.toml")
    shown = re.findall(r"^    nfq-classifier: (.*)$", PAGE, re.MULTILINE)
    assert str(caught.value).splitlines() == shown


def test_every_key_has_its_row_on_the_page() -> None:
    keys = {
        field.name.rstrip("_")
        for part in (Gateway, Queue, Uplink, Health, Balancer, Rule, Sticky)
        for field in dataclasses.fields(part)
    }
    renamed = {"protocols": "protocol", "in_interfaces": "in_interface", "users": "user"}
    keys = {renamed.get(key, key) for key in keys} - {"id", "members", "custom"} | {"uplinks"}
    rows = set(re.findall(r"`([a-z0-9_-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.M))))
    # The kinds of probes and the methods have rows, too.
    assert rows == keys | {"icmp", "tcp", "dns", "http"} | METHOD_OPTIONS.keys()


def test_the_options_of_methods_are_on_the_page_with_their_defaults() -> None:
    (table,) = re.findall(r"^### Methods\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE)
    rows = dict(re.findall(r"^\| `([a-z-]+)` \|[^|]*\|(.*)\|$", table, re.MULTILINE))
    for method, options in METHOD_OPTIONS.items():
        found = re.findall(r"`([a-z]+)`, [^:]*? default `?\"?(\d+)(ms)?", rows[method])
        read = {key: int(n) / 1000 if unit else int(n) for key, n, unit in found}
        assert read == options


def test_every_helper_and_code_point_of_the_page_is_known() -> None:
    (helpers,) = re.findall(r"one or more of (`amanda`[^|]*) \|", PAGE)
    assert re.findall(r"`([^`]+)`", helpers) == list(HELPERS)
    (code_points,) = re.findall(r"one or more of 0 to 63, or ([^|]*) \|", PAGE)
    assert set(re.findall(r"`([^`]+)`", code_points)) <= set(DSCP_NAMES)


def test_the_defaults_of_the_page_are_those_of_health() -> None:
    (table,) = re.findall(
        r"^## `\[uplinks\.NAME\.health\]`\n(.*?)^## ", PAGE, re.DOTALL | re.MULTILINE
    )
    rows = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| `([^`]+)` \|", table, re.MULTILINE))
    keys = "\n".join(f"{key} = {value}" for key, value in rows.items() if key != "name")
    text = '[uplinks.a]\ninterface = "eth0"\n[uplinks.a.health]\nprobe = "icmp"\n'
    text += 'targets = "192.0.2.1"\n'
    assert parse_policy(text + keys) == parse_policy(text)
    assert len(rows) == 9
