"""For tests of policies: captures replayed, and assertions that say what they found."""

from classifier.testing.asserting import PolicyAssertionError
from classifier.testing.outcome import Outcome, Replays, replay

__all__ = ["Outcome", "PolicyAssertionError", "Replays", "replay"]
