# What conntrack calls the tuple of a packet: which packets belong together.
#
# ICMP requests and replies (nf_conntrack_proto_icmp.c, _icmpv6.c): the identifier stands on the
# requesting side, type and code of the request on the answering side, so that a reply only ever
# matches in the other direction.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.octets cimport big16, big32, big64
from classifier.engine.protocols cimport (
    FRAGMENT, ICMP, ICMPV6, extension_bytes, has_port_numbers, is_extension_header,
)
from classifier.engine.wire cimport Packet

cdef struct Tuple:
    # Of a packet, besides its addresses.
    uint32_t sport      # ICMP: the identifier
    uint32_t dport      # ICMP: ICMP_PEER | type of the request << 8 | code
    uint32_t hash       # the same for both directions
    uint16_t protocols  # protocol << 8 | family

cdef enum:
    ICMP_PEER = 0x10000     # keeps an ICMP flow's answering side apart from any identifier

cdef enum PacketClass:
    # What conntrack does with a packet.
    TRACKED_PACKET          # looks for the flow of its tuple
    ICMP_ERROR              # looks for the flow of the packet that it quotes
    UNTRACKED_PACKET        # does not look at it, or calls it invalid
    FRAGMENT_PACKET         # waits for the rest of the datagram
    MALFORMED_PACKET
    NO_IP_PACKET

cdef extern from *:
    """
    /* By ICMP type: 0 neither, 1 request, 2 reply, 3 error. The request of a reply is `type + 8`
       for echo and `type - 1` for the rest; of an ICMPv6 reply it is `type - 1`. */
    static const uint8_t nfqc_icmp4[19] = {2, 0, 0, 3, 3, 3, 0, 0, 1, 0, 0, 3, 3, 1, 2, 1, 2, 1, 2};
    """
    const uint8_t icmp4_role "nfqc_icmp4"[19]


cdef inline uint8_t icmp_role(uint8_t family, uint8_t kind) noexcept nogil:
    if family == 4:
        return icmp4_role[kind] if kind < 19 else 0
    if kind < 128:
        return 3
    return 1 if kind == 128 or kind == 139 else 2 if kind == 129 or kind == 140 else 0


# The ports of an ICMP key from the header's first 8 bytes; False: this type has no flows.
cdef inline bint icmp_tuple(uint8_t family, const uint8_t* header, Tuple* tuple) noexcept nogil:
    cdef uint8_t role = icmp_role(family, header[0])
    cdef uint32_t kind = header[0]
    if role == 2:
        kind = 8 if family == 4 and kind == 0 else kind - 1
    tuple.sport = big16(header + 4)
    tuple.dport = ICMP_PEER | (kind << 8) | header[1]
    if role == 2:
        tuple.sport, tuple.dport = tuple.dport, tuple.sport
    return role == 1 or role == 2


cdef inline PacketClass make_tuple(
    const Packet* packet, const uint8_t* data, uint32_t size, Tuple* tuple
) noexcept nogil:
    cdef uint8_t role
    tuple.protocols = (<uint16_t>packet.protocol << 8) | packet.family
    if packet.protocol != ICMP and packet.protocol != ICMPV6:
        tuple.sport = packet.sport
        tuple.dport = packet.dport
        return TRACKED_PACKET
    if (packet.protocol == ICMP) != (packet.family == 4) or packet.transport + 8u > size:
        return UNTRACKED_PACKET
    if icmp_tuple(packet.family, data + packet.transport, tuple):
        return TRACKED_PACKET
    # Of ICMPv6, neighbour discovery and multicast listener messages end here.
    role = icmp_role(packet.family, packet.icmp_type)
    return ICMP_ERROR if role == 3 else UNTRACKED_PACKET


# The addresses and ports of the packet that an ICMP error quotes, of which often no more is there
# than 8 bytes after the IP header. False when they cannot be known.
cdef inline bint quoted_tuple(
    const uint8_t* data, uint32_t size, Packet* packet, Tuple* tuple
) noexcept nogil:
    cdef uint32_t at = 40, kind, step
    if size >= 20 and data[0] >> 4 == 4:
        packet.family = 4
        at = (data[0] & 15) * 4
        if at < 20 or big16(data + 6) & 0x1FFF:
            return False
        kind = data[9]
        packet.src[0] = packet.dst[0] = 0
        packet.src[1] = 0xFFFF00000000u | big32(data + 12)
        packet.dst[1] = 0xFFFF00000000u | big32(data + 16)
    elif size >= 40 and data[0] >> 4 == 6:
        packet.family = 6
        kind = data[6]
        packet.src[0] = big64(data + 8)
        packet.src[1] = big64(data + 16)
        packet.dst[0] = big64(data + 24)
        packet.dst[1] = big64(data + 32)
        while is_extension_header(kind):
            if at + 8 > size or (kind == FRAGMENT and big16(data + at + 2) & 0xFFF8):
                return False
            step = extension_bytes(kind, data + at)
            kind = data[at]
            at += step
    else:
        return False
    packet.protocol = <uint8_t>kind
    tuple.protocols = <uint16_t>(kind << 8) | packet.family
    tuple.sport = tuple.dport = 0
    if has_port_numbers(kind):
        if at + 8 > size:
            return False
        tuple.sport = big16(data + at)
        tuple.dport = big16(data + at + 2)
    elif kind == ICMP or kind == ICMPV6:
        return at + 8 <= size and icmp_tuple(packet.family, data + at, tuple)
    return True
