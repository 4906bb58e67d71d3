"""Packed captures are replayed as what is in them, and one that is damaged says where."""

from __future__ import annotations

import gzip
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from capture_files import RAW, at, ipv4, pcap, udp

from classifier.errors import CaptureError
from classifier.replay import Replay, replay

IN, OUT = "192.168.1.2", "198.51.100.7"
CHANCE = random.Random(3)
PACKETS = 3000
PLAIN = pcap(
    [at(n, ipv4(IN, OUT, 17, udp(n, 53, CHANCE.randbytes(200)))) for n in range(PACKETS)], link=RAW
)


def zstd(data: bytes) -> bytes:
    compress = pytest.importorskip(
        "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    ).compress
    return bytes(compress(data))


PACKERS = {"gzip": gzip.compress, "zstd": zstd}
packed_by = pytest.mark.parametrize("pack", PACKERS.values(), ids=PACKERS)


def count(policy, path: str | Path) -> int:
    return replay(policy, path, seed=1).packets


def broken(policy, path: str | Path) -> tuple[str, int]:
    """Why a capture cannot be read to its end, and how many packets came before."""
    run = Replay(policy, seed=1)
    with pytest.raises(CaptureError) as caught:
        run.read(path)
    return str(caught.value), run.report().packets


@packed_by
def test_a_packed_capture_is_what_it_unpacks_to_whatever_its_name(policy, write, pack):
    assert replay(policy, write(pack(PLAIN)), seed=1) == replay(policy, write(PLAIN), seed=1)


@packed_by
def test_archives_behind_each_other_are_one_capture(policy, write, pack):
    """As rotated captures that are put together with cat, and as parallel packers write."""
    parts = [PLAIN[:5000], PLAIN[5000:300_000], b"", PLAIN[300_000:]]
    assert count(policy, write(b"".join(map(pack, parts)))) == PACKETS


def test_gzip_may_be_filled_up_with_zeros(policy, write):
    assert count(policy, write(gzip.compress(PLAIN) + bytes(300_000))) == PACKETS


def test_zstd_may_begin_with_a_frame_without_data(policy, write):
    skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"size"
    assert count(policy, write(skippable + zstd(PLAIN))) == PACKETS


@packed_by
@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 1.0])
def test_an_archive_that_is_cut_off_says_so_and_loses_nothing_before(policy, write, pack, part):
    whole = pack(PLAIN)
    cut = min(int(len(whole) * part) + 20, len(whole) - 1)
    path = write(whole[:cut])
    reason, packets = broken(policy, path)
    name = reason.split(" archive")[0].split()[-1]
    assert reason == (f"{path}: packet {packets + 1}, byte {cut}: the {name} archive is cut off")
    assert packets >= int(PACKETS * part) - 700


@packed_by
def test_a_damaged_archive_says_so_and_where(policy, write, pack):
    first, second = pack(PLAIN[:300_000]), bytearray(pack(PLAIN[300_000:]))
    second[10:40] = b"\xff" * 30
    path = write(first + second)
    reason, packets = broken(policy, path)
    assert packets == (300_000 - 24) // 244
    assert reason.startswith(f"{path}: packet {packets + 1}, byte ")
    assert "archive is damaged here or before: " in reason


@packed_by
def test_what_is_no_archive_behind_one_is_not_passed_over(policy, write, pack):
    path = write(pack(PLAIN) + b"no archive at all, but text that somebody put there")
    reason, packets = broken(policy, path)
    assert packets == PACKETS
    assert "archive is damaged here or before: " in reason


@packed_by
def test_a_mistake_in_the_packed_capture_is_placed_in_what_is_unpacked(policy, write, pack):
    path = write(pack(PLAIN[:-5]))
    reason, packets = broken(policy, path)
    assert packets == PACKETS - 1
    place = len(PLAIN) - 228
    assert reason == (
        f"{path}: packet {PACKETS}, byte {place}: the packet is cut after 223 of 228 bytes"
        " (counted in what the archive unpacks to)"
    )


@packed_by
def test_what_is_packed_and_no_capture_is_named_by_its_first_bytes(policy, write, pack):
    reason, _ = broken(policy, write(pack(b"ustar, perhaps, but no capture")))
    assert "byte 0: not a capture file: it begins with 75 73 74 61" in reason
    reason, _ = broken(policy, write(pack(b"")))
    assert "the file is empty" in reason


@packed_by
def test_packed_standard_input_is_read(policy_file, pack):
    command = [sys.executable, "-m", "classifier", "replay", policy_file, "-", "--json"]
    done = subprocess.run(command, input=pack(PLAIN), capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert f'"packets": {PACKETS},'.encode() in done.stdout


def test_without_a_zstd_library_it_is_said_what_to_install(policy, write, monkeypatch):
    path = write(zstd(PLAIN))
    for name in ("compression.zstd", "backports.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    reason, packets = broken(policy, path)
    assert packets == 0
    assert reason.startswith(f"{path}: packet 1, byte 0: a zstd archive, and nothing is installed")
    assert "pip install 'nfq-classifier[zstd]'" in reason


@pytest.mark.skipif("asan" in os.environ.get("LD_PRELOAD", ""), reason="keeps what was freed")
@packed_by
def test_an_archive_that_unpacks_to_far_more_takes_no_more_memory(policy, write, pack):
    """600 MB in some kilobytes: unpacked at once, each piece read would be 100 MB and more."""
    record = bytes(16)
    blank = pcap([], link=RAW) + record * 100
    piece = pack(record * 6_000_000)
    path = write(pack(blank) + piece * 6)
    run = Replay(policy, seed=1, keep=False)
    before = resident()
    run.read(path)
    assert run.report().packets == 36_000_100
    assert resident() - before < 48 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
