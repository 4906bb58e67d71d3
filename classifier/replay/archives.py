"""Captures that come packed, gzip (RFC 1952) or zstd (RFC 8878), unpacked as they are read.

Told by their first bytes, never by a name. Several members (gzip) or frames (zstd) behind each
other are one capture. What is unpacked is handed out piece by piece, so that the memory does not
grow with the size of either form; zstd's own window is 128 MiB at most.
"""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Callable
from typing import Protocol, cast

from classifier.errors import CaptureError

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = b"\x2a\x4d\x18"
"""Behind a byte from 50 to 5f: a zstd frame without data, with which some programs begin."""
_READ_BYTES = 1 << 17
_WITH_GZIP_HEADER = 31  # zlib's wbits


class Member(Protocol):
    """One gzip member or zstd frame; what the standard library's decompressors have."""

    @property
    def eof(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    @property
    def needs_input(self) -> bool: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Archive:
    """What a packed capture unpacks to, read from a descriptor.

    `kind` is one of `kind_of`; `head` is what was read from the descriptor already. Raises
    CaptureError when there is nothing to unpack this kind with.
    """

    def __init__(self, kind: str, head: bytes, descriptor: int) -> None:
        self._kind = kind
        self._head = head
        self._descriptor = descriptor
        self._begin, self._damage = (_GzipMember, zlib.error) if kind == "gzip" else _zstd()
        self._member = self._begin()
        self.position = 0
        """How many bytes of the packed file were read."""
        self.error: BaseException | None = None
        """What kept `readinto` from reading on, for those that cannot be told by raising it."""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the beginning of `buffer`; 0 at the end. CaptureError where it cannot be unpacked
        further, OSError where it cannot be read."""
        try:
            piece = self._next(len(buffer))
        except self._damage as error:
            raise CaptureError(
                f"byte {self.position}: the {self._kind} archive is damaged here or before: {error}"
            ) from None
        buffer[: len(piece)] = piece
        return len(piece)

    def _next(self, most: int) -> bytes:
        while True:
            if self._member.eof:
                rest = self._behind_member()
                if not rest:
                    return b""
                self._member = self._begin()
                piece = self._member.decompress(rest, most)
            else:
                wanting = self._member.needs_input
                data = self._read() if wanting else b""
                piece = self._member.decompress(data, most)
                if wanting and not data and not piece:
                    raise CaptureError(f"byte {self.position}: the {self._kind} archive is cut off")
            if piece:
                return piece

    def _behind_member(self) -> bytes:
        rest = self._member.unused_data or self._read()
        if self._kind == "gzip":
            # Tapes and some programs fill up with zeros (as gzip does, we skip them).
            while rest and not (rest := rest.lstrip(b"\0")):
                rest = self._read()
        return rest

    def _read(self) -> bytes:
        data, self._head = self._head, b""
        data = data or os.read(self._descriptor, _READ_BYTES)
        self.position += len(data)
        return data


def kind_of(head: bytes) -> str | None:
    """What a file that begins so is packed with; None: it is not, or in a way that is not known."""
    if head.startswith(_GZIP):
        return "gzip"
    if head.startswith(_ZSTD) or (head[1:4] == _SKIPPABLE and head[0] >> 4 == 5):
        return "zstd"
    return None


class _GzipMember:
    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(_WITH_GZIP_HEADER)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def _zstd() -> tuple[Callable[[], Member], type[Exception]]:
    """Of the standard library from Python 3.14 on; before that a package with the same text."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            found = importlib.import_module(name)
        except ImportError:
            continue
        begin = cast(Callable[[], Member], found.ZstdDecompressor)
        return begin, cast(type[Exception], found.ZstdError)
    raise CaptureError(
        "a zstd archive, and nothing is installed that unpacks it"
        " (pip install 'nfq-classifier[zstd]', or zstdcat F | nfq-classifier replay G -)"
    )
