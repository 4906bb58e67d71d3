"""Tasks on a Dask cluster, whose workers see the captures under the same paths."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import Any

from classifier.errors import ClassifierError, UsageError
from classifier.sweep.tasks import Outcome, Task, outcome, run

CONNECT_SECONDS = 10


def run_on_dask(tasks: Sequence[Task], address: str) -> Generator[tuple[Task, Outcome], None, None]:
    """Do the tasks on the workers of the scheduler at `address`; each comes out when it is done.

    UsageError: Dask is not installed. ClassifierError: no scheduler answers.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise UsageError(
            "--dask needs dask.distributed: pip install 'nfq-classifier[dask]'"
        ) from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, ValueError) as error:
        raise ClassifierError(f"Dask scheduler {address}: {error}") from None
    with client:
        waiting = {
            # Of another key each time: what has failed may be tried again.
            client.submit(run, task.data(), pure=False, retries=0): task
            for task in tasks
        }
        for future in as_completed(waiting, loop=client.loop):
            yield waiting[future], outcome(_answer(future))


def _answer(future: Any) -> Mapping[str, object]:
    try:
        answer: Mapping[str, object] = future.result()
    except CancelledError:
        return {"error": "on the cluster: it is lost"}
    except Exception as error:  # whatever a worker died of
        return {"error": f"on the cluster: {error}"}
    return answer
