from classifier.policy import Policy

class StickyBreaks:
    """How often a balancer put a remote on another uplink within its sticky timeout."""

    breaks: int

    def __init__(self, policy: Policy, seed: int) -> None: ...
