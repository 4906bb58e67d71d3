from ipaddress import IPv4Address, IPv6Address
from typing import Literal, final

@final
class Flow:
    def __init__(
        self,
        *,
        src: str | IPv4Address | IPv6Address,
        dst: str | IPv4Address | IPv6Address,
        protocol: int = 6,
        sport: int = 0,
        dport: int = 0,
        in_interface: str | None = None,
        dscp: int = 0,
        size: int = 60,
        user: int | None = None,
    ) -> None: ...
    @property
    def family(self) -> Literal[4, 6]: ...
    @property
    def protocol(self) -> int: ...
    @property
    def src(self) -> IPv4Address | IPv6Address: ...
    @property
    def dst(self) -> IPv4Address | IPv6Address: ...
    @property
    def sport(self) -> int: ...
    @property
    def dport(self) -> int: ...
    @property
    def in_interface(self) -> str | None: ...
    @property
    def dscp(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def user(self) -> int | None: ...

@final
class LiveUplink:
    def __init__(
        self,
        name: str,
        *,
        weight: int = 1,
        tier: int = 1,
        flows: int = 0,
        rate: float | None = None,
        capacity: float | None = None,
        latency: float | None = None,
    ) -> None: ...
    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> int: ...
    @property
    def tier(self) -> int: ...
    @property
    def flows(self) -> int: ...
    @property
    def rate(self) -> float | None: ...
    @property
    def capacity(self) -> float | None: ...
    @property
    def latency(self) -> float | None: ...
