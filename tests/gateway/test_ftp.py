"""FTP: the data connection leaves by the uplink of its control connection, both ways round."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}


@pytest.mark.parametrize("network", ["198.18.0.", "2001:2::"], ids=["IPv4", "IPv6"])
@pytest.mark.parametrize("passive", [True, False], ids=["passive", "active"])
def test_ftp_data_follow_their_control_connection(
    lab: StartLab, configuration: Configuration, passive: bool, network: str
) -> None:
    text = configuration(WEIGHTS, gateway='helpers = ["ftp"]', uplink='gateway6 = "fe80::1"')
    gateway = lab(text)
    transfers = [gateway.ftp_transfer(f"{network}{n}", passive=passive) for n in range(1, 7)]
    assert [transfer.error for transfer in transfers] == [None] * 6
    assert [transfer.data for transfer in transfers] == [transfer.control for transfer in transfers]
    assert {transfer.control for transfer in transfers} == set(WEIGHTS), (
        "all three uplinks were tried"
    )
    flows = sum(uplink["flows"] for uplink in gateway.status()["uplinks"].values())
    assert flows == 6, "a data connection was given an uplink of its own"
