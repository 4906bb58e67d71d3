"""`--state-dir` of commands that try a policy: what the service of this host has stored is used.

Nothing is changed there: a damaged file, which the service would set aside, is an error here.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from classifier.engine.engine import Engine
from classifier.engine.sticky_file import import_sticky
from classifier.errors import HostError, UsageError
from classifier.policy import Family, Policy, Uplink
from classifier.state.asked import Asked, stored_asked
from classifier.state.health import Bad, stored_bad
from classifier.state.ids import stored_ids
from classifier.state.seed import read_seed
from classifier.state.sticky import FILE_NAME, stored_sticky
from classifier.uplinks.placing import place


def add_saved_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state-dir",
        type=Path,
        metavar="DIR",
        help="use the ids, seed, forced states and sticky entries that the service keeps there",
    )


@dataclass(frozen=True, slots=True)
class SavedState:
    """A policy with what a service would start with."""

    policy: Policy
    seed: int | None = None
    asked: Mapping[str, Asked] = field(default_factory=dict)
    bad: Bad = field(default_factory=dict)
    state_dir: Path | None = None
    """Where the sticky entries are; None: there are none."""

    @property
    def out_of_use(self) -> dict[str, str]:
        """Uplinks that take no new flows, or not those of a family; and why."""
        found = {}
        for uplink in self.policy.uplinks:
            asked = self.asked.get(uplink.name, "auto")
            if asked in ("down", "drain"):
                found[uplink.name] = f"{asked}, by hand"
            elif asked == "auto" and uplink.name in self.bad:
                families = " and ".join(f"IPv{f}" for f in sorted(self.bad[uplink.name]))
                found[uplink.name] = f"its probes over {families} failed"
        return found

    def engine(self, seed: int) -> Engine:
        """One that decides as a service would that starts now; its time begins at 0."""
        engine = Engine(self.policy, seed)
        place(engine, self.policy, {u.name: self._families(u) for u in self.policy.uplinks})
        self.remember(engine)
        return engine

    def _families(self, uplink: Uplink) -> frozenset[Family]:
        asked = self.asked.get(uplink.name, "auto")
        if asked in ("down", "drain"):
            return frozenset()
        bad = self.bad.get(uplink.name) if asked == "auto" else None
        return frozenset(uplink.families) - (bad or frozenset())

    @property
    def asked_at_start(self) -> dict[str, Asked]:
        """For a replay, in which nobody probes: what failed its probes is down."""
        down: dict[str, Asked] = dict.fromkeys(self.out_of_use, "down")
        return down | dict(self.asked)

    def like(self, policy: Policy) -> Policy:
        """Another policy with the ids that it would have on the same gateway."""
        return stored_ids(self.state_dir, policy, repair=False) if self.state_dir else policy

    def remember(self, engine: Engine) -> None:
        """Put saved entries and turns into an engine whose time is 0. Raises HostError."""
        found = stored_sticky(self.state_dir) if self.state_dir else None
        if found is None or self.state_dir is None:
            return
        content, age = found
        try:
            import_sticky(engine, content, 0, round(age * 1000))
        except UsageError as error:
            raise HostError(f"{self.state_dir / FILE_NAME}: {error}") from error


def saved_state(policy: Policy, options: argparse.Namespace) -> SavedState:
    """`policy` with what is stored in `--state-dir`, if that is given. Raises HostError."""
    folder: Path | None = options.state_dir
    if folder is None:
        return SavedState(policy, options.seed)
    if not folder.is_dir():
        raise HostError(f"--state-dir {folder}: there is no such directory")
    return SavedState(
        stored_ids(folder, policy, repair=False),
        options.seed if options.seed is not None else read_seed(folder),
        stored_asked(folder, repair=False),
        stored_bad(folder, repair=False),
        folder,
    )
