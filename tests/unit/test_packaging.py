"""A source archive is all that is needed to build, test and read the project."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("bench", "classifier", "docs", "examples", "ext", "tests")
BUILT = (".so", ".pyc", ".pyo")
IGNORED = shutil.ignore_patterns("*.so", "__pycache__")
OWNER = 4711
"""A user id that nobody has."""
AS_OWNER = [
    *("setpriv", f"--reuid={OWNER}", f"--regid={OWNER}", "--clear-groups"),
    # Reading is allowed to it, since Python itself may lie in a folder of root's.
    *("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search", "--"),
]


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


def owned_by_others(folder: Path, owner: int) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.lstat().st_uid != owner]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with one compiled module, which takes seconds to build and not a minute."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(ROOT / "classifier", folder / "classifier", ignore=IGNORED)
    (folder / "ext").mkdir()
    (folder / "ext" / "small.pyx").write_text("def one():\n    return 1\n")
    for parent in (folder, *folder.parents[:3]):
        parent.chmod(0o755)
    return folder


def built(checkout: Path, user: list[str]) -> set[str]:
    """The files of the wheel that pip builds as that user; nothing is fetched."""
    wheels = Path(tempfile.mkdtemp(dir=checkout.parent))
    wheels.chmod(0o777)
    command = [
        *(*user, "env", f"TMPDIR={wheels}", f"HOME={wheels}", sys.executable, "-m", "pip"),
        *("wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index", "-w", wheels, "."),
    ]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = wheels.glob("*.whl")
    return set(ZipFile(wheel).namelist())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can install with somebody else's checkout")
def test_root_installs_from_a_checkout_and_its_owner_can_still_build_it(checkout: Path) -> None:
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, OWNER, OWNER)
    by_root = built(checkout, [])
    assert [name for name in by_root if name.startswith("classifier/small.") and ".so" in name]
    assert "classifier/engine/tables.pxd" in by_root and "classifier/py.typed" in by_root
    assert owned_by_others(checkout, OWNER) == []
    assert built(checkout, AS_OWNER) == by_root
    assert (checkout / "build").stat().st_uid == OWNER


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave folders of its own")
def test_a_checkout_is_built_though_folders_in_it_were_left_by_root(checkout: Path) -> None:
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, OWNER, OWNER)
    (checkout / "build" / "cython").mkdir(parents=True)
    (checkout / "nfq_classifier.egg-info").mkdir()
    assert "classifier/py.typed" in built(checkout, AS_OWNER)
