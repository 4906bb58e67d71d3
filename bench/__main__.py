"""`python -m bench [CASE ...]`: each case runs us and its peers in turn and prints ratios.

A case is a module with HELP (one line), `arguments(parser)` for options of its own, and
`run(options) -> Result`.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from types import ModuleType

from bench import decide, drain, methods, replay, shaped, start
from bench.counts import count
from classifier.errors import ClassifierError

CASES: dict[str, ModuleType] = {
    "decide": decide,
    "drain": drain,
    "methods": methods,
    "replay": replay,
    "shaped": shaped,
    "start": start,
}


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="cases:\n" + "\n".join(f"  {name:<10} {case.HELP}" for name, case in CASES.items()),
    )
    parser.add_argument("cases", metavar="CASE", nargs="*", help="which cases; all by default")
    parser.add_argument("--json", action="store_true", help="results as one JSON list")
    parser.add_argument("--rounds", type=count, default=7, help="rounds per case (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="seed of the packets (%(default)s)")
    for case in CASES.values():
        case.arguments(parser)
    options = parser.parse_args()
    if unknown := set(options.cases) - CASES.keys():
        parser.error(f"no such case: {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    results = []
    for name in options.cases or CASES:
        try:
            result = CASES[name].run(options)
        except ClassifierError as error:
            print(f"bench {name}: {error}", file=sys.stderr)
            return 1
        results.append(asdict(result))
        if not options.json:
            print(result.text(), flush=True)
    if options.json:
        print(json.dumps(results, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
