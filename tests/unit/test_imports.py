"""Imports point one way, so that each room can be read, and changed, without those above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RANKS = {
    "errors": 0,
    "policy": 0,
    "config": 1,
    "engine": 1,
    "state": 1,
    "queue": 2,
    "uplinks": 2,
    "host": 3,
    "replay": 3,
    "simulate": 4,
    "sweep": 4,
    "report": 4,
    "testing": 4,
    "service": 4,
    "lab": 4,
    "commands": 5,
}
"""A room imports from itself and from rooms of a lower rank, never from one beside it."""

FACADE = {"__init__", "__main__"}
"""What `from classifier import ...` and `python -m classifier` are made of: these see all."""

CYTHON_IMPORT = re.compile(
    r"^\s*(?:from\s+([\w.]+)\s+c?import\s+(?:\(([^)]*)\)|([^#\n]*))|c?import\s+([\w.]+))",
    re.MULTILINE,
)
CYTHON_HEADER = re.compile(r'cdef extern from "([^"]+)"')
DECIDING = {
    "bisect", "collections", "dataclasses", "ipaddress", "itertools", "json", "math", "secrets",
    "threading", "typing", "zlib", "__future__",
}  # fmt: skip
"""Of the standard library what the engine may use: nothing of files, clocks or the host."""
DECIDING_C = {"libc.math", "libc.stddef", "libc.stdint", "libc.stdlib", "libc.string"}
DECIDING_HEADERS = {"<pthread.h>", "<stdlib.h>", "sys/mman.h"}


def sources() -> list[Path]:
    compiled = [*(ROOT / "ext").rglob("*.pyx"), *(ROOT / "classifier").rglob("*.pxd")]
    return sorted([*(ROOT / "classifier").rglob("*.py"), *compiled])


def room(source: Path) -> str:
    top = source.relative_to(ROOT).parts[1]
    return top.removesuffix(source.suffix)


def imported(source: Path) -> Iterator[str]:
    """Every module that a file imports or cimports, wherever in the file it does."""
    text = source.read_text()
    if source.suffix != ".py":
        for origin, several, few, plain in CYTHON_IMPORT.findall(text):
            names = [name.split()[0] for name in (several or few).split(",") if name.strip()]
            yield from ([plain] if plain else spelled_out(origin, names))
        return
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source}: relative import"
            yield from spelled_out(node.module or "", [alias.name for alias in node.names])


def spelled_out(origin: str, names: list[str]) -> Iterator[str]:
    """`from classifier import policy` names a module, `from classifier.policy import X` one too."""
    if origin == "classifier":
        yield from (f"classifier.{name}" for name in names)
    else:
        yield origin


@pytest.mark.parametrize("source", sources(), ids=lambda s: str(s.relative_to(ROOT)))
def test_nothing_imports_from_a_room_above_or_beside_its_own(source: Path) -> None:
    if room(source) in FACADE:
        return
    for module in imported(source):
        if module.split(".")[0] != "classifier":
            continue
        other = module.split(".")[1]
        assert other in RANKS, f"imports {module}, which is no room"
        assert other == room(source) or RANKS[other] < RANKS[room(source)], f"imports {module}"


def test_the_package_root_holds_the_policy_the_errors_and_the_way_in_alone() -> None:
    found = {p.stem for p in (ROOT / "classifier").iterdir() if p.is_file() and p.suffix == ".py"}
    assert found == {"errors", "policy", *FACADE}
    rooms = {p.name for p in (ROOT / "classifier").iterdir() if (p / "__init__.py").exists()}
    assert rooms <= RANKS.keys()


@pytest.mark.parametrize(
    "source",
    [source for source in sources() if room(source) == "engine"],
    ids=lambda s: str(s.relative_to(ROOT)),
)
def test_the_engine_knows_no_file_clock_or_host(source: Path) -> None:
    for module in imported(source):
        top = module.split(".")[0]
        if top == "libc":
            assert module in DECIDING_C
        else:
            assert top in DECIDING | {"classifier", "cpython", "cython"}, f"imports {module}"
    if source.suffix != ".py":
        included = set(CYTHON_HEADER.findall(source.read_text()))
        assert included <= DECIDING_HEADERS, f"includes {included - DECIDING_HEADERS}"


def test_the_imports_of_cython_are_seen(tmp_path: Path) -> None:
    """A room above would go unnoticed if these were not read right."""
    source = tmp_path / "x.pyx"
    source.write_text(
        "from classifier.engine.wire cimport (\n    Packet, parse,\n)\n"
        "from classifier import policy as policies\n"
        "cimport cython\nimport os\n"
        "    from classifier.service.queues import Queues\n"
    )
    assert list(imported(source)) == [
        "classifier.engine.wire",
        "classifier.policy",
        "cython",
        "os",
        "classifier.service.queues",
    ]
