"""A new policy for a service that runs: read, and held against what only a restart can change."""

from __future__ import annotations

from pathlib import Path

from classifier.config import load_policy
from classifier.errors import UsageError
from classifier.policy import Policy
from classifier.service.queues import with_safe_count
from classifier.state.ids import stored_ids


def read_policy(file: Path, state_dir: Path, old: Policy) -> Policy:
    """The policy in `file` as it is now, with the ids that its uplinks have had before.

    Nothing is stored. Raises ConfigError with every mistake, and UsageError when it needs a
    restart.
    """
    new = stored_ids(state_dir, with_safe_count(load_policy(file)))
    fixed = {
        "queue": old.queue == new.queue,
        "gateway.mask": old.gateway.mask == new.gateway.mask,
        "user (the first rule with one)": _has_users(old) or not _has_users(new),
    }
    if changed := [key for key, same in fixed.items() if not same]:
        raise UsageError(f"{file}: {', '.join(changed)}: a change needs a restart of the service")
    return new


def _has_users(policy: Policy) -> bool:
    """Whether the kernel has to tell the queue whose socket sent a packet."""
    return any(rule.users for rule in policy.rules)
