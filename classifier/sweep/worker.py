"""A process that does tasks one after the other: a line of JSON in, a line of JSON out.

Not a multiprocessing pool: one of those breaks as a whole when a process of it is killed, and does
not say over which task.
"""

from __future__ import annotations

import json
import os
import sys

from classifier.sweep.tasks import run


def main() -> None:
    # What methods of users print must not come between the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for line in sys.stdin:
            print(json.dumps(run(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
