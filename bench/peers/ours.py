"""Ourselves: the native queue with the engine and the whole policy."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bench.peers.reader import serve
from bench.traffic import POLICY
from classifier.config import parse_policy
from classifier.engine.classifier import Classifier
from classifier.engine.engine import Engine
from classifier.queue.nfqueue import NativeQueue
from classifier.queue.packet_queue import QueueSettings


def read(engine: Engine, number: int) -> None:
    """Serve the bench with this engine behind queue `number`."""
    bound: list[NativeQueue] = []

    def bind() -> Callable[[int], None]:
        # A queue is read once, so each round has a queue of its own before the same engine.
        while bound:
            bound.pop().close()
        queue = NativeQueue(engine, number, QueueSettings(length=65536))
        bound.append(queue)

        def answer(packets: int) -> None:
            # Stopped before it is read: it answers all that waits, and returns.
            queue.stop()
            queue.run()
            if queue.counters().packets != packets:
                raise SystemExit(f"answered {queue.counters()} instead of {packets}")

        return answer

    serve(bind)


if __name__ == "__main__":
    read(Classifier(parse_policy(POLICY), seed=7).engine, int(sys.argv[1]))
