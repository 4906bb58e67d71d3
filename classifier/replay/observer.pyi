from classifier.engine.engine import Engine
from classifier.policy import Policy
from classifier.replay.flow_log import FlowLog
from classifier.replay.remotes import Remotes
from classifier.replay.tally import Tally

class Observer:
    """Watches a replay of `policy`; with `other`, also what that engine's policy would do.

    interface: where flows are said to come in, for `other`.
    keep: whether `other_log` has each flow.
    number_packets: whether it is remembered which packet started each flow.
    """

    tally: Tally
    remotes: Remotes
    other_log: FlowLog
    other_tally: Tally

    def __init__(
        self,
        policy: Policy,
        other: Engine | None = None,
        interface: str | None = None,
        keep: bool = False,
        number_packets: bool = False,
    ) -> None: ...
    def move(self, column: int, other_column: int) -> tuple[int, int, int]:
        """Flows, packets, bytes that go one way by the policy and another by the other; IndexError.

        Columns as in `Tally`. Of flows that have ended.
        """
    def first_packet(self, record: int) -> int:
        """The number, from 0 over all captures, of the packet that started a flow; IndexError."""
