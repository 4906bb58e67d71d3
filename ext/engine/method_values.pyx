"""The values that a method of one's own is given: `Flow` and `LiveUplink`.

A method is asked about thousands of flows in a second, and most look at a field or two. So a flow is
a copy of what the parser found, and its addresses become objects when they are looked at.
"""
from ipaddress import IPv4Address, IPv6Address, ip_address

from libc.string cimport memset


cdef class Flow:
    """A new flow, by its first packet; cannot be changed.

    The constructor is for tests of a method: `src` and `dst` are addresses or text.
    """

    def __init__(
        self, *, src, dst, uint8_t protocol=6, uint16_t sport=0, uint16_t dport=0,
        in_interface=None, uint8_t dscp=0, size=60, user=None,
    ):
        source, destination = ip_address(src), ip_address(dst)
        if source.version != destination.version:
            raise ValueError(f"{source} and {destination}: must both be IPv4 or both IPv6")
        memset(&self.packet, 0, sizeof(Packet))
        self.packet.family = source.version
        self.packet.protocol = protocol
        write_address(self.packet.src, source)
        write_address(self.packet.dst, destination)
        self.packet.sport = sport
        self.packet.dport = dport
        self.packet.dscp = dscp
        self.packet.length = size
        self.uid = -1 if user is None else user
        self.in_interface = in_interface

    @property
    def family(self):
        """4 or 6."""
        return self.packet.family

    @property
    def protocol(self):
        """The protocol's number (IANA); for IPv6 the one behind all extension headers."""
        return self.packet.protocol

    @property
    def src(self):
        """The source, an IPv4Address or IPv6Address of `ipaddress`."""
        if self._src is None:
            self._src = read_address(self.packet.src, self.packet.family)
        return self._src

    @property
    def dst(self):
        """The destination."""
        if self._dst is None:
            self._dst = read_address(self.packet.dst, self.packet.family)
        return self._dst

    @property
    def sport(self):
        """The source port; of an ICMP echo its identifier; 0 where there is none."""
        return self.packet.sport

    @property
    def dport(self):
        """The destination port; 0 where there is none."""
        return self.packet.dport

    @property
    def dscp(self):
        """0 to 63 (RFC 2474)."""
        return self.packet.dscp

    @property
    def size(self):
        """Bytes of the first packet, from the IP header on."""
        return self.packet.length

    @property
    def user(self):
        """The id of the user whose socket sent it; None where that is not known, as for the LAN's."""
        return None if self.uid < 0 else self.uid

    def __repr__(self):
        return (
            f"Flow(src={str(self.src)!r}, dst={str(self.dst)!r}, protocol={self.protocol}, "
            f"sport={self.sport}, dport={self.dport}, in_interface={self.in_interface!r}, "
            f"dscp={self.dscp}, size={self.size}, user={self.user})"
        )


cdef class LiveUplink:
    """An uplink that can take the flow, with its figures of this moment.

    The engine writes new figures into the same objects: they hold during the call of `select` only.
    The constructor is for tests of a method.
    """

    def __init__(
        self, str name, *, int64_t weight=1, uint8_t tier=1, uint64_t flows=0, rate=None,
        capacity=None, latency=None,
    ):
        self.name = name
        self.figures.weight = weight
        self.figures.tier = tier
        self.figures.flows = flows
        self.figures.rate = -1 if rate is None else rate
        self.figures.capacity = -1 if capacity is None else capacity
        self.figures.latency = -1 if latency is None else latency

    @property
    def weight(self):
        """Its weight in this balancer."""
        return self.figures.weight

    @property
    def tier(self):
        """Lower first; the uplinks of one call are those of the tiers in use."""
        return self.figures.tier

    @property
    def flows(self):
        """Flows placed on it so far, by any rule or balancer."""
        return self.figures.flows

    @property
    def rate(self):
        """Bytes per second in its fuller direction: as measured, and what flows placed since are
        expected to add. None before the first measurement."""
        return None if self.figures.rate < 0 else self.figures.rate

    @property
    def capacity(self):
        """Bytes per second that it can carry in that direction; None if the policy says nothing."""
        return None if self.figures.capacity < 0 else self.figures.capacity

    @property
    def latency(self):
        """Seconds, as its probes measured; None without probes or answers."""
        return None if self.figures.latency < 0 else self.figures.latency

    def __repr__(self):
        return (
            f"LiveUplink({self.name!r}, weight={self.weight}, tier={self.tier}, "
            f"flows={self.flows}, rate={self.rate}, capacity={self.capacity}, "
            f"latency={self.latency})"
        )


cdef Flow flow_of(const Packet* packet, object in_interface, int64_t uid):
    cdef Flow flow = Flow.__new__(Flow)
    flow.packet = packet[0]
    flow.uid = uid
    flow.in_interface = in_interface
    return flow


cdef int write_address(uint64_t* words, object address) except -1:
    # As in `Packet`.
    number = int(address) | (0xFFFF << 32 if address.version == 4 else 0)
    words[0] = number >> 64
    words[1] = number & 0xFFFFFFFFFFFFFFFF
    return 0


cdef object read_address(const uint64_t* words, uint8_t family):
    if family == 4:
        return IPv4Address(words[1] & 0xFFFFFFFF)
    return IPv6Address((<object>words[0] << 64) | words[1])
