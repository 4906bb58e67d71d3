"""Signals as something that the service's loop can wait for.

Taken from before the host is changed until after it is restored, so that no signal, whenever it
comes, leaves things half done.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from asyncio import get_running_loop
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType

_STOP = (signal.SIGTERM, signal.SIGINT)
_TAKEN = (*_STOP, signal.SIGHUP)


class Signals:
    """SIGTERM, SIGINT and SIGHUP are kept from entering on, and delivered while `delivered` lasts.

    Around the loop, in the main thread::

        with Signals() as signals:
            asyncio.run(serve(signals))

    and in it::

        with signals.delivered(stop=stopping.set, reload=lambda: job.request("SIGHUP")):
            await stopping.wait()

    Not `loop.add_signal_handler`: a loop that closes gives signals back to the system, which ends
    the process by the next SIGTERM with the exit code of a kill, and before the loop runs there is
    nothing to add to. This does what that does, with a socket of its own that outlives the loop.
    """

    def __init__(self) -> None:
        self._noted: set[int] = set()
        self._stopping = False
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)

    def __enter__(self) -> Signals:
        # The interpreter writes to it the moment that a signal comes, in whichever thread, and
        # runs `_note` in the main thread soon after: one wakes the loop, the other cannot overflow.
        self._wakeup_before = signal.set_wakeup_fd(
            self._write_end.fileno(), warn_on_full_buffer=False
        )
        for number in _TAKEN:
            signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # The process is about to end. A signal that comes now has nothing left to say, and must
        # not turn the exit code of a clean stop into that of a kill.
        for number in _TAKEN:
            signal.signal(number, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wakeup_before)
        self._read_end.close()
        self._write_end.close()

    @contextlib.contextmanager
    def delivered(self, stop: Callable[[], None], reload: Callable[[], None]) -> Iterator[None]:
        """Call back on the running loop, for what came before this too.

        `stop` is called once, by the first SIGTERM or SIGINT; what comes after that changes
        nothing. Each SIGHUP before it calls `reload`; several that come together call it once.
        """

        def deliver() -> None:
            with contextlib.suppress(BlockingIOError):
                while self._read_end.recv(4096):
                    pass
            noted, self._noted = self._noted, set()
            if self._stopping:
                return
            if noted.intersection(_STOP):
                self._stopping = True
                stop()
            elif signal.SIGHUP in noted:
                reload()

        loop = get_running_loop()
        loop.add_reader(self._read_end, deliver)
        try:
            yield
        finally:
            loop.remove_reader(self._read_end)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.add(number)
