"""Interfaces and packets of pcapng blocks (draft-ietf-opsawg-pcapng, sections 4.2 to 4.4 and A).

The caller has found the block, its byte order and its end; everything inside is checked here.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdio cimport snprintf

from classifier.engine.octets cimport load16, load32, load64

cdef extern from *:
    """
    /* Ticks of an interface as nanoseconds since 1970, at most what 64 bits hold. */
    static inline int64_t nfqc_nanoseconds(
        uint64_t ticks, uint64_t scale, uint64_t divisor, int binary, int64_t offset)
    {
        unsigned __int128 since;
        __int128 time;
        if (binary >= 0)
            since = ((unsigned __int128)ticks * 1000000000u) >> binary;
        else if (scale)
            since = (unsigned __int128)ticks * scale;
        else
            since = divisor ? ticks / divisor : 0;
        time = (__int128)since + (__int128)offset * 1000000000;
        if (time > INT64_MAX)
            return INT64_MAX;
        return time < INT64_MIN ? INT64_MIN : (int64_t)time;
    }
    """
    int64_t nanoseconds "nfqc_nanoseconds"(
        uint64_t ticks, uint64_t scale, uint64_t divisor, int binary, int64_t offset
    ) noexcept nogil

cdef enum Option:
    END_OF_OPTIONS = 0
    IF_TSRESOL = 9
    IF_TSOFFSET = 14

cdef enum:
    # 10**-28 seconds: the shortest tick of which 64 bits reach one nanosecond.
    SHORTEST_TICK = 28


cdef bint _wrong(Fault* fault, uint32_t at, const char* reason) noexcept nogil:
    fault.at = at
    snprintf(fault.reason, sizeof(fault.reason), "%s", reason)
    return False


cdef void _set_resolution(Interface* interface, uint8_t value) noexcept nogil:
    cdef uint32_t exponent = value & 0x7F, i
    cdef uint64_t power = 1
    if value & 0x80:
        interface.binary = <int>exponent
        return
    interface.binary = -1
    interface.scale = interface.divisor = 0
    if exponent > SHORTEST_TICK:
        return
    for i in range(exponent - 9 if exponent > 9 else 9 - exponent):
        power *= 10
    if exponent > 9:
        interface.divisor = power
    else:
        interface.scale = power


cdef bint describe_interface(
    Interface* interface, const uint8_t* body, uint32_t size, bint swap, Fault* fault
) noexcept nogil:
    cdef uint32_t at = 8, code, length
    if size < 8:
        return _wrong(fault, 0, "the description of an interface is too short")
    interface.link = load16(body, swap)
    interface.snaplen = load32(body + 4, swap)
    interface.offset = 0
    _set_resolution(interface, 6)
    while at + 4 <= size:
        code = load16(body + at, swap)
        length = load16(body + at + 2, swap)
        at += 4
        if code == END_OF_OPTIONS:
            break
        if length > size - at:
            return _wrong(fault, at - 2, "an option runs past the end of its block")
        if code == IF_TSRESOL and length >= 1:
            _set_resolution(interface, body[at])
        elif code == IF_TSOFFSET and length >= 8:
            interface.offset = <int64_t>load64(body + at, swap)
        at += (length + 3) & ~3u
    return True


cdef bint open_packet(
    PacketBlock* packet, BlockKind kind, const uint8_t* body, uint32_t size, bint swap,
    const Interface* interfaces, uint32_t count, Fault* fault
) noexcept nogil:
    cdef uint32_t head = 4 if kind == SIMPLE_PACKET_BLOCK else 20
    cdef uint32_t number = 0
    cdef const Interface* interface
    if size < head:
        return _wrong(fault, 0, "the packet block is too short for its own header")
    if kind == ENHANCED_PACKET_BLOCK:
        number = load32(body, swap)
    elif kind == OLD_PACKET_BLOCK:
        number = load16(body, swap)
    if number >= count:
        fault.at = 0
        snprintf(
            fault.reason, sizeof(fault.reason),
            "a packet of interface %u in a section that describes %u", number, count,
        )
        return False
    interface = &interfaces[number]
    packet.link = interface.link
    packet.data = body + head
    packet.has_time = kind != SIMPLE_PACKET_BLOCK
    if kind == SIMPLE_PACKET_BLOCK:
        # No captured length either: it is what the snapshot length leaves.
        packet.size = packet.length = load32(body, swap)
        if interface.snaplen and packet.size > interface.snaplen:
            packet.size = interface.snaplen
    else:
        packet.size = load32(body + 12, swap)
        packet.length = load32(body + 16, swap)
        packet.time = nanoseconds(
            <uint64_t>load32(body + 4, swap) << 32 | load32(body + 8, swap),
            interface.scale, interface.divisor, interface.binary, interface.offset,
        )
    if packet.size > size - head:
        fault.at = 0 if kind == SIMPLE_PACKET_BLOCK else 12
        snprintf(
            fault.reason, sizeof(fault.reason),
            "a captured length of %u bytes in a block that has room for %u", packet.size,
            size - head,
        )
        return False
    return True
