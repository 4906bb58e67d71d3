"""Any text is either a policy or a `ConfigError`, and every key of it has its line."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from classifier.config import parse_policy
from classifier.config.lines import locate
from classifier.errors import ConfigError
from classifier.policy import Policy

EXAMPLE = """\
[gateway]
lan = ["eth2"]
mask = 0x3f00
helpers = ["ftp"]
[queue]
count = 1
[uplinks.wired]
interface = "eth0"
gateway = "192.168.1.254"
weight = 34
[uplinks.wired.health]
probe = "icmp"
targets = "192.0.2.1"
[uplinks.wifi1]
interface = "eth1"
[balancers.all]
method = "nth"
uplinks = ["wired", "wifi1"]
sticky = { by = "remote", timeout = "4h" }
fallback = "direct"
[[rules]]
name = "home"
to = ["192.168.0.0/16", "2001:db8::/32"]
user = [0]
use = "direct"
[[rules]]
protocol = "tcp"
to_ports = [21, "6660-6669"]
dscp = "ef"
strict = true
use = "wired"
"""
KEYS = sorted(
    [
        "gateway",
        "queue",
        "uplinks",
        "balancers",
        "rules",
        "lan",
        "local",
        "mask",
        "firewall",
        "helpers",
        "control_group",
        "on_change",
        "first",
        "count",
        "length",
        "backend",
        "overload",
        "interface",
        "gateway6",
        "weight",
        "masquerade",
        "method",
        "sticky",
        "by",
        "timeout",
        "prefix4",
        "prefix6",
        "size",
        "fallback",
        "name",
        "use",
        "strict",
        "from",
        "to",
        "protocol",
        "from_ports",
        "to_ports",
        "in_interface",
        "family",
        "user",
        "dscp",
        "direct",
        "wired",
        "tier",
        "capacity",
        "health",
        "probe",
        "targets",
        "loss_ok",
        "latency",
        "least_up",
    ]
)

scalars = st.one_of(
    st.booleans().map(lambda value: "true" if value else "false"),
    st.integers().map(str),
    st.integers(0, 2**40).map(hex),
    st.floats().map(str),
    st.sampled_from(KEYS).map(lambda key: f'"{key}"'),
    st.text(st.characters(exclude_characters="'", exclude_categories=("C",))).map("'{}'".format),
    st.sampled_from(['"10.0.0.0/8"', '"::1"', '"1-2"', '"4h"', '"a:b"', "1979-05-27 07:32:00Z"]),
)
gaps = st.sampled_from(["", " ", "\t", " # ],} note\n", "\n", "\r\n  "])
arrays_and_tables = st.recursive(
    scalars,
    lambda inner: (
        st.lists(st.tuples(gaps, inner, gaps), max_size=4).map(
            lambda items: f"[{','.join(''.join(item) for item in items)}\n]"
        )
        | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4).map(
            lambda pairs: f"{{ {', '.join(f'{k} = {v}' for k, v in pairs.items())} }}"
        )
    ),
    max_leaves=12,
)
pairs = st.tuples(st.sampled_from(KEYS), arrays_and_tables).map(" = ".join)
dotted_keys = st.lists(st.sampled_from(KEYS), min_size=1, max_size=3).map(".".join)
headers = dotted_keys.map("[{}]".format) | dotted_keys.map("[[{}]]".format)
documents = st.lists(headers | pairs, max_size=12).map("\n".join)
mangled = st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 12), st.text(max_size=6)).map(
    lambda change: EXAMPLE[: change[0]] + change[2] + EXAMPLE[change[0] + change[1] :]
)


@given(st.text() | documents | mangled)
def test_any_text_is_a_policy_or_a_config_error(text: str) -> None:
    try:
        policy = parse_policy(text)
    except ConfigError as error:
        assert error.mistakes
        lines = text.count("\n") + 1
        for mistake in error.mistakes:
            assert mistake.line is None or 1 <= mistake.line <= lines
            assert str(mistake).isprintable()
    else:
        assert isinstance(policy, Policy)
        assert policy.uplinks


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Any:
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from paths(inner, (*path, key))
    if isinstance(value, list):
        for index, inner in enumerate(value):
            yield from paths(inner, (*path, index))


@given(documents | mangled)
def test_every_key_and_element_that_toml_has_is_located_in_its_source(text: str) -> None:
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    places = locate(text)
    assert set(places) == set(paths(values))
    lines = text.split("\n")
    for path, place in places.items():
        if isinstance(path[-1], str):
            assert path[-1] in lines[place.line - 1]
        if place.source:
            inner = values
            for part in path:
                inner = inner[part]
            assert str(tomllib.loads(f"x = {place.source}")["x"]) == str(inner)
            assert place.source.split("\r\n")[0].split("\n")[0] in lines[place.line - 1]


# What renders a document also knows where it put each line.
lists = st.lists(st.tuples(st.integers(0, 3), st.integers()), min_size=1, max_size=6)
rendered = st.lists(
    st.tuples(st.sampled_from(["table", "array"]), st.integers(0, 3), lists), min_size=1, max_size=6
)


@given(rendered)
def test_lines_are_those_where_a_document_was_rendered(
    tables: list[tuple[str, int, list[tuple[int, int]]]],
) -> None:
    lines: list[str] = []
    expected: dict[tuple[str | int, ...], int] = {}
    arrays = 0
    for number, (kind, blank, elements) in enumerate(tables):
        lines += ["# [not.a.table]"] * blank
        path: tuple[str | int, ...]
        if kind == "table":
            path = ("t", f"no {number}")
            lines.append(f'[t."no {number}"] # header')
        else:
            path = ("a", "b", arrays)
            arrays += 1
            lines.append("[[ a . b ]]")
        expected[path] = len(lines)
        lines.append("'the list' . x = [")
        expected[(*path, "the list")] = expected[(*path, "the list", "x")] = len(lines)
        for index, (before, element) in enumerate(elements):
            lines += ['  # "]"'] * before
            lines.append(f"  {element},")
            expected[(*path, "the list", "x", index)] = len(lines)
        lines.append("]")
        lines.append('text = """')
        expected[(*path, "text")] = len(lines)
        lines += ["[t]", 'x = 1 \\""" # "', "''' \"\"\""]
    places = locate("\n".join(lines))
    assert {path: places[path].line for path in expected} == expected
