"""What the readers in Python share: reader.h once more."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


def serve(bind: Callable[[], Callable[[int], None]]) -> None:
    """Serve the bench; `bind` gives what answers so many packets of the queue it has bound."""
    answer = bind()
    print("bound", flush=True)
    for line in sys.stdin:
        packets = int(line)
        cpu, wall = time.process_time_ns(), time.monotonic_ns()
        answer(packets)
        cpu, wall = time.process_time_ns() - cpu, time.monotonic_ns() - wall
        answer = bind()
        print(cpu, wall, flush=True)
        print("bound", flush=True)
