"""One policy over one set of captures: a task of its own, plain data that can be sent anywhere."""

from __future__ import annotations

import hashlib
import json
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from classifier.config import parse_policy
from classifier.errors import ClassifierError, UsageError
from classifier.policy import Policy
from classifier.replay import Report, Use, replay
from classifier.replay.captures import in_order_of_time
from classifier.sweep.policies import Variant

Value = int | float | str
Row = dict[str, Value]
"""Column to value: the numbers of a report."""


@dataclass(frozen=True, slots=True)
class CaptureSet:
    name: str
    paths: tuple[str, ...]
    """Absolute."""


@dataclass(frozen=True, slots=True)
class Options:
    """As for `replay`, the same for all tasks."""

    seed: int = 0
    lan: tuple[str, ...] = ()
    in_interface: str | None = None
    at: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Task:
    policy: str
    """The file, as it was named."""
    values: Mapping[str, object]
    text: str
    """The policy itself."""
    captures: str
    paths: tuple[str, ...]
    options: Options
    version: str
    """Of this program; another one does not take the task."""
    id: str
    """The same as long as policy, options and version are, and the captures' sizes and times."""

    @property
    def name(self) -> str:
        return f"{Variant(self.policy, self.values, self.text).name} over {self.captures}"

    def data(self) -> dict[str, object]:
        """What `run` needs, as JSON."""
        return {
            "text": self.text,
            "paths": list(self.paths),
            "options": asdict(self.options),
            "version": self.version,
        }


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a task: numbers, or why there are none."""

    row: Row
    error: str | None = None


def tasks(
    policies: Iterable[Variant], captures: Iterable[CaptureSet], options: Options
) -> list[Task]:
    """Every policy over every set, the sets changing first. UsageError: a capture is not there."""
    version = _version()
    sets = [(found, [_stamp(file) for file in in_order_of_time(found.paths)]) for found in captures]
    return [
        Task(
            policy=policy.file,
            values=policy.values,
            text=policy.text,
            captures=found.name,
            paths=found.paths,
            options=options,
            version=version,
            id=_digest(policy.text, stamps, asdict(options), version),
        )
        for policy in policies
        for found, stamps in sets
    ]


def run(data: Mapping[str, object]) -> dict[str, object]:
    """Do a task, as `Task.data` tells it; never raises, whatever goes wrong.

    Returns {"row": ...} or {"error": text}.
    """
    try:
        return {"row": _run(data)}
    except (ClassifierError, OSError) as error:
        return {"error": " ".join(str(error).splitlines())}
    except Exception as error:
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def outcome(answer: Mapping[str, object]) -> Outcome:
    """What `run` returned."""
    row = answer.get("row")
    if isinstance(row, dict):
        return Outcome(row)
    return Outcome({}, str(answer.get("error")))


def _run(data: Mapping[str, object]) -> Row:
    options, paths = data["options"], data["paths"]
    assert isinstance(options, dict) and isinstance(paths, list)
    version = _version()
    if version != data["version"]:
        raise UsageError(f"nfq-classifier is {version} here and {data['version']} where it began")
    policy = parse_policy(str(data["text"]))
    return _row(policy, replay(policy, paths, **options))


def _row(policy: Policy, report: Report) -> Row:
    row: Row = {
        "seconds": report.seconds,
        "packets": report.packets,
        "flows": report.flows,
        "malformed": report.malformed,
        "untracked": report.untracked,
        "without_ip": report.without_ip,
    }
    for name, use in report.uplinks.items():
        row.update(_use(f"uplinks.{name}", use))
        row[f"uplinks.{name}.share"] = use.share
    for name in ("direct", "dropped", "inbound"):
        row.update(_use(name, getattr(report, name)))
    for rule in report.rules:
        row[f"rules.{rule.name}"] = rule.flows
    row["method_failures"] = sum(found.errors for found in report.balancers.values())
    row["method_error"] = "; ".join(
        f"balancer {balancer.name}: its method {balancer.method} failed {found.errors} times, so"
        f" that its weights decided; the last time: {found.last_error}"
        for balancer in policy.balancers
        if (found := report.balancers[balancer.name]).errors
    )
    return row


def _use(name: str, use: Use) -> Iterator[tuple[str, int]]:
    yield f"{name}.flows", use.flows
    yield f"{name}.packets", use.packets
    yield f"{name}.bytes", use.bytes


def _stamp(file: str) -> tuple[str, int, int]:
    try:
        found = Path(file).stat()
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror}") from None
    return file, found.st_size, found.st_mtime_ns


def _version() -> str:
    from importlib import metadata  # takes longer than all else that `import classifier` does

    return metadata.version("nfq-classifier")


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
