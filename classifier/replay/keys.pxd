# What conntrack calls the tuple of a packet: which packets belong together.
#
# ICMP requests and replies (nf_conntrack_proto_icmp.c, _icmpv6.c): the identifier stands on the
# requesting side, type and code of the request on the answering side, so that a reply only ever
# matches in the other direction.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.replay.conntrack cimport ICMP, ICMP_PEER, ICMPV6
from classifier.replay.flows cimport Key
from classifier.engine.octets cimport big16, big32
from classifier.engine.wire cimport Packet

cdef enum Fate:
    TRACK           # look for its flow
    RELATED         # an ICMP error: belongs to the flow that it quotes
    UNTRACKED       # conntrack does not look at it, or calls it invalid
    IN_FRAGMENTS
    MALFORMED_PACKET
    WITHOUT_IP

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
cdef inline bint icmp_key(uint8_t family, const uint8_t* header, Key* key) noexcept nogil:
    cdef uint8_t role = icmp_role(family, header[0])
    cdef uint32_t kind = header[0]
    if role == 2:
        kind = 8 if family == 4 and kind == 0 else kind - 1
    key.sport = big16(header + 4)
    key.dport = ICMP_PEER | (kind << 8) | header[1]
    if role == 2:
        key.sport, key.dport = key.dport, key.sport
    return role == 1 or role == 2


cdef inline Fate make_key(
    const Packet* packet, const uint8_t* data, uint32_t size, Key* key
) noexcept nogil:
    cdef uint8_t role
    key.kind = (<uint16_t>packet.protocol << 8) | packet.family
    if packet.protocol != ICMP and packet.protocol != ICMPV6:
        key.sport = packet.sport
        key.dport = packet.dport
        return TRACK
    if (packet.protocol == ICMP) != (packet.family == 4) or packet.transport + 8u > size:
        return UNTRACKED
    if icmp_key(packet.family, data + packet.transport, key):
        return TRACK
    # Of ICMPv6, neighbour discovery and multicast listener messages end here.
    role = icmp_role(packet.family, packet.icmp_type)
    return RELATED if role == 3 else UNTRACKED


# The addresses and ports of the packet that an ICMP error quotes, of which often no more is there
# than 8 bytes after the IP header. False when they cannot be known.
cdef inline bint quoted_key(
    const uint8_t* data, uint32_t size, Packet* packet, Key* key
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
        quoted_address(data + 8, packet.src)
        quoted_address(data + 24, packet.dst)
        while kind in (0, 43, 44, 51, 60, 135, 139, 140):
            if at + 8 > size or (kind == 44 and big16(data + at + 2) & 0xFFF8):
                return False
            step = 8 if kind == 44 else (data[at + 1] + 2) * 4 if kind == 51 else (
                (data[at + 1] + 1) * 8
            )
            kind = data[at]
            at += step
    else:
        return False
    packet.protocol = <uint8_t>kind
    key.kind = <uint16_t>(kind << 8) | packet.family
    key.sport = key.dport = 0
    if kind in (6, 17, 33, 132, 136):
        if at + 8 > size:
            return False
        key.sport = big16(data + at)
        key.dport = big16(data + at + 2)
    elif kind == ICMP or kind == ICMPV6:
        return at + 8 <= size and icmp_key(packet.family, data + at, key)
    return True


cdef inline void quoted_address(const uint8_t* data, uint64_t* words) noexcept nogil:
    words[0] = (<uint64_t>big32(data) << 32) | big32(data + 4)
    words[1] = (<uint64_t>big32(data + 8) << 32) | big32(data + 12)
