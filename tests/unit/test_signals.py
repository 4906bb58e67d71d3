"""Signals to a real process that changes a host and restores it: never half done, never lost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SECONDS = 30.0

# A service in small: `hold` keeps it before a step until the test lets it go on, without the loop
# (as work that blocks) or with it.
SERVICE = """
import asyncio, json, pathlib, sys, time
from classifier.service.signals import Signals

folder = pathlib.Path(sys.argv[1])
heard = []

def say(step):
    (folder / step).touch()

def hold(step):
    say(step)
    while not (folder / f"past-{step}").exists():
        time.sleep(0.001)

async def serve(signals):
    hold("start")
    stopping = asyncio.Event()

    def stop():
        heard.append("stop")
        stopping.set()

    with signals.delivered(stop, lambda: (heard.append("reload"), say("reloaded"))):
        say("ready")
        await stopping.wait()
        say("stopping")
        while not (folder / "past-stopping").exists():
            await asyncio.sleep(0.001)
    hold("end")

with Signals() as signals:
    (folder / "changed").touch()
    asyncio.run(serve(signals))
    hold("loop-closed")
    (folder / "changed").unlink()
(folder / "heard").write_text(json.dumps(heard))
hold("last")
"""
STEPS = ("start", "stopping", "end", "loop-closed", "last")


class Process:
    """The service in small, which goes on by the test's leave."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = [sys.executable, "-c", SERVICE, str(folder)]
        self.process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until(self, step: str) -> None:
        self._eventually((self.folder / step).exists, step)

    def until_taken(self) -> None:
        """No signal waits for the process any more: the next one is not merged with it."""
        status = Path(f"/proc/{self.process.pid}/status")
        nothing = re.compile(r"^ShdPnd:\t0+$", re.MULTILINE)
        self._eventually(lambda: bool(nothing.search(status.read_text())), "it takes the signal")

    def past(self, *steps: str) -> None:
        for step in steps:
            (self.folder / f"past-{step}").touch()

    def end(self) -> list[str]:
        """What it heard; it has ended well and nothing is left."""
        self._eventually(lambda: self.process.poll() is not None, "the end")
        assert self.process.stderr
        assert (self.process.returncode, self.process.stderr.read()) == (0, "")
        assert not (self.folder / "changed").exists()
        heard: list[str] = json.loads((self.folder / "heard").read_text())
        return heard

    def _eventually(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
            time.sleep(0.001)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path)
    yield started
    started.process.kill()
    started.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_stop_is_heard_once_and_others_change_nothing(
    service: Process, number: signal.Signals
) -> None:
    service.past("start")
    service.until("ready")
    service.send(number)
    service.until("stopping")
    for step in STEPS[1:]:
        service.until(step)
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, number):
            service.send(again)
        service.past(step)
    assert service.end() == ["stop"]


def test_a_stop_that_comes_before_the_loop_waits_for_it_is_not_lost(service: Process) -> None:
    service.until("start")
    service.send(signal.SIGTERM)
    service.past(*STEPS)
    assert service.end() == ["stop"]


def test_a_reload_that_comes_before_the_loop_waits_for_it_is_not_lost(service: Process) -> None:
    service.until("start")
    service.send(signal.SIGHUP)
    service.past(*STEPS)
    service.until("reloaded")
    service.send(signal.SIGTERM)
    assert service.end() == ["reload", "stop"]


def test_a_thousand_reloads_do_not_drown_the_stop(service: Process) -> None:
    """More than the socket holds of the bytes that wake the loop."""
    service.until("start")
    for _ in range(1000):
        service.send(signal.SIGHUP)
        service.until_taken()
    service.send(signal.SIGTERM)
    service.past(*STEPS)
    assert service.end() == ["stop"], "a stop goes before the reloads that came with it"


def test_each_reload_is_heard_while_it_runs(service: Process) -> None:
    service.past(*STEPS)
    service.until("ready")
    for _ in range(3):
        service.send(signal.SIGHUP)
        service.until("reloaded")
        (service.folder / "reloaded").unlink()
    service.send(signal.SIGINT)
    assert service.end() == ["reload", "reload", "reload", "stop"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda n: n.name)
def test_a_storm_of_stops_from_the_start_to_the_end_is_a_clean_one(
    service: Process, number: signal.Signals
) -> None:
    service.past(*STEPS)
    service.until("changed")
    while service.process.poll() is None:
        service.send(number)
        time.sleep(0.0002)  # as often as it can take them, not for luck
    assert service.end() == ["stop"]
