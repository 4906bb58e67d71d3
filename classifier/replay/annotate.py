"""Captures with each flow's first packet commented with its decision, for Wireshark.

Everything else stays as it is: a pcapng capture keeps its blocks byte for byte, in its own byte
order, with interfaces, options and ticks; a pcap capture becomes a section with one interface and
the same ticks. Several captures become several sections of one file.

The captures are read a second time, after the replay has decided about their flows, so standard
input cannot be annotated.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from classifier.errors import CaptureError, OutputError, UsageError
from classifier.replay.archives import Archive, kind_of
from classifier.replay.capture_blocks import ShortCaptureError, blocks
from classifier.replay.outputs import whole_file
from classifier.replay.report import FlowDecision, Report

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER = 1 << 18


@dataclass(frozen=True, slots=True)
class CapturePart:
    """A capture, and how much of it was replayed."""

    path: str
    packets: int
    whole: bool
    """It could be read to its end."""


def check_annotated(captures: Iterable[str]) -> None:
    """Raises UsageError where the captures cannot be read again."""
    for capture in captures:
        if capture == "-" or (Path(capture).exists() and not Path(capture).is_file()):
            raise UsageError(
                f"{capture}: cannot be annotated, as that reads it a second time: must be a file"
            )


def annotate(
    report: Report, parts: Sequence[CapturePart], first_packets: Sequence[int], path: Path
) -> None:
    """Write the captures to one pcapng file.

    `first_packets` has for each flow of the report the number, from 0 over all captures, of the
    packet that started it. Raises OutputError, also where a capture is not what it was.
    """
    comments = _Comments(report, first_packets)
    with whole_file(path) as file:
        for part in parts:
            _copy(part, comments, file)


def comment(flow: FlowDecision, way: str) -> str:
    """What is written to a flow's first packet; `way` is its uplink, `direct` or `drop`."""
    rule = "no rule" if flow.rule is None else f"rule {flow.rule}"
    place = way if flow.uplink is None else f"uplink {way}"
    return f"nfq-classifier: {place}, {rule}, reason {flow.reason}"


class _Comments:
    """The comments of flows, taken packet by packet."""

    def __init__(self, report: Report, first_packets: Sequence[int]) -> None:
        self._decisions = report.decisions
        self._first_packets = first_packets
        self._flow = 0
        self.packet = 0
        """Number of the next one."""

    def take(self) -> tuple[str, float] | None:
        """The comment of the next packet, if it starts a flow, and the time of that."""
        number, self.packet = self.packet, self.packet + 1
        if self._flow == len(self._decisions) or self._first_packets[self._flow] != number:
            return None
        flow, way = self._decisions[self._flow], self._decisions.way(self._flow)
        self._flow += 1
        return comment(flow, way), flow.time


class _Unpacked(io.RawIOBase):
    """What an archive unpacks to, as a file."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._archive.readinto(memoryview(buffer).cast("B"))


def _unpacked(file: io.FileIO) -> BinaryIO:
    head = file.read(4)
    kind = kind_of(head)
    file.seek(0)
    return io.BufferedReader(
        file if kind is None else _Unpacked(Archive(kind, b"", file.fileno())), _BUFFER
    )


def _copy(part: CapturePart, comments: _Comments, file: BinaryIO) -> None:
    end = comments.packet + part.packets
    if not (part.packets or part.whole):
        return
    try:
        with Path(part.path).open("rb", buffering=0) as raw, _unpacked(raw) as capture:
            for block in blocks(capture):
                if isinstance(block, bytes):
                    file.write(block)
                    continue
                if comments.packet == end:
                    break
                note = comments.take()
                file.write(block.encoded() if note is None else block.commented(*note))
                if comments.packet == end and not part.whole:
                    break
    except OSError as error:
        raise OutputError(f"{part.path}: cannot be read again: {error.strerror}") from error
    except (ShortCaptureError, CaptureError):
        pass
    if comments.packet != end:
        raise OutputError(f"{part.path}: is not what it was when it was replayed")
