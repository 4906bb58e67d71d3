"""The secret seed is the same after a restart, and only the service's user may read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifier.errors import HostError
from classifier.state.seed import FILE_NAME, stored_seed


def test_a_restart_finds_the_seed_of_the_first_start(tmp_path: Path) -> None:
    first = stored_seed(tmp_path / "state")
    assert stored_seed(tmp_path / "state") == first
    assert stored_seed(tmp_path / "other") != first


def test_nobody_else_may_read_it(tmp_path: Path) -> None:
    stored_seed(tmp_path)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"17\n", b"0123456789abcdef"])
def test_a_damaged_seed_is_kept_aside_and_a_new_one_stored(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    seed = stored_seed(tmp_path)
    assert stored_seed(tmp_path) == seed
    assert (tmp_path / f"{FILE_NAME}.damaged").read_bytes() == content


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="file/state/seed"):
        stored_seed(tmp_path / "file" / "state")
