"""Telling the service manager how far the service is: sd_notify(3) and its watchdog."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

_PATIENCE = struct.pack("ll", 1, 0)
"""A struct timeval: a manager that takes nothing for a second does not hold us up any longer."""


def notify(*lines: str) -> None:
    """Send `lines`, such as READY=1, to whoever started us and wants to know."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # an abstract one
        address = "\0" + address[1:]
    text = "\n".join(" ".join(line.splitlines()) for line in lines)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notification:
        notification.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _PATIENCE)
        try:
            notification.sendto(text.encode(errors="backslashreplace"), address)
        except OSError as error:
            log.warning("sd_notify to %s: %s", os.environ["NOTIFY_SOCKET"], error.strerror)


@contextmanager
def reloading() -> Iterator[None]:
    """Around a reload, also one that fails: the old policy stays in force then."""
    # The time by which systemd tells this reload from one that began before it asked.
    notify("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")
    try:
        yield
    finally:
        notify("READY=1")


def watchdog_seconds() -> float | None:
    """How long the manager waits for a sign of life before it kills us; None: it does not."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        seconds = int(os.environ["WATCHDOG_USEC"]) / 1e6
    except (KeyError, ValueError):
        return None
    return seconds if seconds > 0 else None


async def feed_watchdog(hung: Callable[[], list[int]], seconds: float) -> None:
    """Send signs of life at half of `seconds`, until cancelled, as long as no queue is hung.

    `hung` tells the queues whose thread has not moved since it was asked last. That the loop moves
    is shown by this running at all.
    """
    told = False
    hung()
    while True:
        await asyncio.sleep(seconds / 2)
        stuck = hung()
        if not stuck:
            notify("WATCHDOG=1")
        elif not told:
            numbers = ", ".join(map(str, stuck))
            log.error("queue %s: its thread is hung; the watchdog is told no more", numbers)
        told = bool(stuck)
