"""`nfq-classifier lab` shows the gateway at work, says when a promise is broken, leaves nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from classifier.errors import LabError
from classifier.lab import demonstration, ftp
from classifier.lab.demonstration import Demonstration
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

ROOT = Path(__file__).parents[2]
LAB = (sys.executable, "-m", "classifier", "lab")
FILES = Path("/run/nfq-classifier-lab")
"""Where the lab keeps its files, in a mount namespace of its own."""


@pytest.fixture
def host() -> Iterator[Namespace]:
    """Stands for the host: what the lab is not allowed to touch can be compared here."""
    with Namespace.create("host") as namespace:
        namespace.run(["ip", "link", "add", "uplink", "type", "veth", "peer", "name", "far"])
        namespace.run(["ip", "addr", "add", "192.0.2.2/24", "dev", "uplink"])
        namespace.run(["ip", "link", "set", "uplink", "up"])
        namespace.run(["ip", "route", "add", "default", "via", "192.0.2.1"])
        yield namespace


def state(host: Namespace) -> str:
    shown = [
        ["ip", "address"],
        ["ip", "rule"],
        ["ip", "route", "show", "table", "all"],
        ["iptables-save"],
        ["sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter"],
    ]
    return "".join(host.run(command).stdout for command in shown)


def eventually(holds: Callable[[], bool], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + scaled(seconds)
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def processes(*words: str) -> list[int]:
    """Processes that have all these on their command lines, but for this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if all(word.encode() in line for word in words):
                found.append(int(entry.name))
    return found


