"""Methods of balancers and their options: read, or refused with the rule that they break."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from custom_methods import First

from classifier.config import parse_policy
from classifier.errors import ConfigError, Mistake
from classifier.policy import Balancer

UPLINKS = """
[uplinks.a]
interface = "eth0"
[uplinks.b]
interface = "eth1"
capacity = "20mbit"
[uplinks.b.health]
probe = "icmp"
targets = "192.0.2.1"
"""


def balancer(lines: str, uplinks: str = '["b"]') -> Balancer:
    text = f"[balancers.x]\nuplinks = {uplinks}\n{lines}\n{UPLINKS}"
    return parse_policy(text, "gateway.toml").balancers[0]


def mistake(lines: str, uplinks: str = '["b"]') -> Mistake:
    with pytest.raises(ConfigError) as caught:
        balancer(lines, uplinks)
    (found,) = caught.value.mistakes
    return found


@pytest.mark.parametrize(
    ("lines", "options"),
    [
        ("", {}),
        ('method = "least-loaded"', {"tolerance": 1}),
        ('method = "least-loaded"\noptions = { tolerance = 0 }', {"tolerance": 0}),
        ('method = "overflow"', {"share": 80}),
        ('method = "overflow"\noptions.share = 95', {"share": 95}),
        ('method = "fastest"', {"tolerance": 0.01}),
        ('method = "fastest"\noptions = { tolerance = "5ms" }', {"tolerance": 0.005}),
        ('method = "custom_methods:First"\noptions.prefer = "b"', {"prefer": "b"}),
    ],
)
def test_options_are_those_of_the_method(lines: str, options: dict[str, object]) -> None:
    assert balancer(lines).options == options


def test_a_class_of_ones_own_is_found_where_python_finds_it() -> None:
    assert balancer('method = "custom_methods:First"').custom is First
    assert balancer('method = "nth"').custom is None


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("mine.own:Least", "mine.own cannot be imported as a Python module: ModuleNotFoundError"),
        ("custom_methods:Frist", "custom_methods has no class Frist; did you mean First?"),
        ("custom_methods:threading", "has no class threading"),
        ("custom_methods:NoSelect", "has no method select(self, flow, uplinks, now)"),
        ("custom_methods:TooFew", "must take (self, flow, uplinks, now), not (self, flow"),
        ("custom_methods:", 'must be "package.module:Class"'),
        ("least-load", "did you mean least-loaded?"),
    ],
)
def test_a_method_that_cannot_be_used_is_refused(name: str, rule: str) -> None:
    found = mistake(f'method = "{name}"')
    assert (found.line, found.key, found.value) == (3, "balancers.x.method", f'"{name}"')
    assert rule in found.rule


@pytest.mark.parametrize(
    ("method", "options", "key", "rule"),
    [
        ("custom_methods:First", "{ prefre = 1 }", "", "its constructor refuses these: TypeError:"),
        ("custom_methods:First", '{ prefer = "c" }', "", "it refuses these: prefer = 'c': must be"),
        ("custom_methods:Raising", "{ x = 1 }", "", "its constructor refuses these: TypeError"),
        ("custom_methods:Raising", "3", "", "must be a table"),
        ("nth", "{ share = 3 }", ".share", "unknown key"),
        ("overflow", "{ share = 0 }", ".share", "from 1 to 100"),
        ("least-loaded", "{ tolerance = 101 }", ".tolerance", "from 0 to 100"),
        ("least-loaded", "{ toleranse = 5 }", ".toleranse", "did you mean tolerance?"),
        ("fastest", '{ tolerance = "5" }', ".tolerance", "must be whole seconds or text"),
    ],
)
def test_options_that_the_method_does_not_take_are_refused(
    method: str, options: str, key: str, rule: str
) -> None:
    found = mistake(f'method = "{method}"\noptions = {options}')
    assert (found.line, found.key) == (4, f"balancers.x.options{key}")
    assert rule in found.rule


@pytest.mark.parametrize(
    ("method", "key"),
    [("least-loaded", "capacity"), ("overflow", "capacity"), ("fastest", "health")],
)
def test_methods_that_need_more_of_uplinks_say_of_which(method: str, key: str) -> None:
    found = mistake(f'method = "{method}"', '["a", "b"]')
    assert found.key == "balancers.x.method"
    assert found.rule == f"needs the {key} of each of its uplinks; without are: a"


@pytest.mark.parametrize(
    ("code", "rule"),
    [
        ("def select(:", "SyntaxError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            "class C:\n def select(self, *rest): ...\n def __init__(self): 1 / 0",
            "ZeroDivisionError",
        ),
    ],
)
def test_code_that_fails_is_a_mistake_in_the_file_and_no_more(
    code: str, rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_method.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    try:
        assert rule in mistake('method = "broken_method:C"').rule
    finally:
        sys.modules.pop("broken_method", None)
