from collections.abc import Mapping

from classifier.engine.engine import Engine
from classifier.replay.flow_log import FlowLog
from classifier.replay.remotes import Remotes
from classifier.replay.tally import Tally
from classifier.simulate.traffic import Traffic

class Simulator:
    """Makes flows, has the engine decide them, and lets the uplinks carry them.

    seed: of the traffic; the engine has its own. keep: whether the log has each flow. watch:
    whether there are `tally` and `remotes`.
    """

    log: FlowLog
    tally: Tally
    remotes: Remotes

    def __init__(
        self,
        engine: Engine,
        traffic: Traffic,
        seed: int,
        in_interface: str | None,
        keep: bool,
        watch: bool,
    ) -> None: ...
    @property
    def begun(self) -> int:
        """How many flows have begun."""
    @property
    def over(self) -> bool:
        """Whether all flows have begun and ended."""
    @property
    def next_time(self) -> float:
        """Seconds at which the next flow begins or ends; infinite when all is over."""
    @property
    def ended_at(self) -> float:
        """Seconds at which the last flow so far has ended."""
    def run(self, until: float) -> bool:
        """Goes on to `until` seconds; False: not there yet, after some 100,000 events."""
    def carried(self, now: float) -> Mapping[int, float]:
        """Bytes that went each way since the start, by placement (as of the flow log). `now`, here
        and below, is where `run` has got to."""
    def tally_until(self, now: float) -> None:
        """Put what was carried since the last time into the tally, evenly: to be told at least
        every 0.1 s, but where every second is like the one before."""
    def finish_tally(self) -> None:
        """After the last `tally_until`."""
    def measure(self, now: float, seconds: float) -> None:
        """Take the last `seconds` for the peaks."""
    def cut(self, place: int, now: float) -> None:
        """End all flows that go this way."""
    def window(self) -> tuple[float, float]:
        """Seconds at which the last flow began, and the bytes of all that have begun."""
    def load(self, place: int) -> tuple[float, float, int, int]:
        """Bytes carried until the last flow began; bytes per second, the highest that has been
        measured; the most flows at the same time; flows that were cut."""
    def durations(self, place: int) -> tuple[int, float, dict[float, int]]:
        """Of the flows that went this way and have ended: how many, the sum of their seconds, and
        how many took how many seconds, in steps of 2 %."""
