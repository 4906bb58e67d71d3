"""What the compiled code promises by its declarations."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2]
ARGUMENTS = r"\(((?:[^()]|\([^()]*\))*)\)"
DECLARATION = re.compile(
    rf"^ *cdef (?!extern|enum|struct|class)[^=\n]*?(\w+){ARGUMENTS}([^\n]*)$", re.MULTILINE
)
MODULES = ["wire", "protocols", "tables", "holders", "methods", "matching", "balancers", "engine",
           "hashing", "succession", "deciding", "loads", "load_methods", "questions"]  # fmt: skip
MADE_ONCE = {"create", "create_sticky", "create_holders", "compile_balancer",
             "compile_masks", "compile_matcher", "compile_field", "name_digest", "allocate",
             "target", "decision_value", "prepare", "find_uplinks", "find_rules",
             "find_balancers", "option_of", "methods_in_use", "tell_uplinks", "answer"}  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_no_decision_waits_for_the_interpreter(module):
    """Everything but what makes an engine, or its answers for Python, runs without the GIL."""
    files = [
        SOURCES / "ext/engine" / f"{module}.pyx",
        SOURCES / "classifier/engine" / f"{module}.pxd",
    ]
    declared = {}
    for file in files:
        if file.exists():
            for name, _, promises in DECLARATION.findall(file.read_text()):
                declared.setdefault(name, promises)
    assert declared
    for name, promises in declared.items():
        if name not in MADE_ONCE:
            assert "noexcept nogil" in promises, name
