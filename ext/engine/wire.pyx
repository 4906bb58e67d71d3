"""Wire formats: IPv4, IPv6 and the upper-layer headers, read from a packet's first bytes.

Sources: RFC 791, RFC 8200, RFC 4302 (AH), RFC 9293 (TCP), RFC 768, RFC 3828 (UDP-Lite), RFC 9260
(SCTP), RFC 4340 (DCCP), RFC 792, RFC 4443, RFC 2675 (jumbograms); what counts as malformed
follows the kernel's net/netfilter/nf_conntrack_proto_*.c, which never call such packets NEW.
"""
from libc.string cimport memset

from classifier.engine.octets cimport big16, big32, big64
from classifier.engine.protocols cimport (
    DCCP, FRAGMENT, HOP_BY_HOP, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE, extension_bytes,
    is_extension_header,
)

EXTENSION_HEADERS = frozenset([n for n in range(256) if is_extension_header(n)])

cdef enum:
    # Answers of `missing` beside 0 and an offset: the packet goes on, but not in our copy of it.
    BEYOND_COPY = -1

cdef enum:
    JUMBO_PAYLOAD = 0xC2

cdef enum:
    # A length beyond all offsets that the parser comes to.
    UNKNOWN = 0x7FFFFFFF

cdef struct Bytes:
    const uint8_t* data
    uint32_t size       # bytes that are there
    uint32_t readable   # of these, the ones we look at
    uint32_t length     # bytes that the IP header says the packet has
    # Where it does not say, the bytes that are there; if they fill the copy, there may be more.


cdef inline uint32_t unstated(const Bytes* given) noexcept nogil:
    return given.size if given.size < HEADER_BYTES else UNKNOWN


cdef inline int missing(const Bytes* given, uint32_t offset, uint32_t need) noexcept nogil:
    # 0: `need` bytes at `offset` can be read. A header that the packet has, but that lies past
    # what the queue copies, is no fault of the packet.
    if offset + need > given.length:
        return <int>offset + 1
    if offset + need <= given.readable:
        return 0
    if given.size >= HEADER_BYTES:
        return BEYOND_COPY
    return <int>given.size + 1


cdef int parse(const uint8_t* data, size_t size, Packet* packet) noexcept nogil:
    cdef Bytes given
    memset(packet, 0, sizeof(Packet))
    if size == 0:
        return 1
    given.data = data
    given.size = <uint32_t>min(size, <size_t>UNKNOWN - 1)
    given.readable = min(given.size, <uint32_t>HEADER_BYTES)
    if data[0] >> 4 == 4:
        return parse_ipv4(&given, packet)
    if data[0] >> 4 == 6:
        return parse_ipv6(&given, packet)
    return 1


cdef int parse_ipv4(Bytes* given, Packet* packet) noexcept nogil:
    cdef const uint8_t* data = given.data
    cdef uint32_t header, field
    packet.family = 4
    if given.size < 20:
        return <int>given.size + 1
    header = (data[0] & 15) * 4
    if header < 20:
        return 1
    # Length 0: a packet larger than 64 KiB that the kernel carries whole (big TCP).
    given.length = big16(data + 2) or unstated(given)
    if given.length < header:
        return 3
    if given.size < header:
        return <int>given.size + 1
    field = big16(data + 6)
    packet.length = given.size if given.length == UNKNOWN else given.length
    packet.dscp = data[1] >> 2
    packet.protocol = data[9]
    packet.src[1] = (<uint64_t>0xFFFF << 32) | big32(data + 12)
    packet.dst[1] = (<uint64_t>0xFFFF << 32) | big32(data + 16)
    packet.fragment_id = big16(data + 4)
    packet.fragment_offset = <uint16_t>((field & 0x1FFF) * 8)
    if packet.fragment_offset:
        packet.fragment = LATER_FRAGMENT
    elif field & 0x2000:
        packet.fragment = FIRST_FRAGMENT
    return parse_upper_layer(given, header, packet)


cdef int parse_ipv6(Bytes* given, Packet* packet) noexcept nogil:
    cdef const uint8_t* data = given.data
    packet.family = 6
    if given.size < 40:
        return <int>given.size + 1
    packet.dscp = ((data[0] & 15) << 2) | (data[1] >> 6)
    packet.protocol = data[6]
    packet.src[0] = big64(data + 8)
    packet.src[1] = big64(data + 16)
    packet.dst[0] = big64(data + 24)
    packet.dst[1] = big64(data + 32)
    # Payload length 0 without a jumbo option is big TCP too: newer kernels leave the option out.
    given.length = 40 + big16(data + 4)
    if given.length == 40:
        given.length = unstated(given)
        if packet.protocol == HOP_BY_HOP and given.size > 40:
            given.length = jumbo_length(given)
    packet.length = given.size if given.length == UNKNOWN else given.length
    return parse_extensions(given, packet)


