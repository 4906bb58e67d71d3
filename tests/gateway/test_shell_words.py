"""Names that a shell would act on are passed on as they are, wherever they go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_service import CONFIG, HostService, eventually
from host_snapshots import make_host, shell

if TYPE_CHECKING:
    from conftest import UseIptables

    from classifier.host.iptables.programs import Variant

NAME = "$(touch${IFS}x)"
"""A name that the kernel takes for an interface, and a command that makes the file x."""


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_an_interface_named_like_a_command_is_an_uplink_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_iptables: UseIptables, variant: Variant
) -> None:
    use_iptables(variant)
    monkeypatch.chdir(tmp_path)
    told = tmp_path / "told"
    command = ["/bin/sh", "-c", f'printf %s "$INTERFACE $1" >{told}', NAME, NAME]
    config = CONFIG.replace('"eth0"', f"'{NAME}'")
    config = config.replace("[gateway]", f"[gateway]\non_change = {json.dumps(command)}")
    with make_host() as host:
        shell(
            host,
            f"ip link set eth0 down; ip link set eth0 name '{NAME}'; ip link set '{NAME}' up\n"
            f"ip route replace default via 10.0.0.2",
        )
        service = HostService(host, tmp_path / "service", config)
        service.start()
        where = ["--runtime-dir", str(service.runtime_dir)]
        assert service.command("uplink", "wired", "drain", *where).returncode == 0
        eventually(lambda: told.exists() and told.read_text() == f"{NAME} {NAME}", "it is told")
        flow = f"udp 10.2.0.9:1 > 192.0.2.1:53 in {NAME}"
        answer = json.loads(service.command("explain", "--live", flow, "--json", *where).stdout)
        assert "comes in on uplink" in answer["why"]
        assert service.stop() == 0, service.said
    assert not list(tmp_path.rglob("x"))
