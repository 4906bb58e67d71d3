class FlowLog:
    """Where the flows of a replay went; made by `Tracker`."""

    def total(self, placement: int) -> tuple[int, int, int]:
        """Flows, packets and bytes of an uplink's id, of 0 (direct), 254 (dropped), 255 (inbound).

        Bytes are IP packet lengths. Packets and bytes are those of flows that have ended.
        """
    def rules(self) -> list[int]:
        """How many flows each rule of the policy took."""
    def __len__(self) -> int: ...
    def record(
        self, index: int
    ) -> tuple[int, int, str, int | None, str, int | None, int, int, str, int, int]:
        """A flow, by order of start; IndexError.

        Nanoseconds since 1970, protocol number, source, source port or None, destination,
        destination port or None, placement as in `total`, index of the rule or -1, reason, packets,
        bytes; these two are 0 until the flow has ended.
        """
