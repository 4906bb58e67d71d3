"""Gateway tests run wherever the kernel can, with or without root.

Without root, pytest is executed once more as root of a user namespace of its own (with a network
and mount namespace), where the kernel allows that. A test marked `gateway` is skipped, with the
probe's words, where the kernel lacks what a virtual gateway needs; with CLASSIFIER_REQUIRE_KERNEL=1
it fails instead, so that a machine that should run these tests cannot pass by skipping them.
"""

from __future__ import annotations

import os
import sys

import pytest

from classifier.lab import probe

_REEXECUTED = "CLASSIFIER_TESTS_IN_USER_NAMESPACE"


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    if os.geteuid() == 0 or os.environ.get(_REEXECUTED) or config.option.collectonly:
        return
    try:
        probe.require_user_namespaces()
    except probe.MissingFeatureError:
        return  # the tests that need no rights still run; the others say what is missing
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        capture.stop_global_capturing()
    os.environ[_REEXECUTED] = "1"
    again = [sys.executable, "-m", "pytest", *config.invocation_params.args]
    command = probe.own_namespaces(again)
    os.execvp(command[0], command)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gateway") is None:
        return
    try:
        probe.require_gateway()
    except probe.MissingFeatureError as missing:
        if os.environ.get("CLASSIFIER_REQUIRE_KERNEL") == "1":
            pytest.fail(f"CLASSIFIER_REQUIRE_KERNEL=1, but: {missing}", pytrace=False)
        pytest.skip(str(missing))
