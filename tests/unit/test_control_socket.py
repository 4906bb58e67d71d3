"""The file of the control socket: who may connect, and what may stand in its place."""

from __future__ import annotations

import grp
import os
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from control_service import GET_STATUS, serving

from classifier.errors import ServiceError
from classifier.service.control.address import SOCKET_NAME
from classifier.service.control.routes import Request, Route
from classifier.service.control.socket_file import bind_socket

ROOT = Path(__file__).parents[2]
NOBODY = 65534
# A user namespace of somebody who is not root has one user and one group.
several_users = pytest.mark.skipif(
    os.geteuid() != 0 or int(Path("/proc/self/uid_map").read_text().split()[2]) == 1,
    reason="needs a second user to be refused (run as root)",
)


async def status(request: Request) -> Mapping[str, Any]:
    return {"uptime": 1}


ROUTES = (Route("GET", "/status", status),)


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def reachable() -> Iterator[Path]:
    """A folder that other users reach; each start of pytest closes the one that has `tmp_path`."""
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o755)
        yield Path(made)


@pytest.fixture
def group() -> grp.struct_group:
    """A group of this host that is not the one that files of this process get."""
    return next(entry for entry in grp.getgrall() if entry.gr_gid not in (os.getegid(), NOBODY))


def asked_as(directory: Path, gids: list[int]) -> str:
    """What `ask` says to a user who is nobody and in these groups only."""
    script = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from classifier.errors import ServiceError
from classifier.service.control.client import ask
os.setgroups({gids!r}), os.setgid({NOBODY}), os.setuid({NOBODY})
try:
    print(ask(Path({str(directory)!r}), "GET", "/status"))
except ServiceError as error:
    print(error)
"""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.usefixtures("open_umask")
def test_without_a_group_only_the_own_user_and_root_may_connect(tmp_path: Path) -> None:
    with serving(tmp_path, ROUTES):
        assert (tmp_path / SOCKET_NAME).stat().st_mode == stat.S_IFSOCK | 0o600


@several_users
def test_a_group_may_connect_and_others_are_told_which(
    reachable: Path, group: grp.struct_group
) -> None:
    with serving(reachable, ROUTES, group.gr_name) as service:
        found = (reachable / SOCKET_NAME).stat()
        assert (found.st_mode, found.st_gid) == (stat.S_IFSOCK | 0o660, group.gr_gid)
        refusal = f"only root and members of the group {group.gr_name} may ask"
        assert asked_as(reachable, []).endswith(refusal)
        assert asked_as(reachable, [group.gr_gid]) == "{'uptime': 1}"
        service.server.allow(None)
        refusal = "only the service's own user and root may ask"
        assert asked_as(reachable, [group.gr_gid]).endswith(refusal)
        service.server.allow(group.gr_name)
        assert asked_as(reachable, [group.gr_gid]) == "{'uptime': 1}"


@several_users
def test_a_runtime_directory_that_is_closed_is_told_as_such(
    reachable: Path, group: grp.struct_group
) -> None:
    runtime_dir = reachable / "run"
    runtime_dir.mkdir(0o700)
    with serving(runtime_dir, ROUTES, group.gr_name):
        refusal = f"permission denied: {runtime_dir} is closed to this user"
        assert asked_as(runtime_dir, [group.gr_gid]).endswith(refusal)


@pytest.mark.usefixtures("open_umask")
def test_nobody_can_connect_before_group_and_mode_are_set(tmp_path: Path) -> None:
    with bind_socket(tmp_path, None):
        assert (tmp_path / SOCKET_NAME).stat().st_mode == stat.S_IFSOCK | 0o600
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(tmp_path / SOCKET_NAME))


def test_a_group_that_does_not_exist_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match='control_group = "no such": must be a group of this'):
        bind_socket(tmp_path, "no such")
    assert list(tmp_path.iterdir()) == []


@several_users
def test_a_group_that_this_user_may_not_give_to_is_told_with_the_way_out(
    tmp_path: Path, group: grp.struct_group
) -> None:
    """The documented unit has no CAP_CHOWN."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from classifier.service.control.socket_file import bind_socket
bind_socket(Path({str(tmp_path)!r}), {group.gr_name!r})
"""
    no_chown = ["setpriv", "--bounding-set", "-chown", "--inh-caps", "-chown"]
    refused = subprocess.run(
        [*no_chown, "--", sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "SupplementaryGroups=" + group.gr_name in refused.stderr
    assert list(tmp_path.iterdir()) == []
    in_group = [*no_chown, "--groups", str(group.gr_gid), "--", sys.executable, "-c", script]
    subprocess.run(in_group, check=True)
    assert (tmp_path / SOCKET_NAME).stat().st_gid == group.gr_gid


def test_a_socket_left_by_a_killed_service_does_not_hinder_the_next(tmp_path: Path) -> None:
    bind_socket(tmp_path, None).close()
    assert (tmp_path / SOCKET_NAME).is_socket()
    with serving(tmp_path, ROUTES) as service:
        assert service.exchange(GET_STATUS)[0] == 200
    assert not (tmp_path / SOCKET_NAME).exists()


@pytest.mark.parametrize("kind", ["a directory", "a file", "a symbolic link", "something else"])
def test_what_stands_in_the_place_of_the_socket_is_named_and_left_alone(
    tmp_path: Path, kind: str
) -> None:
    place = tmp_path / SOCKET_NAME
    if kind == "a directory":
        place.mkdir()
    elif kind == "a file":
        place.write_text("of somebody")
    elif kind == "a symbolic link":
        place.symlink_to("/dev/null")
    else:
        os.mkfifo(place)
    before = place.lstat()
    with pytest.raises(ServiceError, match=f"control.sock: {kind} is in its place; move it away"):
        bind_socket(tmp_path, None)
    assert place.lstat() == before


def test_a_path_that_is_too_long_or_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match="longer than the 107 bytes"):
        bind_socket(tmp_path / ("long" * 30), None)
    with pytest.raises(ServiceError, match=r"missing/control\.sock: No such file or directory"):
        bind_socket(tmp_path / "missing", None)
