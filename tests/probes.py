"""Steps of the compiled code that only tests look at alone, and methods in Cython: probes.pyx,
compiled when it is wanted.

What was compiled stays in build/probes, under a name made of all that it was compiled from.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
from pathlib import Path
from types import ModuleType

_HERE = Path(__file__).parent
sys.path.insert(0, str(_HERE.parent))  # `python -m pytest` has it there, `pytest` has not

from bench.compiled import compiled, loaded  # noqa: E402


def _probes() -> ModuleType:
    source = _HERE / "probes.pyx"
    read = [source, *sorted((_HERE.parent / "classifier").rglob("*.pxd"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in read)).hexdigest()[:16]
    folder = _HERE.parent / "build" / "probes"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"{digest}-{sys.implementation.cache_tag}.so"
    if not program.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            compiled(source, Path(scratch)).replace(program)
    return loaded("probes", program)


_module = _probes()
ByAddressInCython = _module.ByAddressInCython
StickyTable = _module.StickyTable
WaitingInCython = _module.WaitingInCython
headers = _module.headers
message_read = _module.message_read
packets_read = _module.packets_read
take = _module.take
verdict_written = _module.verdict_written
