from collections.abc import Callable, Iterable, Mapping

from classifier.engine.counters import EngineCounters
from classifier.engine.custom import CustomMethod
from classifier.engine.decision import Decision
from classifier.engine.load_meter import UplinkLoad
from classifier.policy import Policy

class Engine:
    policy: Policy
    clock: Callable[[], float] | None
    epoch: int
    def __init__(self, policy: Policy, seed: int, in_flight: int = 65536) -> None: ...
    def interface_number(self, name: str) -> int: ...
    def replace_policy(
        self, policy: Policy, usable: Mapping[str, tuple[bool, bool]] | None = None
    ) -> None: ...
    def set_usable(self, name: str, ipv4: bool, ipv6: bool) -> None: ...
    def set_usable_families(self, usable: Mapping[str, tuple[bool, bool]]) -> None: ...
    def forget_in_flight(self, name: str | None) -> None: ...
    def usable_families(self, name: str) -> tuple[bool, bool]: ...
    def set_loads(
        self,
        loads: Mapping[str, UplinkLoad],
        expected: tuple[float, float] = (0.0, 0.0),
        fading: float = 0.0,
    ) -> None: ...
    def methods_of_users(self) -> list[CustomMethod]: ...
    def counters(self) -> EngineCounters: ...
    def classify(
        self,
        packet: bytes | bytearray | memoryview,
        now: int,
        in_interface: str | None = None,
        user: int | None = None,
    ) -> Decision: ...
    def classify_many(
        self,
        packets: Iterable[bytes | bytearray | memoryview],
        now: int,
        in_interface: str | None = None,
    ) -> list[Decision]: ...
    def decide_one(
        self, packet: bytes | bytearray | memoryview, interface: int, uid: int, now: int
    ) -> tuple[int, int]: ...
