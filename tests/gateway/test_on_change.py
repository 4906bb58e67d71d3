"""The user's program for changes, started by a gateway that runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from host_service import eventually

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1}
WORDS = ["$(touch harmed)", "`touch harmed`; touch harmed", "a  b"]


def hook(directory: Path) -> tuple[str, Path]:
    """The line of [gateway], and the file in which each start leaves a line of JSON."""
    told, program = directory / "told", directory / "on change"
    program.write_text(
        "#!/usr/bin/python3\n"
        "import json, os, sys\n"
        "held = [os.readlink(f'/proc/self/fd/{fd}') for fd in range(3, 64)\n"
        "        if os.path.exists(f'/proc/self/fd/{fd}')]\n"
        f"with open({str(told)!r}, 'a') as file:\n"
        "    print(json.dumps([sys.argv[1:], dict(os.environ), held]), file=file)\n"
    )
    program.chmod(0o755)
    return f"on_change = {json.dumps([str(program), *WORDS])}", told


def steer(gateway: Lab, name: str, state: str) -> None:
    where = ("--runtime-dir", str(gateway.service.runtime_dir))
    gateway.service.command("uplink", name, state, *where)


def test_it_is_told_who_changed_and_how_and_inherits_nothing_of_the_service(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    line, told = hook(tmp_path)
    gateway = lab(configuration(WEIGHTS, gateway=line))
    assert gateway.status()["hooks"] == {"runs": 0, "failures": 0}, "nothing has changed"
    steer(gateway, "wifi1", "drain")

    def lines() -> list[list[object]]:
        return [json.loads(one) for one in told.read_text().splitlines()] if told.exists() else []

    eventually(lambda: len(lines()) == 1, "it is told")
    ((words, environment, held),) = lines()
    assert words == WORDS
    assert held == [], "a descriptor of the service"
    assert isinstance(environment, dict)
    assert environment.pop("PATH").startswith("/usr/local/sbin:")
    environment.pop("LC_CTYPE", None)  # by Python, for itself
    assert environment == {
        "UPLINK": "wifi1",
        "STATE": "draining",
        "OLD_STATE": "up",
        "REASON": "drained by hand",
        "IPV4": "draining",
        "IPV6": "",
        "INTERFACE": "eth1",
        "GATEWAY": "192.0.3.1",
        "GATEWAY6": "",
        "TABLE": "20802",
        "MARK": "0x200",
    }
    # Until then the next start would tell it again.
    record = gateway.service.state_dir / "told.json"
    eventually(lambda: '"draining", "", true' in " ".join(record.read_text().split()), "it is kept")
    gateway.service.kill()
    gateway.start_service()
    steer(gateway, "wifi1", "auto")
    eventually(lambda: len(lines()) == 2, "it is told")
    assert [lines()[1][1][key] for key in ("OLD_STATE", "STATE")] == ["draining", "up"]  # type: ignore[index]
    assert gateway.status()["hooks"] == {"runs": 1, "failures": 0}
    assert gateway.stop_service() == 0
    assert not list(tmp_path.rglob("harmed*"))
