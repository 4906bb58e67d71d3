"""One service per runtime directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.errors import ServiceError
from classifier.service.lock import RuntimeLock

ROOT = Path(__file__).parents[2]


def test_a_second_service_in_one_runtime_directory_is_refused_naming_the_first(
    tmp_path: Path,
) -> None:
    first = RuntimeLock(tmp_path / "run")
    with pytest.raises(ServiceError, match=rf"running there already \(process {os.getpid()}\)"):
        RuntimeLock(tmp_path / "run")
    first.release()
    RuntimeLock(tmp_path / "run").release()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system that is full")
def test_a_runtime_directory_without_room_is_named(tmp_path: Path) -> None:
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from classifier.errors import ServiceError
from classifier.service.lock import RuntimeLock
try:
    RuntimeLock(Path({str(tmp_path)!r}))
except ServiceError as error:
    print(error)
"""
    fill = f"""
mount -t tmpfs -o size=4k none {tmp_path}
touch {tmp_path}/lock
head -c 4096 /dev/zero > {tmp_path}/full
exec "$@"
"""
    own_mounts = ["unshare", "-m", "--propagation", "private", "sh", "-euc", fill, "sh"]
    done = subprocess.run(
        [*own_mounts, sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"runtime directory {tmp_path}: No space left on device\n"
