from classifier.engine.engine import Engine
from classifier.policy import Policy
from classifier.replay.carried import Carried
from classifier.replay.flow_log import FlowLog
from classifier.replay.remotes import Remotes
from classifier.replay.tally import Tally

class Observer:
    """Watches what `policy` does with the flows of a replay.

    seed: the same packets with the same one give the same figures.
    number_packets: whether it is remembered which packet started each flow.
    """

    tally: Tally
    remotes: Remotes
    other_log: FlowLog
    """With `compare` only, as `other_tally`."""
    other_tally: Tally

    def __init__(self, policy: Policy, seed: int, number_packets: bool = False) -> None: ...
    def compare(self, policy: Policy, engine: Engine, interface: str | None, keep: bool) -> None:
        """Watch also what `engine` does with them, by another policy. Before the first packet.

        interface: where flows are said to come in.
        keep: whether `other_log` has each flow.
        """
    def measure_other(self) -> Carried:
        """What the uplinks of the other policy carry from now on."""
    def move(self, column: int, other_column: int) -> tuple[int, int, int]:
        """Flows, packets, bytes that go one way by the policy and another by the other; IndexError.

        Columns as in `Tally`. Of flows that have ended.
        """
    def first_packet(self, record: int) -> int:
        """The number, from 0 over all captures, of the packet that started a flow; IndexError."""
