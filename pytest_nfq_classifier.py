"""The pytest plugin: the fixture `policy_replay`.

It stands beside the package, not in it, so that a run of pytest that does not use it imports
nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from classifier.testing import Replays


@pytest.fixture(scope="session")
def policy_replay(pytestconfig: pytest.Config) -> Replays:
    """Replays captures through a policy, as `classifier.testing.replay` does.

    Files are named as seen from pytest's root folder. The same files and options are replayed once.
    """
    from classifier.testing import Replays

    return Replays(pytestconfig.rootpath)
