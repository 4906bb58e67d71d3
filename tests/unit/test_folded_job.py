"""Requests that pile up are served together, and nothing ends or starves the job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from virtual_time import run_at_once

from classifier.errors import HostError, ServiceError
from classifier.service.folded_job import FoldedJob
from classifier.service.pace import Pace

PACE = Pace()


class Work:
    """A job that takes `takes` seconds, and fails with each of `errors` in turn."""

    def __init__(self, takes: float = 0.1, errors: list[Exception | None] | None = None) -> None:
        self.takes = takes
        self.errors = errors or []
        self.begun: list[float] = []
        self.reasons: list[set[str]] = []
        self.at_once = 0
        self.most_at_once = 0

    async def __call__(self, reasons: frozenset[str]) -> int:
        self.begun.append(asyncio.get_running_loop().time())
        self.reasons.append(set(reasons))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(self.takes)
        self.at_once -= 1
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return len(self.begun)


Story = Callable[[FoldedJob[int]], Awaitable[None]]


def tell(work: Work, story: Story, pace: Pace = PACE) -> None:
    async def told() -> None:
        job = FoldedJob("work", work, pace)
        await story(job)
        await job.close()

    run_at_once(told())


def every_millisecond(job: FoldedJob[int], seconds: float) -> Awaitable[None]:
    async def flood() -> None:
        for _ in range(int(seconds * 1000)):
            job.request("flood")
            await asyncio.sleep(0.001)

    return flood()


def test_requests_that_come_together_are_served_by_one_run() -> None:
    async def story(job: FoldedJob[int]) -> None:
        job.request("link")
        await asyncio.sleep(0.01)
        job.request("route")
        job.request("link")
        await job.idle()

    work = Work()
    tell(work, story)
    assert work.begun == pytest.approx([0.02])
    assert work.reasons == [{"link", "route"}]


def test_requests_during_a_run_are_served_by_one_more() -> None:
    async def story(job: FoldedJob[int]) -> None:
        job.request("first")
        await asyncio.sleep(0.05)
        assert len(work.begun) == 1
        job.request("second")
        job.request("third")
        await job.idle()

    work = Work()
    tell(work, story)
    assert work.reasons == [{"first"}, {"second", "third"}]
    assert work.begun == pytest.approx([0.02, 0.12])


def test_a_request_by_the_job_itself_is_served_by_the_next_run() -> None:
    async def twice(reasons: frozenset[str]) -> None:
        seen.append(set(reasons))
        if len(seen) == 1:
            job.request("not done yet")

    async def story() -> None:
        nonlocal job
        job = FoldedJob("work", twice, PACE)
        job.request("start")
        await job.idle()
        await job.close()

    seen: list[set[str]] = []
    job: FoldedJob[None]
    run_at_once(story())
    assert seen == [{"start"}, {"not done yet"}]


def test_it_looks_again_when_nobody_asks() -> None:
    async def story(job: FoldedJob[int]) -> None:
        await asyncio.sleep(16)

    work = Work()
    tell(work, story)
    assert work.begun == pytest.approx([5.0, 10.1, 15.2])
    assert work.reasons == [set(), set(), set()]


@pytest.mark.parametrize("takes", [0.0, 0.01, 0.3, 2.0])
def test_a_flood_neither_starves_it_nor_makes_it_run_without_pause(takes: float) -> None:
    async def story(job: FoldedJob[int]) -> None:
        await every_millisecond(job, 20)

    work = Work(takes)
    tell(work, story)
    assert work.most_at_once == 1
    assert work.begun[0] == pytest.approx(PACE.settle)
    pauses = [later - earlier - takes for earlier, later in pairwise(work.begun)]
    assert max(pauses) < PACE.interval + 0.002, "never starved"
    within = [sum(begin <= other < begin + 1 for other in work.begun) for begin in work.begun]
    assert max(within) <= PACE.burst + 1 / PACE.interval, "never more in a second than promised"
    assert len(work.begun) <= PACE.burst + 20 / PACE.interval + 1


def test_after_a_quiet_time_it_is_as_quick_as_ever() -> None:
    async def story(job: FoldedJob[int]) -> None:
        await every_millisecond(job, 10)
        await job.idle()
        await asyncio.sleep(4)
        work.begun.clear()
        asked = asyncio.get_running_loop().time()
        job.request("link")
        await job.idle()
        assert work.begun[0] == pytest.approx(asked + PACE.settle)

    work = Work()
    tell(work, story)


def test_failures_are_retried_later_and_later_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(job: FoldedJob[int]) -> None:
        await asyncio.sleep(400)

    caplog.set_level(logging.INFO)
    work = Work(0, [HostError("no memory") for _ in range(10)])
    tell(work, story)
    pauses = [later - earlier for earlier, later in pairwise(work.begun)]
    assert pauses[:10] == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60, 60])
    assert pauses[10:] == pytest.approx([5.0] * len(pauses[10:])), "as if nothing had been"
    assert [record.getMessage() for record in caplog.records] == [
        "work: no memory; trying again, and saying no more of it",
        "work: works again",
    ]


def test_each_new_error_is_said_and_a_defect_with_its_place(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(job: FoldedJob[int]) -> None:
        await asyncio.sleep(60)

    errors = [HostError("a"), HostError("b"), HostError("a"), KeyError("defect"), None]
    tell(Work(0, [*errors, HostError("a")]), story)
    said = [(record.getMessage().split(";")[0], bool(record.exc_info)) for record in caplog.records]
    assert said == [
        ("work: a", False),
        ("work: b", False),
        ("work: 'defect'", True),
        ("work: a", False),
    ]


def test_errors_that_are_never_the_same_do_not_pile_up() -> None:
    async def story(job: FoldedJob[int]) -> None:
        await asyncio.sleep(5000)
        assert len(job._logged) <= 32

    tell(Work(0, [HostError(f"process {number}") for number in range(100)]), story)


def test_while_it_fails_one_request_is_tried_at_once_in_each_delay() -> None:
    async def story(job: FoldedJob[int]) -> None:
        await every_millisecond(job, 40)

    work = Work(0, [HostError("no memory") for _ in range(1000)])
    tell(work, story)
    # At 0.02 it fails; then an early try and the retry after 1, 2, 4, 8, 16 seconds.
    retries = [0.02, 1.02, 3.02, 7.02, 15.02, 31.02]
    early = [retry + PACE.settle for retry in retries]
    assert work.begun == pytest.approx(sorted([*retries, *early]), abs=0.005)


def test_who_waits_gets_the_outcome_of_a_run_that_began_after_asking(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(job: FoldedJob[int]) -> None:
        job.request("link")
        await asyncio.sleep(0.05)  # the first run is under way
        first, second = await asyncio.gather(
            job.request_and_wait("reload"), job.request_and_wait("status")
        )
        assert (first, second) == (2, 2)
        with pytest.raises(HostError, match="no such interface"):
            await job.request_and_wait("reload")
        assert not caplog.records, "who waits has been told"
        assert await job.request_and_wait("reload") == 4

    work = Work(errors=[None, None, HostError("no such interface")])
    tell(work, story)
    assert work.reasons == [{"link"}, {"reload", "status"}, {"reload"}, {"reload"}]


def test_a_command_does_not_wait_for_the_retry_of_what_fails() -> None:
    async def story(job: FoldedJob[int]) -> None:
        await every_millisecond(job, 31.5)  # the next retry is at 63.02
        asked = asyncio.get_running_loop().time()
        with pytest.raises(HostError):
            await job.request_and_wait("reload")
        assert asyncio.get_running_loop().time() - asked < 0.1

    tell(Work(0, [HostError("no memory") for _ in range(1000)]), story)


def test_an_error_that_nobody_waits_for_any_more_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def story(job: FoldedJob[int]) -> None:
        impatient = asyncio.create_task(job.request_and_wait("reload"))
        await asyncio.sleep(0.05)
        impatient.cancel()
        await job.idle()
        assert [record.getMessage().split(";")[0] for record in caplog.records] == ["work: a"]

    tell(Work(errors=[HostError("a")]), story)


def test_a_command_that_is_given_up_harms_nobody() -> None:
    async def story(job: FoldedJob[int]) -> None:
        impatient = asyncio.create_task(job.request_and_wait("status"))
        patient = asyncio.create_task(job.request_and_wait("reload"))
        await asyncio.sleep(0.05)
        impatient.cancel()
        assert await patient == 1
        with pytest.raises(asyncio.CancelledError):
            await impatient

    tell(Work(), story)


def test_close_lets_the_run_under_way_end_and_begins_no_other() -> None:
    async def story(job: FoldedJob[int]) -> None:
        served = asyncio.create_task(job.request_and_wait("start"))
        await asyncio.sleep(0.05)
        refused = asyncio.create_task(job.request_and_wait("reload"))
        await asyncio.sleep(0)
        await job.close()
        assert work.at_once == 0
        assert await served == 1
        with pytest.raises(ServiceError, match="stopping"):
            await refused
        with pytest.raises(ServiceError, match="stopping"):
            await job.request_and_wait("reload")
        job.request("link")
        await job.idle()
        await asyncio.sleep(20)
        assert len(work.begun) == 1

    work = Work()
    tell(work, story)
