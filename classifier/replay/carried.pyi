class Carried:
    """Bytes that a replay's uplinks have carried so far."""

    def of(self, placement: int) -> tuple[int, int]:
        """From the internet, and to it; of an uplink's id."""
