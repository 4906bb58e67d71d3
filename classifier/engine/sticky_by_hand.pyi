from ipaddress import IPv4Address, IPv6Address

from classifier.engine.engine import Engine
from classifier.engine.sticky_entry import StickyEntry

def sticky_show(
    engine: Engine,
    address: IPv4Address | IPv6Address,
    now: int,
    local: IPv4Address | IPv6Address | None = None,
) -> tuple[StickyEntry, ...]: ...
def sticky_forget(
    engine: Engine,
    address: IPv4Address | IPv6Address,
    now: int,
    local: IPv4Address | IPv6Address | None = None,
) -> tuple[StickyEntry, ...]: ...
def sticky_forget_uplink(engine: Engine, name: str) -> int: ...
def sticky_forget_all(engine: Engine) -> int: ...
