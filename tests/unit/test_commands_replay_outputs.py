"""`replay` writes over nothing that it reads, and loses none of its outputs."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifier.commands import main

ARGUMENTS = ("replay", "gateway.toml", "folder", "one.pcap", "--against", "other.toml")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("gateway.toml", "other.toml", "one.pcap", "folder/two.pcap", "folder/two.csv"):
        (tmp_path / name).write_text(name)
    (tmp_path / "link.html").symlink_to("one.pcap")
    return tmp_path


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        (("--report", "gateway.toml"), "--report gateway.toml: is the configuration: "),
        (("--report", "other.toml"), "is the configuration of --against: "),
        (("--report", "./one.pcap"), "--report one.pcap: is one of the captures: "),
        (("--flows-to", "folder/two.csv"), "is one of the captures: "),
        (("--report", "link.html"), "is one of the captures: "),
        (
            ("--report", "new.csv", "--flows-to", "folder/../new.csv"),
            "--flows-to folder/../new.csv: is the file of --report, too: ",
        ),
    ],
)
def test_what_is_read_or_written_already_is_not_written_over(
    folder: Path, capsys: pytest.CaptureFixture[str], outputs: tuple[str, ...], said: str
) -> None:
    assert main([*ARGUMENTS, *outputs]) == 2
    error = capsys.readouterr().err
    assert said in error and "must be another file" in error
    assert (folder / "one.pcap").read_text() == "one.pcap"
    assert not (folder / "new.csv").exists()
