"""A job that many ask for and that runs once for all of them, one run at a time.

What it does is asked for by events, commands and the clock, often by several at once: requests that
come before a run begins are served by it together, those that come during a run by one more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from classifier.errors import ClassifierError, ServiceError
from classifier.service.pace import Pace, Tokens

log = logging.getLogger(__name__)

Result = TypeVar("Result")
_MOST_TEXTS = 32
"""Error texts remembered; some name a process or a time and are never the same."""


@dataclass(slots=True)
class _Failing:
    """Since a run failed, until one succeeds."""

    delay: float
    tried_early: bool = False
    """Somebody's request has been tried at once since the last retry."""


class FoldedJob(Generic[Result]):
    """Runs `job(reasons)` on the running loop when asked, and every `pace.period` seconds.

    `reasons` are those of the requests that the run serves, none when it is only time to look
    again. An error is raised to those who wait, or logged, once per text. Then it is tried again
    after a delay that grows; within each delay one request is tried at once, and the rest wait for
    its end. The job itself may call `request`, but must not wait for itself.
    """

    def __init__(
        self, name: str, job: Callable[[frozenset[str]], Awaitable[Result]], pace: Pace
    ) -> None:
        self._name = name
        self._job = job
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._tokens = Tokens(pace.burst, pace.interval)
        self._reasons: set[str] = set()
        self._asked_at: float | None = None  # the first request that no run has served
        self._waiting: list[asyncio.Future[Result]] = []
        self._look_at = self._loop.time() + pace.period
        self._due_at = self._look_at
        self._failing: _Failing | None = None
        self._logged: set[str] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._run: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._closed = False
        self._schedule()

    def request(self, reason: str) -> None:
        """Run soon. Harmless after `close`: events may come until the end."""
        if self._closed:
            return
        self._reasons.add(reason)
        if self._asked_at is None:
            self._asked_at = self._loop.time()
            self._schedule()

    async def request_and_wait(self, reason: str) -> Result:
        """What a run that begins from now on returns or raises.

        It is tried soon, also while runs fail. Raises ServiceError when it is closed before.
        """
        if self._closed:
            raise ServiceError(f"{self._name}: the service is stopping")
        outcome: asyncio.Future[Result] = self._loop.create_future()
        self._waiting.append(outcome)
        self.request(reason)
        self._schedule()  # it may have been held back until now
        return await outcome

    async def idle(self) -> None:
        """Return when no run is under way and none has been asked for."""
        await self._idle.wait()

    async def close(self) -> None:
        """Begin no more runs, and return when the one under way has come to its end."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for outcome in self._waiting:
            if not outcome.done():
                outcome.set_exception(ServiceError(f"{self._name}: the service is stopping"))
        self._waiting.clear()
        if self._run:
            await asyncio.wait({self._run})  # if this is cancelled, the run goes on
        self._idle.set()

    def _schedule(self) -> None:
        """Set the timer anew after anything changed that the time of the next run depends on."""
        if self._run or self._closed:
            return
        if self._asked_at is None:
            self._idle.set()
        else:
            self._idle.clear()
        if self._timer:
            self._timer.cancel()
        self._due_at = self._due()
        self._timer = self._loop.call_at(self._due_at, self._begin)

    def _due(self) -> float:
        due = self._look_at
        held_back = self._failing and self._failing.tried_early and not self._waiting
        if self._asked_at is not None and not held_back:
            due = min(due, self._asked_at + self._pace.settle)
        return max(due, self._tokens.ready_at)

    def _begin(self) -> None:
        self._idle.clear()
        self._tokens.take(self._loop.time())
        if self._failing:
            self._failing.tried_early = self._due_at < self._look_at
        reasons, self._reasons = frozenset(self._reasons), set()
        waiting, self._waiting = self._waiting, []
        self._asked_at = None
        self._run = self._loop.create_task(self._once(reasons, waiting), name=self._name)

    async def _once(self, reasons: frozenset[str], waiting: list[asyncio.Future[Result]]) -> None:
        try:
            result = await self._job(reasons)
        except Exception as error:
            told = [outcome for outcome in waiting if not outcome.done()]  # others have given up
            for outcome in told:
                outcome.set_exception(error)
            self._failed(error, logged=not told)
        else:
            for outcome in waiting:
                if not outcome.done():
                    outcome.set_result(result)
            self._succeeded()
        finally:
            for outcome in waiting:
                outcome.cancel()  # only where it is still open: this run was cancelled
            self._run = None
            self._schedule()

    def _succeeded(self) -> None:
        if self._failing:
            log.info("%s: works again", self._name)
        self._failing = None
        self._logged.clear()
        self._look_at = self._loop.time() + self._pace.period

    def _failed(self, error: Exception, *, logged: bool) -> None:
        if self._failing is None:
            self._failing = _Failing(self._pace.first_retry)
            self._look_at = self._loop.time() + self._failing.delay
        elif not self._failing.tried_early:
            self._failing.delay = min(2 * self._failing.delay, self._pace.longest_retry)
            self._look_at = self._loop.time() + self._failing.delay
        if logged:
            self._log(error)

    def _log(self, error: Exception) -> None:
        text = f"{type(error).__name__}: {error}"
        if text in self._logged:
            return
        if len(self._logged) == _MOST_TEXTS:
            self._logged.clear()
        self._logged.add(text)
        # Of what is expected to go wrong the words are enough.
        defect = None if isinstance(error, (ClassifierError, OSError)) else error
        log.error(
            "%s: %s; trying again, and saying no more of it", self._name, error, exc_info=defect
        )
