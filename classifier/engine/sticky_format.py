"""The bytes in which sticky entries and turns outlive the process.

    nfq-classifier sticky 1              form and version
    {"seed": ..., "balancers": [...]}    JSON on one line
    24 bytes for each entry              of one balancer after the other: `Record` in sticky_file
    4 bytes                              CRC-32 of all before it, highest byte first

Entries are known by digests of a secret seed, so they are of use with the same seed only. Times are
relative: milliseconds that an entry lives on.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from classifier.errors import UsageError
from classifier.policy import Sticky

RECORD_BYTES = 24
_FORM = b"nfq-classifier sticky 1\n"
_CHECKSUM_BYTES = 4
_LARGEST_WEIGHT = 2**48


@dataclass(frozen=True, slots=True)
class Turn:
    """Where one uplink stands in the turns of an nth balancer."""

    uplink: str
    weight: int
    behind: int
    """Flows that it is behind its share, times the sum of weights."""


@dataclass(frozen=True, slots=True)
class SavedBalancer:
    name: str
    key: str
    """What its entries go by, as `sticky_key` has it."""
    entries: int
    turns: tuple[tuple[Turn, ...], ...]
    """Of nth: IPv4's and IPv6's, or one for both. Of other methods: none."""


@dataclass(frozen=True, slots=True)
class Saved:
    seed: str
    """A fingerprint of the seed, and of the machine's byte order, in which entries are written."""
    uplinks: Mapping[str, int]
    """Names and ids."""
    balancers: tuple[SavedBalancer, ...]


def sticky_key(sticky: Sticky | None) -> str:
    """Entries of balancers with the same words go by the same addresses."""
    return f"{sticky.by} /{sticky.prefix4} /{sticky.prefix6}" if sticky else ""


def encode(saved: Saved, records: list[bytes]) -> bytes:
    """`records`: those of each balancer."""
    header = json.dumps(asdict(saved), separators=(",", ":")).encode()
    content = b"".join((_FORM, header, b"\n", *records))
    return content + zlib.crc32(content).to_bytes(_CHECKSUM_BYTES)


def decode(data: bytes) -> tuple[Saved, list[memoryview]]:
    """What `encode` was given. UsageError for all other bytes, but for the records' content."""
    content, checksum = memoryview(data)[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if not data.startswith(_FORM):
        raise _damaged(f"must begin with {_FORM.decode().rstrip()!r}")
    if zlib.crc32(content).to_bytes(_CHECKSUM_BYTES) != checksum:
        raise _damaged("the checksum is wrong")
    end = data.find(b"\n", len(_FORM))
    try:
        saved = _saved(json.loads(data[len(_FORM) : max(end, 0)]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise _damaged("the second line is not what was written") from error
    begin, records = end + 1, []
    for balancer in saved.balancers:
        size = balancer.entries * RECORD_BYTES
        records.append(content[begin : begin + size])
        begin += size
    if begin != len(content):
        raise _damaged(f"{begin} bytes of content are promised, {len(content)} are there")
    return saved, records


def _saved(header: Any) -> Saved:
    uplinks = {_text(name): _whole(id, 1, 255) for name, id in header["uplinks"].items()}
    if len(set(uplinks.values())) != len(uplinks):
        raise ValueError("two uplinks with one id")
    return Saved(_text(header["seed"]), uplinks, tuple(map(_balancer, header["balancers"])))


def _balancer(entry: Any) -> SavedBalancer:
    turns = tuple(tuple(map(_turn, family)) for family in entry["turns"])
    for family in turns:
        total = sum(turn.weight for turn in family)
        if sum(turn.behind for turn in family) or any(abs(t.behind) >= total for t in family):
            raise ValueError("turns that nth does not come to")
    if len(turns) > 2:
        raise ValueError("turns of more families than there are")
    return SavedBalancer(
        _text(entry["name"]), _text(entry["key"]), _whole(entry["entries"], 0, 2**31), turns
    )


def _turn(entry: Any) -> Turn:
    return Turn(
        _text(entry["uplink"]),
        _whole(entry["weight"], 1, _LARGEST_WEIGHT),
        _whole(entry["behind"], -(2**56), 2**56),
    )


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _whole(value: Any, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise ValueError("not a number in its range")
    return value


def _damaged(rule: str) -> UsageError:
    return UsageError(f"saved sticky entries: {rule}")
