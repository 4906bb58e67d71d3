"""Names that a shell would execute are data to everything here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from test_uplink_life import WEIGHTS, black_hole, probed, taken, wait_for

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

HOSTILE = "$(>w)`>w`;>w&>w"
"""As long as the kernel allows; each part of it makes a shell create the file `w`."""


def test_an_uplink_and_a_lan_with_hostile_interface_names_work_and_execute_nothing(
    lab: StartLab,
    configuration: Configuration,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(here)
    text = configuration(WEIGHTS, more=probed("wifi1")).replace('"eth1"', f'"{HOSTILE}"')
    gateway = lab(text.replace('"lan0"', f'"{HOSTILE[::-1]}"'))
    assert sorted(taken(gateway)) == ["wifi1"] * 10 + ["wired"] * 10
    black_hole(gateway, "wifi1", True)
    wait_for(gateway, "wifi1", "down")
    assert set(taken(gateway)) == {"wired"}
    assert gateway.stop_service() == 0
    assert list(here.iterdir()) == []
    assert not Path("w").exists()
