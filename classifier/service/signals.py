"""Signals as something a selector can wait for.

Taken from before the host is changed until after it is restored, so that no signal, whenever it
comes, leaves things half done.
"""

from __future__ import annotations

import logging
import signal
import socket
from types import FrameType, TracebackType

log = logging.getLogger(__name__)

_STOP = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Readable from the moment SIGTERM or SIGINT came, or `wake` was called from any thread."""

    def __init__(self) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)

    def __enter__(self) -> StopRequest:
        for number in _STOP:
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, _refuse_reload)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The process is about to end. A signal that comes now has nothing left to say, and must
        # not turn the exit code of a clean stop into that of a kill.
        for number in (*_STOP, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._read_end.close()
        self._write_end.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.wake()

    def wake(self) -> None:
        try:
            self._write_end.send(b"\0")
        except BlockingIOError:
            return  # it is readable many times over already

    def fileno(self) -> int:
        return self._read_end.fileno()


def _refuse_reload(number: int, frame: FrameType | None) -> None:
    log.warning("SIGHUP: reloading is not built yet; restart to take a new configuration")
