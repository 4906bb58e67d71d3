"""Time limits, longer on a machine that is slow throughout: an emulated one."""

from __future__ import annotations

import os

from classifier.errors import LabError

SLOWNESS = "CLASSIFIER_TEST_SLOWNESS"
"""In the environment: how many times as long as usual everything may take."""


def scaled(seconds: float) -> float:
    """A limit in seconds, for this machine; LabError where the environment makes no sense."""
    text = os.environ.get(SLOWNESS, "1")
    try:
        factor = float(text)
    except ValueError:
        factor = 0.0
    if not 1 <= factor <= 1000:
        raise LabError(f"{SLOWNESS}={text}: must be a number from 1 to 1000")
    return seconds * factor
