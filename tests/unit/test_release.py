"""The host is let go of for `down`, and taken back when `down` was interrupted."""

from __future__ import annotations

import asyncio

import pytest

from classifier.errors import ConflictError, ServiceError
from classifier.service import release
from classifier.service.release import Release


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(release, "SECONDS", 0.05)


def test_the_host_is_taken_back_when_down_does_not_come_to_its_end() -> None:
    async def interrupted() -> None:
        taken_back = asyncio.Event()
        held = Release(taken_back.set)
        held.check()
        held.begin()
        assert "which has not said that it is done" in held.warning
        with pytest.raises(ServiceError, match="released for `down`"):
            held.check()
        await asyncio.wait_for(taken_back.wait(), 20)
        assert held.warning == ""
        held.check()
        with pytest.raises(ConflictError, match="has taken the host back"):
            held.confirm()

    asyncio.run(interrupted())


def test_what_down_has_removed_stays_removed() -> None:
    async def done() -> None:
        taken_back = asyncio.Event()
        held = Release(taken_back.set)
        held.begin()
        held.confirm()
        await asyncio.sleep(0.2)
        assert not taken_back.is_set()
        assert "removed by `down`; restart the service" in held.warning

    asyncio.run(done())
