"""Uplink ids that outlive the process: an uplink keeps its mark and its table over a restart.

Stored as a JSON object, name to id, in the state directory.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from classifier.errors import HostError
from classifier.policy import Policy

FILE_NAME = "uplinks.json"
_ADVICE = "repair it, or remove it for new ids"


def stored_ids(state_dir: str | os.PathLike[str], policy: Policy, *, write: bool = False) -> Policy:
    """`policy` with the ids its uplinks have had before, and free ones for new uplinks.

    An uplink that has left the policy keeps its id for when it comes back, until there are no
    others left to give. Nothing is stored unless `write`. Raises HostError when the file is there
    but cannot be read or understood, or cannot be written.
    """
    path = Path(state_dir) / FILE_NAME
    stored = _read(path)
    ids = assign(
        stored, [uplink.name for uplink in policy.uplinks], policy.gateway.marks.largest_id
    )
    if write and ids != stored:
        _write(path, ids)
    return policy.with_ids(ids)


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


def _read(path: Path) -> dict[str, int]:
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise HostError(f"{path}: cannot be read: {error}; {_ADVICE}") from error
    if not _is_ids(content):
        what = "must be an object of uplink names and ids, each id used once"
        raise HostError(f"{path}: {what}; {_ADVICE}")
    return dict(content)


def _is_ids(content: object) -> bool:
    if not isinstance(content, dict):
        return False
    ids = list(content.values())
    return all(type(number) is int for number in ids) and len(set(ids)) == len(ids)


def _write(path: Path, ids: Mapping[str, int]) -> None:
    """In one step, so that neither a crash nor a full disk leaves half a file."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            temporary = Path(file.name)
            json.dump(ids, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise HostError(f"{path}: cannot be written: {error.strerror}") from error
