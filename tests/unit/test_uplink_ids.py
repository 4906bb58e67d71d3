"""An uplink keeps its id, and so its mark and routing table, over restarts and edits."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifier.errors import HostError
from classifier.policy import Gateway, Policy, Queue, Uplink
from classifier.state.ids import FILE_NAME, store_ids, stored_ids


def policy(*names: str, mask: int = 0x3F00) -> Policy:
    uplinks = tuple(Uplink(name, number + 1, f"eth{number}") for number, name in enumerate(names))
    return Policy(Gateway(mask=mask), Queue(), uplinks)


def ids(made: Policy) -> dict[str, int]:
    return {uplink.name: uplink.id for uplink in made.uplinks}


def stored(state: Path, *names: str, mask: int = 0x3F00) -> dict[str, int]:
    return ids(store_ids(state, policy(*names, mask=mask)))


def test_the_order_of_the_file_decides_at_first(tmp_path: Path) -> None:
    assert stored(tmp_path / "made" / "here", "wired", "wifi") == {"wired": 1, "wifi": 2}


def test_ids_stay_when_uplinks_are_put_in_another_order(tmp_path: Path) -> None:
    stored(tmp_path, "wired", "wifi")
    assert stored(tmp_path, "lte", "wifi", "wired") == {"wired": 1, "wifi": 2, "lte": 3}


def test_an_uplink_that_comes_back_has_its_old_id(tmp_path: Path) -> None:
    stored(tmp_path, "wired", "wifi")
    assert stored(tmp_path, "wired", "lte") == {"wired": 1, "lte": 3}
    assert stored(tmp_path, "wifi", "lte") == {"wifi": 2, "lte": 3}


def test_ids_of_absent_uplinks_are_given_away_only_when_none_is_left(tmp_path: Path) -> None:
    # Eight values under the mask, five of them ids.
    stored(tmp_path, *"abcde", mask=0x700)
    assert stored(tmp_path, "b", "f", mask=0x700) == {"b": 2, "f": 1}
    assert stored(tmp_path, "b", "a", "c", mask=0x700) == {"b": 2, "a": 1, "c": 3}


def test_an_id_that_a_smaller_mask_has_no_room_for_is_replaced(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b", "c")
    assert stored(tmp_path, "c", mask=0x300) == {"c": 1}


def test_nothing_is_stored_unless_asked_for(tmp_path: Path) -> None:
    assert ids(stored_ids(tmp_path / "state", policy("a"))) == {"a": 1}
    assert not (tmp_path / "state").exists()


def test_a_half_written_file_is_never_left(tmp_path: Path) -> None:
    stored(tmp_path, "a", "b")
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("content", ["", "[1]", '{"a": "1"}', '{"a": 1, "b": 1}', "[" * 10**5])
def test_a_damaged_file_is_kept_aside_and_the_start_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    path = tmp_path / FILE_NAME
    path.write_text(content)
    assert ids(stored_ids(tmp_path, policy("a"))) == {"a": 1}
    assert path.read_text() == content, "only a start may change it"
    assert stored(tmp_path, "a") == {"a": 1}
    assert (tmp_path / f"{FILE_NAME}.damaged").read_text() == content
    [told] = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{path}: must be a JSON object of uplink names and ids")
    assert stored(tmp_path, "b", "a") == {"a": 1, "b": 2}


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    with pytest.raises(HostError, match="file"):
        store_ids(in_the_way / "state", policy("a"))
