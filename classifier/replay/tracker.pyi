from collections.abc import Sequence

from classifier.engine.engine import Engine
from classifier.policy import Network
from classifier.replay.carried import Carried
from classifier.replay.flow_log import FlowLog
from classifier.replay.observer import Observer
from classifier.replay.reader import CaptureReader
from classifier.replay.script import Script

class Tracker:
    """Takes the packets of captures, in order, to an engine, as conntrack would see them.

    lan: networks that are inside; with none, every flow is taken for an outbound one.
    in_interface: where the flows are said to come in.
    keep: whether the log has each flow.
    observer: watches what the sums do not tell.

    Helpers are those of the engine's policy; of these, only FTP's is known.
    """

    log: FlowLog

    def __init__(
        self,
        engine: Engine,
        lan: Sequence[Network] = (),
        in_interface: str | None = None,
        keep: bool = True,
        observer: Observer | None = None,
    ) -> None: ...
    def measure(self) -> Carried:
        """What uplinks carry from now on. Before the first packet."""
    def follow(self, script: Script) -> None:
        """Run `script` as the capture's time goes on. Before the first packet."""
    def read(self, reader: CaptureReader) -> bool:
        """Take some ten thousand packets; False when the capture has no more.

        Raises `CaptureError` when it cannot be read further; what came before counts.
        """
    def finish(self) -> None:
        """Close every flow, so that the log is complete."""
    def span(self) -> tuple[int, int]:
        """When the capture began, in nanoseconds since 1970, and the milliseconds it took."""
    def counts(self) -> tuple[int, int, int, int]:
        """All packets; of these: malformed, of no flow, without IP."""
