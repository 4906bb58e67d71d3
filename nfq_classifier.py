"""The entry point of `nfq-classifier`.

It lies outside the package because importing anything of the package takes a tenth of a second,
and Ctrl-C in that time would print a traceback.
"""

import os
import signal
import sys


def main() -> int:
    """Run the command line in `sys.argv`; returns the exit code."""
    guarded = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if guarded:
        # Nothing has been written or changed yet, so there is nothing to clean up.
        signal.signal(signal.SIGINT, lambda _number, _frame: os._exit(130))
    from classifier.commands import main as run

    if guarded:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return run()


if __name__ == "__main__":
    sys.exit(main())