cdef uint32_t jumbo_length(const Bytes* given) noexcept nogil:
    # The packet's length from the jumbo payload option of its hop-by-hop header at byte 40.
    cdef const uint8_t* data = given.data
    cdef uint32_t at = 42, end, jumbo
    if given.readable < 42:
        return unstated(given)
    end = min(40 + (<uint32_t>data[41] + 1) * 8, given.readable)
    while at + 6 <= end:
        if data[at] == JUMBO_PAYLOAD and data[at + 1] == 4:
            jumbo = big32(data + at + 2)
            return min(jumbo, <uint32_t>UNKNOWN - 41) + 40
        at += 1 if data[at] == 0 else 2 + data[at + 1]
    return unstated(given)


cdef int parse_extensions(const Bytes* given, Packet* packet) noexcept nogil:
    # Each turn moves on by at least 8 bytes, so the copy's end bounds the loop.
    cdef const uint8_t* data = given.data
    cdef uint32_t at = 40, field
    cdef uint8_t kind
    cdef int fault
    while True:
        kind = packet.protocol
        if not is_extension_header(kind):
            return parse_upper_layer(given, at, packet)
        packet.transport = <uint16_t>at
        fault = missing(given, at, 8)
        if fault:
            return 0 if fault == BEYOND_COPY else fault
        packet.protocol = data[at]
        if kind == FRAGMENT:
            field = big16(data + at + 2)
            packet.fragment_id = big32(data + at + 4)
            packet.fragment_offset = <uint16_t>(field & 0xFFF8)
            if packet.fragment_offset:
                packet.fragment = LATER_FRAGMENT
                return parse_upper_layer(given, at + 8, packet)
            if field & 1:
                packet.fragment = FIRST_FRAGMENT
        at += extension_bytes(kind, data + at)


cdef inline uint32_t upper_layer_bytes(uint8_t protocol, uint8_t family) noexcept nogil:
    # The shortest header of a protocol that we look into; 0 for all others.
    if protocol == TCP:
        return 20
    if protocol == UDP or protocol == UDP_LITE:
        return 8
    if protocol == SCTP or protocol == DCCP:
        return 12
    if (protocol == ICMP and family == 4) or (protocol == ICMPV6 and family == 6):
        return 8
    return 0


cdef int parse_upper_layer(const Bytes* given, uint32_t at, Packet* packet) noexcept nogil:
    cdef uint32_t need = upper_layer_bytes(packet.protocol, packet.family)
    cdef const uint8_t* header = given.data + at
    cdef int fault
    packet.transport = <uint16_t>at
    if packet.fragment == LATER_FRAGMENT:
        need = 0
    fault = missing(given, at, need)
    if fault:
        return 0 if fault == BEYOND_COPY else fault
    if need == 0:
        return 0
    if packet.protocol == ICMP or packet.protocol == ICMPV6:
        packet.icmp_type = header[0]
        packet.icmp_code = header[1]
        # Echo request and reply, the messages that make flows, have an identifier.
        if packet.family == 4 and (header[0] == 8 or header[0] == 0):
            packet.sport = big16(header + 4)
        elif packet.family == 6 and (header[0] == 128 or header[0] == 129):
            packet.sport = big16(header + 4)
        return 0
    fault = inconsistent(header, given.length - at, packet)
    if fault:
        return <int>at + fault
    packet.sport = big16(header)
    packet.dport = big16(header + 2)
    packet.has_ports = 1
    if packet.protocol == TCP:
        packet.tcp_flags = header[13]
    return 0


cdef int inconsistent(const uint8_t* header, uint32_t left, const Packet* packet) noexcept nogil:
    # 0, or 1 + the offset of the length field that contradicts the `left` bytes of the packet. A
    # first fragment states the length of the whole datagram, so only lower bounds hold for it.
    cdef uint32_t stated
    cdef bint whole = packet.fragment == WHOLE
    if packet.protocol == TCP:
        stated = (header[12] >> 4) * 4
        if stated < 20 or (whole and stated > left):
            return 13
    elif packet.protocol == UDP:
        stated = big16(header + 4)
        if stated == 0 and left > 0xFFFF:
            return 0
        if stated < 8 or (whole and stated > left):
            return 5
    elif packet.protocol == UDP_LITE:
        # The checksum's coverage; 0 covers everything.
        stated = big16(header + 4)
        if stated and (stated < 8 or (whole and stated > left)):
            return 5
    return 0
