"""What no code of ours can catch: told in one line, and the service goes on.

Most of it is `accept` on the control socket when there are no file descriptors left; asyncio tries
that again every second, with a traceback each time. Python itself adds what destructors of
half-made objects raise.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from classifier.service.rarely import Rarely

log = logging.getLogger(__name__)


def install(loop: asyncio.AbstractEventLoop) -> None:
    """For the rest of this process."""
    rarely = Rarely()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError):
            loop.default_exception_handler(context)  # a defect of ours: with all that is known
            return
        text = f"{context['message']}: {os.strerror(error.errno) if error.errno else error}"
        if rarely.due(text, loop.time()):
            log.error("%s; going on", text)

    def ignore(ignored: sys.UnraisableHookArgs) -> None:
        where = getattr(ignored.object, "__qualname__", type(ignored.object).__name__)
        text = f"{where}: {ignored.exc_type.__name__}: {ignored.exc_value}"
        if rarely.due(text, loop.time()):
            log.error("%s; going on", text)

    loop.set_exception_handler(handle)
    sys.unraisablehook = ignore
