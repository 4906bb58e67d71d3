"""What packets go through on their way, in words of no firewall program.

`plan` makes these values; a folder per firewall program writes them in its own language. A new
flow's way:

    restore      a connection that has our mark gives it to the packet, and the packet is done
    inbound      a new flow that arrives on an uplink gets that uplink's mark
    own flows    the gateway's own new flows: classified, or kept on the uplink they leave by
    left alone   destinations that no policy changes: local, multicast, connected networks, and
                 endpoints of tunnels
    queue        the first packet waits for a decision
    save         the packet's mark becomes the connection's
    masquerade   the address of the uplink that the flow leaves by
    helper       which conntrack helper reads the connection
"""

from __future__ import annotations

from dataclasses import dataclass

from classifier.host.ct_helpers import Assignment
from classifier.policy import Family, Marks, Queue


@dataclass(frozen=True, slots=True)
class UplinkPath:
    """What is done for the packets of one uplink."""

    interface: str
    mark: int
    masquerade: bool
    """False: only the gateway's own flows are masqueraded, since the kernel chose their source
    address before their mark was known."""
    classify_own: bool
    """Whether own flows that would leave here unmarked are classified; else they stay here."""
    stands_in: bool = False
    """Main has no default route, so own flows leave here until they are classified. One that no
    classifier answers stays here: as `direct` it would have no way out."""


@dataclass(frozen=True, slots=True)
class PacketPath:
    """The way of the packets of one address family."""

    family: Family
    marks: Marks
    queue: Queue
    uplinks: tuple[UplinkPath, ...] = ()
    lan: tuple[str, ...] = ()
    """Interfaces whose new flows are classified."""
    local: bool = True
    """Whether the gateway's own new flows are looked at."""
    left_alone: tuple[str, ...] = ()
    """Destination networks that are never classified."""
    helpers: tuple[Assignment, ...] = ()
