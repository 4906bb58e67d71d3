"""Another package cimports the installed declarations, and its method decides in this engine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "methods.md").read_text()
(SHOWN,) = re.findall(r"^```cython\n# fewest.pyx\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
MORE = """
from libc.string cimport strcmp

cdef class Wrong(CythonMethod):
    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        return <int32_t>count


cdef class Telling(CythonMethod):
    # The second uplink for just the flow that the test sends.
    cdef uint64_t seed
    cdef uint16_t port

    def __init__(self, port):
        self.port = port

    def validate(self, uplinks):
        if len(uplinks) < 2:
            raise ValueError("needs two uplinks")

    def prepare(self, uplinks, seed):
        self.seed = seed

    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        return (
            self.seed != 0 and flow.packet.family == 4 and flow.packet.dport == self.port
            and flow.packet.dst[1] == 0xFFFF08080808ULL and flow.user == 1000 and now == 12.5
            and flow.in_interface != NULL and strcmp(flow.in_interface, b"lan0") == 0
            and uplinks[1].weight == 2 and uplinks[1].tier == 1 and uplinks[1].capacity == 125000
            and uplinks[1].rate < 0 and uplinks[1].latency < 0
        )
"""
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

setup(name="fewest", ext_modules=cythonize([Extension("fewest", ["fewest.pyx"])], language_level=3))
"""
PROGRAM = """
import json, struct, sys
from dataclasses import replace

from classifier import Classifier
from classifier.config import parse_policy
from classifier.errors import ConfigError
from classifier.testing.methods import check_method
import fewest

POLICY = '''
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
[uplinks.b]
interface = "eth1"
weight = 2
capacity = "1mbit"
[balancers.all]
method = "fewest:%s"
options = %s
uplinks = %s
[[rules]]
use = "all"
'''


def classifier(name, options="{}", uplinks='["a", "b"]'):
    return Classifier(parse_policy(POLICY % (name, options, uplinks)), seed=1)


def packet(number, dport=53):
    return struct.pack(">BBHHHBBHIIHHHH", 0x45, 0, 28, 0, 0, 64, 17, 0, 0x0A000001 + number,
                       0x08080808, 1024, dport, 8, 0)


def told(c, *packets):
    decisions = c.classify_many(packets, 0.0)
    return [sorted({d.reason for d in decisions}), c.counters().uplinks,
            c.counters().balancers["all"].errors]


few = classifier("Fewest")
found = {"fewest": told(few, *map(packet, range(100)))}
kept = few.engine.methods_of_users()[0].made
few.engine.replace_policy(replace(few.policy, rules=()))
few.engine.replace_policy(classifier("Fewest").policy)
few.classify(packet(500), 0.0)
found["kept"] = few.engine.methods_of_users()[0].made is kept
few.engine.replace_policy(classifier("Wrong").policy)
found["wrong after a reload"] = few.classify(packet(501), 0.0).reason
found["wrong"] = told(classifier("Wrong"), *map(packet, range(100)))
telling = classifier("Telling", "{ port = 53 }")
found["told"] = [telling.classify(packet(1), 12.5, "lan0", 1000).uplink,
                 telling.classify(packet(2, 54), 12.5, "lan0", 1000).uplink,
                 telling.classify(packet(3), 12.6, "lan0", 1000).uplink]
found["checked"] = sum(check_method(fewest.Fewest, calls=300).flows.values())
try:
    check_method(fewest.Wrong)
except AssertionError as error:
    found["contract"] = str(error)
try:
    classifier("Telling", "{ port = 53 }", '["a"]')
except ConfigError as error:
    found["refused"] = str(error)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What a program says that uses the methods of a package built outside of this one."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "fewest.pyx").write_text(
        SHOWN.replace("int32_t, uint32_t", "int32_t, uint16_t, uint32_t, uint64_t") + MORE
    )
    (folder / "setup.py").write_text(SETUP)
    (folder / "program.py").write_text(PROGRAM)
    env = {**os.environ, "PYTHONPATH": str(ROOT), "CFLAGS": "-O0"}
    for words in (["-W", "ignore", "setup.py", "-q", "build_ext", "--inplace"], ["program.py"]):
        done = subprocess.run(
            [sys.executable, *words], cwd=folder, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, object] = json.loads(done.stdout)
    return result


def test_it_places_flows_like_a_method_built_in(found: dict[str, object]) -> None:
    assert found["fewest"] == [["custom"], {"a": 50, "b": 50}, 0]


def test_a_number_that_is_no_uplink_is_an_error_and_the_weights_decide(
    found: dict[str, object],
) -> None:
    reasons, uplinks, errors = found["wrong"]  # type: ignore[misc]
    assert (reasons, errors) == (["weighted"], 100)
    assert 45 < uplinks["b"] < 90
    assert re.search(r"pick returned (\d), which is none of \1 uplinks", str(found["contract"]))


def test_it_is_told_the_flow_the_uplinks_and_the_time(found: dict[str, object]) -> None:
    assert found["told"] == ["b", "a", "a"]


def test_a_reload_makes_it_anew_unless_it_is_as_before(found: dict[str, object]) -> None:
    assert found["kept"] is True
    assert found["wrong after a reload"] == "weighted"


def test_it_is_checked_and_tested_like_one_in_python(found: dict[str, object]) -> None:
    assert found["checked"] == 300
    assert "it refuses these: needs two uplinks" in str(found["refused"])