def test_the_demonstration_keeps_every_promise_and_touches_nothing(host: Namespace) -> None:
    before = state(host)
    done = host.run([*LAB, "--flows", "600", "--json"], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["held"] is True
    assert [p["promise"] for p in report["promises"] if p["held"] is not True] == []
    spread = [kind for kind in report["sent"] if len(kind["wanted"]) == 3]
    assert sum(kind["flows"] for kind in report["sent"]) >= 550
    assert all(set(kind["got"]) == {"wired", "wifi1", "wifi2"} for kind in spread)
    assert all(kind["lost"] == 0 for kind in report["sent"])
    assert state(host) == before
    assert not FILES.exists()


def test_the_report_for_people_fits_a_terminal(host: Namespace) -> None:
    done = host.run([*LAB, "--flows", "100"], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert max(map(len, done.stdout.splitlines())) <= 100
    assert "yes" in done.stdout and "NO" not in done.stdout
    assert done.stderr == "", "no progress where nobody looks"


def test_a_checkout_in_the_current_directory_is_not_taken_for_what_is_installed(
    host: Namespace, tmp_path: Path
) -> None:
    """The service and the FTP servers are children, started from where the user is."""
    (tmp_path / "classifier").mkdir()
    (tmp_path / "classifier" / "__init__.py").write_text("raise SystemExit('another one')\n")
    # As the installed program starts: its own folder first, not the current one.
    start = "from classifier.commands import main; raise SystemExit(main())"
    installed = [sys.executable, "-P", "-c", start, "lab", "--flows", "60", "--json"]
    location = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    done = host.run(["env", f"PYTHONPATH={location}", *installed], check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    promises = {p["promise"]: p for p in json.loads(done.stdout)["promises"]}
    [transfers] = [p for text, p in promises.items() if text.startswith("FTP data")]
    assert transfers["held"] is True, transfers


def test_a_kernel_without_the_module_for_nat_of_ftp_is_told_and_active_ftp_left_out(
    lab: StartLab, configuration: Configuration
) -> None:
    gateway = lab(demonstration.CONFIG.read_text())
    shown = Demonstration(gateway, 10, ["nf_nat_ftp"])
    dict(shown.parts)["FTP"]()
    active, passive = shown.promises
    assert (active.held, active.found) == (None, "the kernel lacks nf_nat_ftp")
    assert active.text.endswith("active")
    assert passive.held is True, passive
    assert passive.text.endswith("connection, passive")


def test_any_policy_is_tried_flow_by_flow(host: Namespace, tmp_path: Path) -> None:
    """Two LANs, three methods, IPv6, a link without a gateway: live as offline."""
    config = tmp_path / "gateway.toml"
    config.write_text(
        """
        [gateway]
        lan = ["eth2", "lan1"]
        [uplinks]
        wired = { interface = "eth0", gateway = "192.168.1.254", gateway6 = "auto", weight = 3 }
        wifi = { interface = "eth1", gateway = "auto", gateway6 = "fe80::1", weight = 2 }
        lte = { interface = "ppp0" }
        [balancers]
        turns = { method = "nth", uplinks = ["wired", "wifi"], sticky = "remote" }
        draws = { method = "weighted", uplinks = ["wired", "lte"] }
        hashes = { method = "hash", uplinks = ["wired", "lte", "wifi"] }
        [[rules]]
        name = "home"
        to = ["192.168.0.0/16", "10.0.0.0/8"]
        use = "direct"
        [[rules]]
        name = "telnet"
        protocol = "tcp"
        to_ports = [23]
        use = "drop"
        [[rules]]
        name = "guests"
        from = ["10.20.0.0/16"]
        use = "draws"
        [[rules]]
        name = "workshop"
        in_interface = "lan1"
        use = "hashes"
        [[rules]]
        name = "six"
        family = "ipv6"
        use = "turns"
        [[rules]]
        name = "rest"
        use = "turns"
        """
    )
    done = host.run([*LAB, str(config), "--flows", "600", "--seed", "5", "--json"], check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert [p["held"] for p in report["promises"]] == [True] * len(report["promises"])
    by_rule = {kind["what"].split(" -> ")[0]: kind for kind in report["sent"]}
    assert set(by_rule) == {"home", "telnet", "guests", "workshop", "six", "rest"}
    assert all(kind["flows"] >= 40 for kind in by_rule.values())
    assert set(by_rule["home"]["got"]) == {"direct"}
    assert set(by_rule["telnet"]["got"]) == {"drop"}
    assert set(by_rule["guests"]["got"]) == {"wired", "lte"}
    assert set(by_rule["workshop"]["got"]) == {"wired", "wifi", "lte"}
    assert set(by_rule["six"]["got"]) == {"wired", "wifi"}


def test_a_broken_promise_is_exit_code_1(host: Namespace, tmp_path: Path) -> None:
    """A firewall of somebody else drops what would leave by one of the uplinks."""
    config = tmp_path / f"broken-{os.getpid()}.toml"
    config.write_text(
        """
        [uplinks]
        wired = { interface = "eth0", gateway = "auto" }
        wifi = { interface = "eth1", gateway = "auto" }
        [balancers]
        all = { method = "nth", uplinks = ["wired", "wifi"] }
        [[rules]]
        use = "all"
        """
    )
    process = host.popen(
        [*LAB, str(config), "--flows", "30"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert eventually(lambda: processes(config.name, "\0run\0") != []), "the service in the lab"
    [service] = processes(config.name, "\0run\0")
    drop = ["iptables", "-w", "-t", "mangle", "-A", "POSTROUTING", "-o", "eth1", "-j", "DROP"]
    subprocess.run(["nsenter", f"--net=/proc/{service}/ns/net", *drop], check=True)
    output, errors = process.communicate(timeout=scaled(60))
    assert process.returncode == 1, output + errors
    assert "NO    every flow goes where the engine says" in output


def test_a_mistake_in_the_configuration_is_exit_code_2(host: Namespace, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text("[gateway]\nlam = []\n")
    done = host.run([*LAB, str(config)], check=False)
    assert done.returncode == 2
    assert f"{config}: line 2: gateway.lam" in done.stderr
    assert host.run([*LAB, str(tmp_path / "none.toml")], check=False).returncode == 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda n: n.name)
def test_a_lab_that_is_interrupted_leaves_nothing_behind(
    host: Namespace,
    tmp_path: Path,
    number: signal.Signals,
    configuration: Configuration,
) -> None:
    config = tmp_path / f"interrupted-{os.getpid()}-{number.name}.toml"
    config.write_text(configuration({"wired": 1, "wifi": 1}))
    before = state(host)
    # A shell starts what it runs in the background with SIGINT ignored, and so would be the lab's.
    heeding = ["env", "--default-signal=INT", *LAB]
    process = host.popen(
        [*heeding, str(config), "--flows", "30000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert eventually(lambda: processes(config.name, "\0run\0") != []), "the service in the lab"
    process.send_signal(number)
    _, errors = process.communicate(timeout=scaled(20))
    assert process.returncode == (130 if number == signal.SIGINT else -number), errors
    assert eventually(lambda: processes(config.name) == [])
    assert state(host) == before
    assert not FILES.exists()


def test_without_pyftpdlib_only_ftp_is_refused_and_why(
    lab: StartLab, configuration: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyftpdlib", None)
    gateway = lab(configuration({"wired": 1, "wifi": 1}), service=False)
    assert "pyftpdlib is not installed" in (ftp.missing() or "")
    with pytest.raises(LabError, match="pyftpdlib is not installed"):
        gateway.ftp_transfer("198.18.0.1", passive=True)
