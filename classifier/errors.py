"""Every error that this package raises on purpose, in one tree.

The commands turn `ConfigError` and `UsageError` into exit code 2 and any other `ClassifierError`
into exit code 1. Messages name the place, the value and the rule that was broken.
"""

from __future__ import annotations

from dataclasses import dataclass


class ClassifierError(Exception):
    """Root of all errors of nfq-classifier."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing wrong in a configuration file."""

    line: int | None
    """Line in the file, counted from 1; None where no line can be named."""
    key: str
    """Dotted path of the key, such as `rules[2].to_ports`; empty for the file as a whole."""
    value: str
    """The offending value as it would be written in TOML; empty where there is none."""
    rule: str
    """The rule that was broken, as a sentence about what is allowed."""

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line is not None else ""
        subject = f"{self.key} = {self.value}" if self.value else self.key
        return f"{place}{subject}: {self.rule}" if subject else f"{place}{self.rule}"


class ConfigError(ClassifierError):
    """A configuration that cannot be used; `mistakes` lists everything wrong with it."""

    def __init__(self, path: str, mistakes: tuple[Mistake, ...]) -> None:
        self.path = path
        self.mistakes = mistakes
        super().__init__("\n".join(f"{path}: {mistake}" for mistake in mistakes))


class UsageError(ClassifierError):
    """A command line that makes no sense: wrong option, wrong value."""


class HostError(ClassifierError):
    """The host refused a change, or lacks what the plan needs."""


class ConflictError(HostError):
    """Something else on this host uses our mark bits, rule priorities, tables or queues."""


class QueueError(ClassifierError):
    """An NFQUEUE could not be bound or read."""


class ServiceError(ClassifierError):
    """The running service could not be reached, or one is running already."""


class CaptureError(ClassifierError):
    """A capture file that cannot be read further; names file, packet number and byte offset."""


class OutputError(ClassifierError):
    """A file that results were to be written to, and cannot be."""


class LabError(ClassifierError):
    """The virtual gateway could not be built, or this kernel lacks what it needs."""
