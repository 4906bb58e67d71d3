"""Kernels that several queues can crash are known by their release."""

from __future__ import annotations

import pytest

from classifier.queue.kernel_queues import several_queues_unsafe


@pytest.mark.parametrize(
    "release", ["6.12.75", "6.12.82-amd64", "6.18.14", "6.18.23", "6.19.4-arch1-1", "6.19.13"]
)
def test_kernel_that_several_queues_can_crash_is_told(release: str) -> None:
    assert several_queues_unsafe(release)


@pytest.mark.parametrize(
    "release",
    ["6.12.74", "6.12.83", "6.18.13", "6.18.24", "6.18.44-fc", "6.19.3", "6.19.14",
     "6.1.0-28-amd64", "5.15.80", "7.12.80", "6.13.7", "unheard of"],
)  # fmt: skip
def test_other_kernels_keep_their_queues(release: str) -> None:
    assert not several_queues_unsafe(release)
