"""The rights that the unit in docs/operations.md gives the service are enough for all it does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import WITH_IPV6, HostService
from host_snapshots import make_host, shell, snapshot

from classifier.lab.namespace import Namespace

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        shell(made, "sysctl -qw net.ipv4.conf.all.rp_filter=1")  # so that sysctls are written
        yield made


def documented(setting: str) -> list[str]:
    found = re.search(rf"^{setting}=(.*)$", OPERATIONS.read_text(), re.MULTILINE)
    assert found is not None
    return [f"+{name.removeprefix('CAP_').lower()}" for name in found[1].split()]


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_root_with_no_more_than_the_documented_capabilities_can_run_it(
    host: Namespace, tmp_path: Path, variant: str
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("iptables", "ip6tables"):
        for tool in ("", "-save", "-restore"):
            (programs / f"{name}{tool}").symlink_to(f"/usr/sbin/{name}-{variant}{tool}")
    service = HostService(host, tmp_path, WITH_IPV6)
    bound = ",".join(["-all", *documented("CapabilityBoundingSet")])
    before = _but_empty_tables(snapshot(host), variant)
    service.start(
        *("env", f"PATH={programs}:/usr/bin:/bin"),
        *("setpriv", "--no-new-privs", f"--bounding-set={bound}", "--inh-caps=-all", "--"),
    )
    assert "-A nfqc-queue" in host.run([f"iptables-{variant}-save"]).stdout
    assert service.status().returncode == 0
    assert service.stop() == 0, service.said
    assert _but_empty_tables(snapshot(host), variant) == before


def _but_empty_tables(state: dict[str, list[str]], variant: str) -> dict[str, list[str]]:
    """Tables of the legacy variant stay, as documented; no chain of ours does."""
    legacy = [command for command in state if variant == "legacy" and "legacy" in command]
    assert not [line for command in legacy for line in state[command] if "nfqc" in line]
    return {command: lines for command, lines in state.items() if command not in legacy}
