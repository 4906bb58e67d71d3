"""What a run of the lab found out: what was sent, where it went, and which promises held."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Sent:
    """Flows of one kind."""

    what: str
    flows: int
    wanted: Mapping[str, float]
    """Flows by uplink, as the policy wants them."""
    got: Mapping[str, int]
    """Flows by uplink, as they arrived at the ISPs."""

    @property
    def lost(self) -> int:
        return self.flows - sum(self.got.values())


@dataclass(frozen=True, slots=True)
class Promise:
    text: str
    held: bool | None
    """None: could not be tried here, `found` says why."""
    found: str


@dataclass(frozen=True, slots=True)
class Report:
    uplinks: tuple[str, ...]
    sent: tuple[Sent, ...]
    promises: tuple[Promise, ...]
    warnings: tuple[str, ...]
    """What this kernel lacks for the policy; no promise is broken by it."""
    seconds: float

    @property
    def held(self) -> bool:
        """Whether no promise was broken."""
        return all(promise.held is not False for promise in self.promises)

    def data(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "held": self.held,
            "seconds": round(self.seconds, 3),
            "uplinks": list(self.uplinks),
            "sent": [
                {
                    "what": sent.what,
                    "flows": sent.flows,
                    "wanted": {name: round(flows, 2) for name, flows in sent.wanted.items()},
                    "got": dict(sent.got),
                    "lost": sent.lost,
                }
                for sent in self.sent
            ],
            "promises": [
                {"promise": promise.text, "held": promise.held, "found": promise.found}
                for promise in self.promises
            ],
            "warnings": list(self.warnings),
        }


def counted(uplinks: Iterable[str | None]) -> dict[str, int]:
    """Flows by uplink; what did not arrive (None) is left out."""
    return dict(Counter(name for name in uplinks if name is not None))
