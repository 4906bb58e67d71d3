"""The command line as a user meets it: output, exit codes, and what goes to stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import classifier.commands.check
from classifier.commands import main

GOOD = """
[gateway]
lan = ["eth2"]
helpers = ["ftp"]
[uplinks.wired]
interface = "eth0"
gateway = "192.168.1.254"
gateway6 = "auto"
weight = 2
onlink = true
[uplinks.wifi1]
interface = "eth1"
masquerade = false
[balancers.all]
uplinks = ["wired", "wifi1"]
sticky = { by = "local", timeout = "4h", prefix4 = 24 }
[[rules]]
name = "interactive"
protocol = ["tcp", 17]
to = "2001:db8::/32"
from_ports = "1024-65535"
dscp = "ef"
use = "wired"
strict = true
[[rules]]
use = "all"
[[rules]]
use = "direct"
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.toml"
    file.write_text(GOOD)
    return str(file)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "classifier", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_check_prints_the_policy_and_succeeds(good: str) -> None:
    done = run("check", good)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout
        == """\
flows from  eth2, the gateway itself
mark bits   0x3f00 (direct 0x3f00, unclassified 0x3e00)
firewall    auto
helpers     ftp
queue       0, length 8192, native, when it is full: accept
memory      2.0 MiB for sticky tables

uplink  id   mark  table  interface  gateway        gateway6  weight  masquerade  onlink
wired    1  0x100  20801  eth0       192.168.1.254  auto           2  yes         yes
wifi1    2  0x200  20802  eth1       none           none           1  no          no

balancer  method  shares                    sticky                                    fallback
all       nth     wired 66.7%, wifi1 33.3%  by local for 4h, IPv4 /24, at most 65536  direct

#  rule         matches                                                    use
1  interactive  tcp, udp; from port 1024-65535; to 2001:db8::/32; dscp ef  wired, strict
2  rule 2       everything                                                 all
3  rule 3       everything                                                 direct
                no rule matched                                            direct

warning: rule "rule 2" takes every flow; never reached: "rule 3"
"""
    )


def test_check_shows_tiers_capacity_and_health_where_the_file_has_some(tmp_path: Path) -> None:
    file = tmp_path / "life.toml"
    life = 'capacity = { down = "100mbit", up = "1500kbit" }\ntier = 2\nfailback = "move"\n'
    health = '[uplinks.wired.health]\nprobe = "dns"\ntargets = ["192.0.2.53", "192.0.2.54:5353"]\n'
    file.write_text(
        GOOD.replace("onlink = true\n", f"{life}{health}interval = 2\nname = 'x.org'\n")
    )
    assert (
        """
uplink  tier  capacity                   flush  failback  health
wired      2  100mbit down, 1500kbit up  down   move      dns to 192.0.2.53, 192.0.2.54:5353 every
                                                          2s; down after 3 rounds, up after 5
wifi1      1  unknown                    down   keep      not probed

balancer  method  shares                    sticky                                    fallback
all       nth     wired 0.0%, wifi1 100.0%"""
        in run("check", str(file)).stdout
    )
    wired = json.loads(run("check", str(file), "--json").stdout)["uplinks"]["wired"]
    assert wired["capacity"] == {"down": 12_500_000, "up": 187_500}
    assert wired["health"]["targets"] == ["192.0.2.53", "192.0.2.54:5353"]
    assert (wired["health"]["name"], wired["health"]["interval"]) == ("x.org", 2.0)


def test_check_says_which_group_may_use_the_control_socket(tmp_path: Path) -> None:
    file = tmp_path / "group.toml"
    file.write_text(GOOD.replace("[gateway]", '[gateway]\ncontrol_group = "root"'))
    assert "\ncontrol     root, the service's user, group root\n" in run("check", str(file)).stdout
    said = json.loads(run("check", str(file), "--json").stdout)
    assert said["gateway"]["control_group"] == "root"


