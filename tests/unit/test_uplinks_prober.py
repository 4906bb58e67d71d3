"""Rounds of probes of one uplink: on time, and what they mean, with real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack

import pytest

from classifier.policy import Health, Target
from classifier.uplinks import prober as prober_module
from classifier.uplinks.health import Verdict
from classifier.uplinks.prober import Prober
from classifier.uplinks.probes.binding import Binding

LOOPBACK = Binding("lo", 0)
SECONDS = 30.0


def listening(undo: ExitStack, host: str = "127.0.0.1", port: int = 0) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return undo.enter_context(socket.create_server((host, port), family=family, backlog=1000))


def target_of(server: socket.socket) -> Target:
    host, port = server.getsockname()[:2]
    return Target(f"{host}:{port}", host, port)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.005)


async def rounds(prober: Prober, count: int) -> None:
    """Until so many more rounds have been counted."""
    for _ in range(count):
        last = list(map(id, before := dict(prober.answers).values()))
        await until(lambda last=last: list(map(id, prober.answers.values())) != last)  # type: ignore[misc]
        del before  # kept alive until here, so that an id cannot be used again


def probing(prober: Prober, story: Callable[[], Awaitable[None]]) -> None:
    """Runs the story beside the prober; fails when the prober ended by itself."""

    async def both() -> None:
        task = asyncio.create_task(prober.run())
        await story()
        assert not task.done()
        task.cancel()

    asyncio.run(both())


def test_a_change_is_told_once_and_its_reason_names_the_targets() -> None:
    told: list[tuple[int, Verdict]] = []
    with ExitStack() as undo:
        server = listening(undo)
        target = target_of(server)
        health = Health("tcp", (target,), interval=0.02, down=2, up=2, window=4)
        prober = Prober("wired", health, LOOPBACK, lambda *change: told.append(change))

        async def story() -> None:
            await until(lambda: prober.answers.get(target.text) is not None)
            assert prober.answers[target.text].seconds is not None
            assert told == []
            server.close()
            await until(lambda: not prober.verdict(4).good)
            assert prober.answers[target.text].failure == "Connection refused"
            await rounds(prober, 5)
            assert [(family, verdict.good) for family, verdict in told] == [(4, False), (6, False)]
            assert told[0][1].reason.startswith("1 of 1 targets silent since ")
            listening(undo, port=target.port)
            await until(lambda: prober.verdict(4).good)
            assert [verdict.good for _, verdict in told] == [False, False, True, True]

        probing(prober, story)


def test_families_with_targets_of_their_own_are_judged_apart() -> None:
    told: list[int] = []
    with ExitStack() as undo:
        four, six = listening(undo), listening(undo, "::1")
        health = Health("tcp", (target_of(four), target_of(six)), interval=0.02, down=2)
        prober = Prober("wired", health, LOOPBACK, lambda family, _: told.append(family))

        async def story() -> None:
            await until(lambda: len(prober.answers) == 2)
            six.close()
            await until(lambda: not prober.verdict(6).good)
            assert prober.verdict(4).good
            assert told == [6]

        probing(prober, story)


def test_rounds_keep_their_rate_and_targets_are_asked_at_once() -> None:
    with ExitStack() as undo:
        servers = [listening(undo) for _ in range(3)]
        health = Health("tcp", tuple(map(target_of, servers)), interval=0.05)
        prober = Prober("wired", health, LOOPBACK, lambda *_: None)

        async def story() -> None:
            await until(lambda: len(prober.answers) == 3)
            loop = asyncio.get_running_loop()
            times = []
            for _ in range(20):
                await rounds(prober, 1)
                times.append(loop.time())
            # On average: a busy machine may delay one round, not all of them.
            assert (times[-1] - times[0]) / 19 == pytest.approx(0.05, abs=0.04)

        probing(prober, story)


def test_a_round_in_which_the_process_was_held_up_says_nothing_about_the_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    monkeypatch.setattr(prober_module, "_LATE", -10.0)  # every round counts as held up
    with ExitStack() as undo:
        server = listening(undo)
        target = target_of(server)
        server.close()
        health = Health("tcp", (target,), interval=0.01, down=1)
        prober = Prober("wired", health, LOOPBACK, lambda *_: pytest.fail("told"))

        async def story() -> None:
            await until(lambda: caplog.text.count("held up; not counted") > 5)
            assert prober.verdict(4).good

        probing(prober, story)


def test_a_callback_that_fails_does_not_end_the_probing(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def changed(*change: object) -> None:
        calls.append(change)
        raise ValueError("a defect")

    with ExitStack() as undo:
        server = listening(undo)
        target = target_of(server)
        server.close()
        health = Health("tcp", (target,), interval=0.01, down=1, up=1, window=1)
        prober = Prober("wired", health, LOOPBACK, changed)

        async def story() -> None:
            await until(lambda: len(calls) == 1)
            listening(undo, port=target.port)
            await until(lambda: len(calls) == 2)

        probing(prober, story)
    assert "uplink wired: a round of probes failed" in caplog.text


def test_health_known_from_before_is_where_it_begins() -> None:
    health = Health("tcp", (Target("192.0.2.1:1", "192.0.2.1", 1),))
    prober = Prober("wired", health, LOOPBACK, lambda *_: None, {4: False})
    assert not prober.verdict(4).good
    assert prober.verdict(6).reason == "was down before the start"


def test_libraries_are_imported_by_who_probes_with_them_only() -> None:
    program = (
        "import sys, classifier.uplinks.prober as p\n"
        "p.probe_of('icmp'), p.probe_of('tcp')\n"
        "assert not {'dns', 'aiohttp'} & set(sys.modules)\n"
        "p.probe_of('dns')\n"
        "assert 'dns' in sys.modules and 'aiohttp' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_rounds_follow_one_another_at_once_while_nothing_answers() -> None:
    """Else a dead line would be seen after twice the promised time."""
    with ExitStack() as undo:
        # A full backlog: the kernel answers no more connections.
        server = undo.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = undo.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        target = target_of(server)
        health = Health("tcp", (target,), interval=0.2, timeout=0.2)
        prober = Prober("wired", health, LOOPBACK, lambda *_: None)

        async def story() -> None:
            await rounds(prober, 1)
            began = asyncio.get_running_loop().time()
            await rounds(prober, 10)
            assert asyncio.get_running_loop().time() - began < 10 * 0.3
            assert prober.answers[target.text].failure == "no answer within 0.2s"

        probing(prober, story)
