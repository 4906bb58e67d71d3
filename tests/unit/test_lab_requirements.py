"""What the lab needs is found where it is, and is named when it is missing."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.commands.lab import _text
from classifier.errors import LabError
from classifier.lab import features, programs
from classifier.lab.report import Report
from classifier.lab.run import _without_module

ROOT = Path(__file__).parents[2]


def test_an_ordinary_user_s_path_on_debian_still_finds_programs_of_the_system(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")
    assert programs.search_path().split(":") == [
        *("/usr/local/bin", "/usr/bin", "/bin"),
        *("/usr/local/sbin", "/usr/sbin", "/sbin"),
    ]
    monkeypatch.setenv("PATH", "/usr/sbin:/somewhere")
    assert programs.search_path() == "/usr/sbin:/somewhere:/usr/local/sbin:/sbin"


def test_a_program_in_path_comes_before_that_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert programs.missing("no-such-program") == "no-such-program: not found in PATH or /usr/sbin"
    program = tmp_path / "no-such-program"
    program.touch()
    program.chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert programs.missing("no-such-program") is None


def test_a_program_that_is_missing_is_named_with_its_debian_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(programs, "find", lambda name: None)
    assert programs.missing("iptables") == (
        "iptables: not found in PATH or /usr/sbin (Debian package: iptables)"
    )
    with pytest.raises(LabError) as error:
        features.require_gateway()
    lines = str(error.value).splitlines()
    assert len(lines) == len(features.PROGRAMS)
    assert "conntrack: not found in PATH or /usr/sbin (Debian package: conntrack)" in lines


def test_a_missing_module_is_a_warning_of_the_report_and_breaks_no_promise() -> None:
    report = Report(("a",), (), (), (_without_module("nf_nat_ftp"),), 1.0)
    assert report.held
    [warning] = report.data()["warnings"]
    assert warning.startswith("the kernel module nf_nat_ftp is not loaded: ")
    assert _text(report, "title").startswith(f"warning: {warning}\ntitle: 0 flows")


def test_a_run_that_skipped_the_gateway_says_so_in_its_last_line_with_the_reason() -> None:
    """As root of a container that may not make namespaces."""
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    tests += ["tests/gateway/test_namespace.py", "tests/unit/test_lab_plans.py"]
    rights = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    environment = {**os.environ, "CLASSIFIER_TESTS_IN_USER_NAMESPACE": "1"}
    environment.pop("CLASSIFIER_REQUIRE_KERNEL", None)
    done = subprocess.run(
        [*rights, *tests], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    *_, counts, last = done.stdout.splitlines()
    skipped = re.search(r"^\d+ passed, (\d+) skipped in ", counts)
    assert skipped is not None, counts
    reason = "cannot make namespaces here (chroot, or a container without rights?"
    assert last.startswith(f"{skipped[1]} gateway tests were SKIPPED: {reason}")
    assert last.endswith("Operation not permitted")
