"""One gateway per network namespace, and the file of its ids: written by it alone, and mended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import HostService, eventually, running
from host_snapshots import make_host, snapshot

from classifier.lab.namespace import Namespace

DAMAGED = ("", '{"wired": 1,', "\xff\x00")


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def test_of_eight_services_started_at_once_one_runs_and_the_others_change_nothing(
    host: Namespace, tmp_path: Path
) -> None:
    before = snapshot(host)
    services = [HostService(host, tmp_path / str(number)) for number in range(8)]
    for service in services:
        service.launch()

    def settled() -> bool:
        ended = [service for service in services if service.process.poll() is not None]
        return len(ended) == 7 and any("ready:" in service.said for service in services)

    eventually(settled, "one is ready and seven have ended")
    [running] = [service for service in services if service.process.poll() is None]
    for service in services:
        if service is not running:
            assert service.process.returncode == 1
            assert f"already, by process {running.process.pid} (" in service.said
            assert not (service.state_dir / "uplinks.json").exists()
    ids = json.loads((running.state_dir / "uplinks.json").read_text())
    assert ids == {"wired": 1, "wifi": 2}
    assert running.status().returncode == 0
    assert running.stop() == 0, running.said
    assert snapshot(host) == before


def test_a_damaged_file_of_ids_is_set_aside_and_told_and_the_service_starts(
    host: Namespace, tmp_path: Path
) -> None:
    for number, content in enumerate(DAMAGED):
        service = HostService(host, tmp_path / str(number))
        service.state_dir.mkdir()
        file = service.state_dir / "uplinks.json"
        file.write_text(content, encoding="latin-1")
        service.start()
        assert service.said.startswith(f"nfq-classifier: {file}: must be a JSON object")
        assert "kept as uplinks.json.damaged" in service.said
        assert json.loads(file.read_text()) == {"wired": 1, "wifi": 2}
        kept = service.state_dir / "uplinks.json.damaged"
        assert kept.read_text(encoding="latin-1") == content
        assert service.stop() == 0


def test_a_service_that_is_refused_leaves_the_ids_of_another_alone(
    host: Namespace, tmp_path: Path
) -> None:
    with running(host, tmp_path / "one") as first:
        second = HostService(host, tmp_path / "two")
        second.state_dir = first.state_dir
        second.config.write_text(second.config.read_text().replace("wifi", "radio"))
        file = first.state_dir / "uplinks.json"
        content = file.read_text()
        assert "already, by process" in second.refused()
        assert file.read_text() == content
