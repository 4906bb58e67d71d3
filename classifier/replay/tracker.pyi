from collections.abc import Sequence

from classifier.engine.engine import Engine
from classifier.policy import Network
from classifier.replay.capture import CaptureReader

class Tracker:
    """Takes the packets of captures, in order, to an engine, as conntrack would see them.

    lan: networks that are inside; with none, every flow is taken for an outbound one.
    in_interface: where the flows are said to come in.
    keep: remember each flow for `record`.
    """

    def __init__(
        self,
        engine: Engine,
        lan: Sequence[Network] = (),
        in_interface: str | None = None,
        keep: bool = True,
    ) -> None: ...
    def read(self, reader: CaptureReader) -> bool:
        """Take some ten thousand packets; False when the capture has no more.

        Raises `CaptureError` when it cannot be read further; what came before counts.
        """
    def finish(self) -> None:
        """Close every flow, so that the sums and records are complete."""
    def total(self, target: int) -> tuple[int, int, int]:
        """Flows, packets and bytes of an uplink's id, of 0 (direct), 254 (dropped), 255 (inbound).

        Bytes are IP packet lengths.
        """
    def rules(self) -> list[int]:
        """How many flows each rule of the policy took."""
    def counts(self) -> tuple[int, int, int, int]:
        """All packets; of these: malformed, of no flow, without IP."""
    def __len__(self) -> int: ...
    def record(
        self, index: int
    ) -> tuple[int, int, str, int | None, str, int | None, int, int, str, int, int]:
        """A flow, by order of start.

        Nanoseconds since 1970, protocol number, source, source port or None, destination,
        destination port or None, target as in `total`, index of the rule or -1, reason, packets,
        bytes.
        """
