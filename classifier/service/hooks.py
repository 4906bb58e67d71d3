"""`gateway.on_change`: a program of the user's, started when an uplink has changed.

Without a shell, with an environment of its own, beside whatever else goes on. Of one uplink never
two run at once: what happens meanwhile is folded, and the last state is told in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import HostError
from classifier.state.told import States, store_told, stored_told

log = logging.getLogger(__name__)

HOOK_SECONDS = 30.0
"""For the program to end; then its process group is ended."""
STOP_SECONDS = 2.0
"""For what runs when the service stops."""
_GRACE_SECONDS = 1.0
"""From SIGTERM to SIGKILL."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Now:
    """What an uplink is, and what a program is told of it."""

    states: States
    environment: Mapping[str, str]


class Hooks:
    """Of one service; `tell` and `close` belong to its loop."""

    def __init__(self, state_dir: Path, seconds: float = HOOK_SECONDS) -> None:
        """Raises HostError when what was told before cannot be read."""
        self._state_dir = state_dir
        self._seconds = seconds
        self._command: tuple[str, ...] = ()
        self._wanted: Mapping[str, Now] = {}
        self._told = stored_told(state_dir)
        self._running: dict[str, asyncio.Task[None]] = {}
        self._storing = asyncio.Lock()
        self._failing = ""
        self._closed = False
        self.runs = 0
        self.failures = 0

    def tell(self, command: tuple[str, ...], uplinks: Mapping[str, Now]) -> None:
        """`uplinks`: all there are, as they are now.

        The command is started for each that was otherwise when it was told last. One that was never
        told of counts as up before. Without a command nothing happens.
        """
        self._command, self._wanted = command, uplinks
        if not command or self._closed:
            return
        for name, now in uplinks.items():
            if name not in self._running and now.states != self._before(name, now):
                self._running[name] = asyncio.get_running_loop().create_task(self._deliver(name))

    async def close(self) -> None:
        """Give what runs `STOP_SECONDS` to end, then end it; the next start tells anew."""
        self._closed = True
        if self._running:
            tasks = list(self._running.values())
            await asyncio.wait(tasks, timeout=STOP_SECONDS)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _before(self, name: str, now: Now) -> States:
        return self._told.get(name, States("up", "up", now.states.ipv6 and "up"))

    async def _deliver(self, name: str) -> None:
        try:
            while (now := self._wanted.get(name)) is not None:
                before, command = self._before(name, now), self._command
                if now.states == before or not command:
                    return
                environment = {**now.environment, "OLD_STATE": before.state}
                # Should the service end before the program has: then the next start tells what is
                # so by then, even if that is as it was before.
                self._told[name] = before._replace(finished=False)
                await self._store()
                failure = await self._run(command, environment)
                self._note(failure, command[0], f"uplink {name} is {now.states.state}")
                self._told[name] = now.states
                await self._store()
        finally:
            # In one go with the last look at what is wanted, or a change in between would be lost.
            del self._running[name]

    async def _store(self) -> None:
        async with self._storing:
            kept = {name: self._told[name] for name in self._wanted if name in self._told}
            try:
                await asyncio.to_thread(store_told, self._state_dir, kept)
            except HostError as error:
                log.warning("%s", error)

    async def _run(self, command: tuple[str, ...], environment: Mapping[str, str]) -> str:
        """Run it to its end; why that went wrong, or nothing."""
        self.runs += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=DEVNULL,
                stdout=DEVNULL,
                env={"PATH": _PATH, **environment},
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            return error.strerror or str(error)
        try:
            async with asyncio.timeout(self._seconds):
                code = await process.wait()
        except TimeoutError:
            await _end(process)
            return f"no end within {self._seconds:g} s; killed"
        except asyncio.CancelledError:
            if process.returncode is None:
                log.warning("%s: ended, because the service stops", command[0])
                await _end(process)
            raise
        if code < 0:
            return f"ended by signal {-code}"
        return f"exit code {code}" if code else ""

    def _note(self, failure: str, program: str, occasion: str) -> None:
        if failure:
            self.failures += 1
            if failure != self._failing:
                log.error("%s: %s (%s); the same is told once", program, failure, occasion)
        elif self._failing:
            log.info("%s: works again", program)
        self._failing = failure


async def _end(process: Process) -> None:
    """With all of its process group, whether or not the leader is still there."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE_SECONDS):
                await process.wait()
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
