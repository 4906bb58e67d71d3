"""The units that are shipped are those that the page about operations shows."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "packaging" / "systemd").glob("*.service"))


def test_there_are_two_units() -> None:
    assert [unit.stem for unit in UNITS] == ["nfq-classifier-host", "nfq-classifier"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_the_page_shows_a_unit_as_it_is_shipped(unit: Path) -> None:
    assert f"```ini\n{unit.read_text()}```\n" in (ROOT / "docs" / "operations.md").read_text()
