"""The example of a policy that is tested in CI: its tests run, and fail where they should."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "policy-in-ci"
CHAPTER = ROOT / "docs" / "testing-policies.md"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The example as a repository of its own, with nothing of ours around it."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "repository"))


def run_tests(repository: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--color=no"]
    return subprocess.run(
        command, cwd=repository, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_example_passes_as_it_stands(repository: Path) -> None:
    done = run_tests(repository)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout


def test_a_policy_that_got_worse_fails_with_the_flows_that_show_it(repository: Path) -> None:
    policy = repository / "gateway.toml"
    worse = policy.read_text().replace('sticky = { by = "remote", timeout = "4h" }', "")
    worse = worse.replace('use = "fibre"', 'use = "lte"')
    policy.write_text(worse)
    done = run_tests(repository)
    assert done.returncode == 1
    assert "4 of 64 flows match uplink='lte', dport=22; none must:" in done.stdout
    assert re.search(r"E +\d+\.\d{3} s tcp .* uplink lte, rule 'terminals stay on", done.stdout)
    assert "flow of the same remote before" in done.stdout
    # The traceback ends in the test, not in the assertion's own code.
    assert "outcome.py" not in done.stdout.split("short test summary")[0].replace("outcome.Out", "")


def test_the_chapter_shows_the_example_as_it_is() -> None:
    page = CHAPTER.read_text()
    shown = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert (EXAMPLE / "tests" / "test_gateway.py").read_text() in shown
    for file in EXAMPLE.rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith("."):
            assert file.name in page, f"{file.name} is not spoken of"


def test_a_run_of_pytest_that_does_not_use_the_plugin_imports_nothing_of_it(
    tmp_path: Path,
) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    assert 'pytest_nfq_classifier' in sys.modules\n"
        "    assert 'classifier' not in sys.modules\n"
    )
    done = run_tests(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
