"""What tests on a real kernel start from."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from classifier.lab.namespace import Namespace


@pytest.fixture
def host() -> Iterator[Namespace]:
    """A host on its own: a namespace with nothing but loopback."""
    with Namespace.create("host") as host:
        yield host
