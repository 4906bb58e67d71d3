"""Gateway tests run wherever the kernel can, with or without root.

Without root, pytest is executed once more as root of a user namespace of its own (with a network
and mount namespace), where the kernel allows that. A test marked `gateway` is skipped, with the
probe's words, where the kernel lacks what a virtual gateway needs; with CLASSIFIER_REQUIRE_KERNEL=1
it fails instead, so that a machine that should run these tests cannot pass by skipping them.
The last line of a run says how many were skipped, and why.
"""

from __future__ import annotations

import os
import sys

import pytest
from hypothesis import HealthCheck, settings

from classifier.lab import features, programs

_NO_KERNEL = "this kernel cannot run gateway tests: "
_REEXECUTED = "CLASSIFIER_TESTS_IN_USER_NAMESPACE"

# How long an example takes says how busy the machine is.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")
# `pytest tests/property --hypothesis-profile long` looks for minutes to hours.
settings.register_profile("long", settings(), max_examples=2000, stateful_step_count=60)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    os.environ["PATH"] = programs.search_path()
    if os.geteuid() == 0 or os.environ.get(_REEXECUTED) or config.option.collectonly:
        return
    try:
        features.require_user_namespaces()
    except features.MissingFeatureError:
        return  # the tests that need no rights still run; the others say what is missing
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    os.environ[_REEXECUTED] = "1"
    again = [sys.executable, "-m", "pytest", *config.invocation_params.args]
    command = features.own_namespaces(again)
    os.execvp(command[0], command)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gateway") is None:
        return
    try:
        features.require_gateway()
        for mark in item.iter_markers("programs"):
            features.require_programs(*mark.args)
    except features.MissingFeatureError as missing:
        if os.environ.get("CLASSIFIER_REQUIRE_KERNEL") == "1":
            pytest.fail(f"CLASSIFIER_REQUIRE_KERNEL=1, but: {missing}", pytrace=False)
        pytest.skip(f"{_NO_KERNEL}{missing}")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # Here, and not in the terminal summary, behind which pytest prints its own last line.
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is None:
        return
    # From the reports, which come also from tests in other processes (`-n`).
    reasons = [str(report.longrepr[2]) for report in terminal.stats.get("skipped", ())]
    missing = [reason for reason in reasons if _NO_KERNEL in reason]
    if missing:
        reason = missing[0].partition(_NO_KERNEL)[2].splitlines()[0]
        terminal.write_line(f"{len(missing)} gateway tests were SKIPPED: {reason}")
