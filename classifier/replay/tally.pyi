from classifier.policy import Policy
from classifier.replay.sticky_breaks import StickyBreaks
from classifier.replay.timeline import Timeline

class Tally:
    """What one policy does with the flows of a replay.

    Columns are the uplinks in the order of the policy, then direct, then dropped.
    """

    timeline: Timeline
    sticky: StickyBreaks

    def __init__(self, policy: Policy, seed: int) -> None: ...
    def rule(self, index: int) -> list[tuple[int, int, int]]:
        """Flows, packets, bytes of a rule by column; index -1: of flows that no rule took."""