def test_check_as_json_says_everything_that_is_in_effect(good: str) -> None:
    done = run("check", good, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    said = json.loads(done.stdout)
    assert said["gateway"]["mask"] == 0x3F00
    assert said["queue"]["length"] == 8192
    assert said["uplinks"]["wifi1"] == {
        "id": 2,
        "mark": 0x200,
        "table": 20802,
        "interface": "eth1",
        "gateway": None,
        "gateway6": None,
        "weight": 1,
        "masquerade": False,
        "onlink": False,
        "tier": 1,
        "capacity": None,
        "flush": "down",
        "failback": "keep",
        "health": None,
    }
    assert said["uplinks"]["wired"]["onlink"] is True
    assert said["sticky_memory"] == 65536 * 32
    assert said["balancers"]["all"]["uplinks"]["wired"] == {
        "weight": 2,
        "tier": 1,
        "share": 2 / 3,
    }
    assert said["balancers"]["all"]["sticky"]["timeout"] == 14400.0
    assert said["rules"][0]["protocol"] == [6, 17]
    assert said["rules"][0]["from_ports"] == [[1024, 65535]]
    assert len(said["warnings"]) == 1


def test_check_of_a_wrong_file_names_each_mistake_on_a_line_and_exits_2(tmp_path: Path) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text('[uplinks.a]\ninterface = "eth0"\nweight = 0\nspeed = 3\n')
    done = run("check", str(file))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"nfq-classifier: {file}: line 3: uplinks.a.weight = 0: must be an integer from 1 to 65535",
        f"nfq-classifier: {file}: line 4: uplinks.a.speed = 3: unknown key",
    ]


def test_check_of_a_file_that_is_not_there_exits_2(tmp_path: Path) -> None:
    done = run("check", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml: cannot be read: No such file or directory" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "required: COMMAND"),
        (["chekc", "x"], "invalid choice: 'chekc'"),
        (["check"], "required: FILE"),
        (["check", "--jsn", "x"], "unrecognized arguments: --jsn"),
        (["check", "x", "y"], "unrecognized arguments: y"),
        (["check", "--seed", "-1", "x"], "must be an integer from 0 to 18446744073709551615"),
        (["check", "--seed", "18446744073709551616", "x"], "must be an integer from 0"),
        (["check", "--seed", "many", "x"], "many must be an integer"),
    ],
)
def test_wrong_usage_is_explained_and_exits_2(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert says in captured.err
    assert all(line.startswith("nfq-classifier: ") for line in captured.err.splitlines())


@pytest.mark.parametrize(
    ("arguments", "page"),
    [
        (["check", "x", "y"], "nfq-classifier check --help"),
        (["check", "x", "--jsn"], "nfq-classifier check --help"),
        (["replay", "x"], "nfq-classifier replay --help"),
        (["chekc"], "nfq-classifier --help"),
    ],
)
def test_wrong_usage_points_to_the_help_of_the_command(
    arguments: list[str], page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"nfq-classifier: see {page}"


def test_every_command_takes_a_seed(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good, "--seed", "0xffffffffffffffff"]) == 0
    assert "wired" in capsys.readouterr().out


def test_help_lists_the_commands_and_succeeds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    assert classifier.commands.check.HELP in said
    assert "exit codes: 0 done, 1 failed, 2 wrong usage or configuration" in said
    assert max(map(len, said.splitlines())) <= 100


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"nfq-classifier {metadata.version('nfq-classifier')}\n"


def test_a_reader_that_leaves_early_is_no_reason_to_complain(good: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "classifier", "check", good],
            stdout=writing,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.parametrize("arguments", [["check", "GOOD"], ["check", "GOOD", "--json"]])
def test_a_full_disk_is_said_in_one_line(arguments: list[str], good: str) -> None:
    command = [good if argument == "GOOD" else argument for argument in arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "classifier", *command],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    said = "nfq-classifier: the output cannot be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_closed_output_is_no_failure(good: str) -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-m", "classifier", "check", good],
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_interrupt_ends_a_command_quietly(
    good: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(classifier.commands.check, "run", interrupted)
    assert main(["check", good]) == 130
    assert capsys.readouterr() == ("", "")
