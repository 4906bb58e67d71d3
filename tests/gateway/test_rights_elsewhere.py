"""The rights tests pass where others run them: as an ordinary user, in root's own folder, in a root
that was entered by pivot_root.

That root is made of bind mounts of this machine's folders, since a debootstrap of its own takes
minutes and a network. Only what is mounted is there, and each folder on the way can be entered by
everybody, so that it does not matter where this checkout and its Python lie.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from classifier.lab.features import missing_helper_modules

ROOT = Path(__file__).parents[2]
STOCK_PATH = "/usr/local/bin:/usr/bin:/bin"
"""An ordinary user's on Debian (ENV_PATH of /etc/login.defs, without games)."""
ORDINARY_USER = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--")
TESTS = (
    "tests/gateway/test_host_rights.py",
    "tests/gateway/test_host_starts.py::"
    "test_only_its_own_user_may_ask_the_service_whatever_the_umask",
)
FOLDERS = ("/usr", "/etc", "/proc", "/sys", "/dev")


def in_another_root(folder: Path, checkout: Path, root_mode: str = "755") -> list[str]:
    """Words before a command, which starts in this checkout as it lies at `checkout` there."""
    wanted = {Path(name): Path(name) for name in (*FOLDERS, sys.base_prefix, sys.prefix)}
    wanted = {checkout: ROOT, **wanted}
    binds = "\n".join(
        f"mkdir -p .{place} && mount --rbind {source} .{place}"
        for place, source in wanted.items()
        if not any(other in place.parents for other in wanted)
    )
    script = f"""
        umask 022
        mount -t tmpfs -o mode=755 tmpfs {folder}
        cd {folder}
        mkdir -m 1777 tmp
        mkdir -m {root_mode} root
        mkdir run old
        cp -P /bin /sbin /lib /lib64 .
        {binds}
        pivot_root . old
        umount -l /old
        cd {checkout}
        exec "$@"
    """
    return ["unshare", "--mount", "--propagation", "private", "bash", "-euc", script, "bash"]


def run_tests(*before: str, path: str) -> None:
    environment = [
        *("env", "-i", f"PATH={path}", "HOME=/tmp", "LANG=C.UTF-8"),
        *("PYTHONDONTWRITEBYTECODE=1", "CLASSIFIER_REQUIRE_KERNEL=1"),
    ]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS]
    done = subprocess.run(
        [*before, *environment, *tests], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("3 passed in "), done.stdout


def is_root_of_the_host() -> bool:
    """And not an ordinary user, who is the only user of a user namespace here."""
    return int(Path("/proc/self/uid_map").read_text().split()[2]) > 1


def test_as_an_ordinary_user_with_debian_s_stock_path(tmp_path: Path) -> None:
    user = ORDINARY_USER if is_root_of_the_host() else ()
    run_tests(*in_another_root(tmp_path, ROOT), *user, path=STOCK_PATH)


def test_as_root_in_a_folder_that_nobody_else_can_enter(tmp_path: Path) -> None:
    checkout = Path("/root/nfq-classifier")
    run_tests(*in_another_root(tmp_path, checkout, root_mode="700"), path=os.environ["PATH"])


def test_as_root_in_a_root_entered_by_pivot_root(tmp_path: Path) -> None:
    run_tests(*in_another_root(tmp_path, ROOT), path=os.environ["PATH"])


@pytest.mark.skipif(not is_root_of_the_host(), reason="a user namespace has one user")
def test_an_ordinary_user_without_usr_sbin_in_path_can_run_the_lab(tmp_path: Path) -> None:
    lab = ["env", "-i", f"PATH={STOCK_PATH}", "PYTHONDONTWRITEBYTECODE=1", sys.executable]
    lab += ["-m", "classifier", "lab", "--flows", "60"]
    missing = missing_helper_modules(["ftp"])  # which such a user cannot load either
    done = subprocess.run(
        [*in_another_root(tmp_path, ROOT), *ORDINARY_USER, *lab],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("warning: the kernel module nf_nat_ftp is not loaded" in done.stdout) == bool(missing)
