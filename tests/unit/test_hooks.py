"""The user's program for changes: what it is started with, and how often, by real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from classifier.service.hooks import Hooks, Now
from classifier.state.told import States

METACHARACTERS = ("$(touch x)", "`touch x`", "; touch x", "| touch x", "'\"\\ \n*", "-n", "")
SECONDS = 20.0


def now(state: str, **environment: str) -> Now:
    return Now(States(state, state, ""), {"UPLINK": "wired", "STATE": state, **environment})


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def until(path: Path, text: str) -> None:
    async with asyncio.timeout(SECONDS):
        while not path.exists() or path.read_text() != text:
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


def test_a_program_that_a_reload_drops_while_it_runs_is_named_when_it_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        go = tmp_path / "go"
        program = script(tmp_path / "fails", f"until [ -e {go} ]; do sleep 0.01; done; exit 3")
        hooks = Hooks(tmp_path, SECONDS)
        hooks.tell((program,), {"wired": now("down")})
        async with asyncio.timeout(SECONDS):
            while not hooks.runs:
                await asyncio.sleep(0.01)
            hooks.tell((), {"wired": now("down")})
            go.touch()
            while not hooks.failures:
                await asyncio.sleep(0.01)
        await hooks.close()

    run(story())
    assert f"{tmp_path}/fails: exit code 3 (uplink wired is down)" in caplog.text


def test_arguments_and_environment_arrive_as_they_are_and_no_shell_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOTIFY_SOCKET", "/secret")
    dump = script(
        tmp_path / "dump",
        f'for word in "$@"; do printf "%s\\0" "$word"; done >{tmp_path}/words\n'
        f"cat /proc/$$/environ >{tmp_path}/part; mv {tmp_path}/part {tmp_path}/environment",
    )

    async def change() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((dump, *METACHARACTERS), {"wired": now("down", REASON=METACHARACTERS[0])})
        await hooks.close()
        assert hooks.failures == 0

    run(change())
    assert (tmp_path / "words").read_text().split("\0")[:-1] == list(METACHARACTERS)
    given = dict(
        line.split("=", 1) for line in (tmp_path / "environment").read_text().split("\0")[:-1]
    )
    assert given.pop("PATH").startswith("/usr/local/sbin:")
    assert given == {
        "UPLINK": "wired", "STATE": "down", "OLD_STATE": "up", "REASON": "$(touch x)",
    }  # fmt: skip
    assert not list(tmp_path.glob("x*"))


def test_of_one_uplink_never_two_run_and_the_last_state_is_told(tmp_path: Path) -> None:
    log, go = tmp_path / "log", tmp_path / "go"
    slow = script(
        tmp_path / "slow",
        f'echo "begin $OLD_STATE $STATE" >>{log}; while [ ! -e {go} ]; do sleep 0.02; done\n'
        f'echo "end" >>{log}',
    )

    async def change() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((slow,), {"wired": now("down")})
        await until(log, "begin up down\n")
        for state in ("up", "down", "up", "draining"):
            hooks.tell((slow,), {"wired": now(state)})
        await asyncio.sleep(0.1)
        assert log.read_text() == "begin up down\n"
        go.touch()
        await until(log, "begin up down\nend\nbegin down draining\nend\n")
        await hooks.close()
        assert (hooks.runs, hooks.failures) == (2, 0)

    run(change())


def test_two_uplinks_do_not_wait_for_each_other(tmp_path: Path) -> None:
    meet = script(
        tmp_path / "meet",
        f"touch {tmp_path}/$UPLINK; while [ ! -e {tmp_path}/$1 ]; do sleep 0.02; done",
    )

    async def change() -> None:
        hooks = Hooks(tmp_path, SECONDS)
        both = {name: now("down", UPLINK=name) for name in ("wired", "wifi")}
        hooks.tell((meet, "wifi"), both)
        async with asyncio.timeout(SECONDS):
            while not all((tmp_path / name).exists() for name in both):
                await asyncio.sleep(0.01)
        await hooks.close()
        assert hooks.failures == 0

    run(change())


def test_one_that_hangs_is_ended_with_its_children_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    child = tmp_path / "child"
    hanging = script(tmp_path / "hang", f'trap "" TERM; sleep 1000 & echo $! >{child}; wait; wait')

    async def change() -> None:
        hooks = Hooks(tmp_path, 0.5)
        hooks.tell((hanging,), {"wired": now("down")})
        async with asyncio.timeout(SECONDS):
            while not hooks.failures:
                await asyncio.sleep(0.01)
        hooks.tell((hanging,), {"wired": now("up")})
        async with asyncio.timeout(SECONDS):
            while hooks.failures < 2:
                await asyncio.sleep(0.01)
        await hooks.close()

    run(change())
    assert not is_running(int(child.read_text()))
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"{hanging}: no end within 0.5 s; killed (uplink wired is down); the same is told once"
    ]


@pytest.mark.parametrize("by_then", ["down", "up"])
def test_a_stop_waits_a_little_and_then_ends_what_runs_and_the_next_start_tells_what_is_so_then(
    tmp_path: Path, by_then: str
) -> None:
    child, fresh = tmp_path / "child", tmp_path / "fresh"
    hanging = script(tmp_path / "hang", f"echo $$ >{child}; exec sleep 1000")
    told = script(tmp_path / "told", f'echo "$OLD_STATE $STATE" >{fresh}')

    async def stop() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((hanging,), {"wired": now("down")})
        async with asyncio.timeout(SECONDS):
            while not child.exists() or not child.read_text():
                await asyncio.sleep(0.01)
        began = time.monotonic()
        await hooks.close()
        assert time.monotonic() - began < SECONDS

    async def start() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((told,), {"wired": now(by_then)})
        await until(fresh, f"up {by_then}\n")
        await hooks.close()

    async def start_again() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((told,), {"wired": now(by_then)})
        await hooks.close()
        assert hooks.runs == 0, "what was told once is told again after a restart"

    run(stop())
    assert not is_running(int(child.read_text()))
    run(start())
    run(start_again())


def test_what_a_version_before_told_is_not_told_again(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text('{"wired": ["down", "down", ""]}')
    fresh = tmp_path / "fresh"
    told = script(tmp_path / "told", f'echo "$OLD_STATE $STATE" >{fresh}')

    async def story() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((told,), {"wired": now("down")})
        assert hooks.runs == 0
        hooks.tell((told,), {"wired": now("up")})
        await until(fresh, "down up\n")
        await hooks.close()

    run(story())


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (None, "No such file or directory"),
        ("exit 3", "exit code 3"),
        (f"kill -{signal.SIGSEGV} $$", f"ended by signal {signal.SIGSEGV}"),
    ],
)
def test_what_goes_wrong_is_counted_each_time_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str | None, failure: str
) -> None:
    caplog.set_level("INFO")
    path = tmp_path / "hook"
    if text is not None:
        script(path, text)

    async def change() -> None:
        hooks = Hooks(tmp_path)
        for number, state in enumerate(("down", "up", "down"), 1):
            hooks.tell((str(path),), {"wired": now(state)})
            async with asyncio.timeout(SECONDS):
                while hooks.failures < number:
                    await asyncio.sleep(0.01)
        script(path, "exit 0")
        hooks.tell((str(path),), {"wired": now("up")})
        await hooks.close()
        assert (hooks.runs, hooks.failures) == (4, 3)

    run(change())
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: {failure} (uplink wired is down); the same is told once",
        f"{path}: works again",
    ]


def test_it_inherits_nothing_but_the_log(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    listing = script(tmp_path / "list", f"exec ls /proc/self/fd >{seen}")
    held, other = os.pipe()
    os.set_inheritable(held, True)

    async def change() -> None:
        hooks = Hooks(tmp_path)
        hooks.tell((listing,), {"wired": now("down")})
        await hooks.close()

    try:
        run(change())
    finally:
        os.close(held)
        os.close(other)
    assert seen.read_text().split() == ["0", "1", "2", "3"], "3 is the folder that ls reads"
