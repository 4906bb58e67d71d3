"""A source archive is all that is needed to build, test and read the project."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "classifier", "docs", "ext", "tests")
BUILT = (".so", ".pyc", ".pyo")


def test_a_source_archive_holds_every_file_of_a_checkout(tmp_path: Path) -> None:
    """Without the Cython sources it is made without an error, and no package is built from it."""
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "-e", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (listing,) = tmp_path.glob("*.egg-info/SOURCES.txt")
    archived = set(listing.read_text().splitlines())
    kept = {
        str(path.relative_to(ROOT))
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.suffix not in BUILT and "__pycache__" not in path.parts
    }
    assert kept - archived == set()
    assert {"LICENSE", "README.md", "Makefile", "setup.py", "pyproject.toml"} <= archived
