# A packet that has arrived at the tracker.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from classifier.engine.wire cimport WHOLE, Packet, parse
from classifier.replay.link cimport Frame
from classifier.replay.states cimport FlowPacket
from classifier.replay.tuples cimport (
    FRAGMENT_PACKET, MALFORMED_PACKET, NO_IP_PACKET, Tuple, make_tuple,
)

cdef struct Arrival:
    # A packet, or what fragments have been put together to.
    const Packet* packet
    const Tuple* tuple
    const uint8_t* data     # from the IP header on
    uint32_t size           # bytes at data
    uint32_t packets        # fragments, or 1
    uint64_t bytes          # IP lengths of these
    int64_t time            # nanoseconds since 1970


# Parse a packet and see what is to be done with it: a PacketClass.
cdef inline uint8_t classify(const Frame* frame, Packet* packet, Tuple* tuple) noexcept nogil:
    cdef const uint8_t* data = frame.data
    if data is NULL:
        return NO_IP_PACKET
    if parse(data, frame.size, packet):
        return MALFORMED_PACKET
    if frame.version and packet.family != frame.version:
        return MALFORMED_PACKET
    # No length in the header: a packet that the network card was to cut, or that it had put
    # together. The parser had to take what was captured of it for its length.
    if packet.length == frame.size and frame.size < frame.length and (
        data[2] | data[3] if packet.family == 4 else data[4] | data[5]
    ) == 0:
        packet.length = frame.length
    # The kernel drops what is shorter than it says.
    if packet.length > frame.length:
        return MALFORMED_PACKET
    if packet.fragment != WHOLE:
        return FRAGMENT_PACKET
    return make_tuple(packet, data, frame.size, tuple)


cdef inline void set_packet(
    FlowPacket* moving, const Arrival* arrival, bint reply, uint64_t now
) noexcept nogil:
    cdef uint32_t offset = arrival.packet.transport, length = arrival.packet.length
    cdef uint32_t size = min(arrival.size, length)
    moving.header = arrival.data + offset
    moving.size = size - offset if size > offset else 0
    moving.length = length - offset if length > offset else 0
    moving.now = now
    moving.reply = reply
    moving.tcp_flags = arrival.packet.tcp_flags
