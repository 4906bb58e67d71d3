"""Uplink ids that outlive the process: an uplink keeps its mark and its table over a restart.

Stored as a JSON object, name to id.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from classifier.policy import Policy
from classifier.state import files

FILE_NAME = "uplinks.json"
_RULE = "must be a JSON object of uplink names and ids, each id used once"


def stored_ids(state_dir: Path, policy: Policy, *, repair: bool = True) -> Policy:
    """`policy` with the ids its uplinks have had before, and free ones for new uplinks.

    Changes nothing; a damaged file counts as none. Raises HostError when it cannot be read, and for
    a damaged one without `repair`.
    """
    path = state_dir / FILE_NAME
    text = files.read(path)
    stored = _parse(text)
    if text is not None and stored is None and not repair:
        files.set_aside(path, _RULE, repair)
    return policy.with_ids(_assigned(stored or {}, policy))


def store_ids(state_dir: Path, policy: Policy) -> Policy:
    """The same, and the ids are stored; a damaged file is set aside.

    An uplink that has left the policy keeps its id for when it comes back, until there are no
    others left to give. Raises HostError when the file cannot be read or written.
    """
    path = state_dir / FILE_NAME
    text = files.read(path)
    stored = _parse(text)
    if text is not None and stored is None:
        files.set_aside(path, _RULE)
    ids = _assigned(stored or {}, policy)
    if ids != stored:
        files.write(path, json.dumps(ids, indent=2) + "\n", 0o644)
    return policy.with_ids(ids)


def _assigned(stored: Mapping[str, int], policy: Policy) -> dict[str, int]:
    names = [uplink.name for uplink in policy.uplinks]
    return assign(stored, names, policy.gateway.marks.largest_id)


def assign(stored: Mapping[str, int], names: list[str], largest: int) -> dict[str, int]:
    """Ids of `names` and of those in `stored` that still have one; lowest free ids first."""
    ids = {name: number for name, number in stored.items() if 1 <= number <= largest}
    absent = sorted((name for name in ids if name not in names), key=lambda name: ids[name])
    for name in names:
        if name in ids:
            continue
        taken = set(ids.values())
        free = (number for number in range(1, largest + 1) if number not in taken)
        number = next(free, None)
        if number is None:
            number = ids.pop(absent.pop(0))
        ids[name] = number
    return ids


def _parse(text: str | None) -> dict[str, int] | None:
    """The ids in the text of the file; None when it is no such file."""
    try:
        content = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict):
        return None
    ids = list(content.values())
    sound = all(type(number) is int for number in ids) and len(set(ids)) == len(ids)
    return dict(content) if sound else None
