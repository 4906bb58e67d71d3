# What stands inside the blocks of a pcapng file.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum BlockKind:
    INTERFACE_BLOCK = 1
    OLD_PACKET_BLOCK = 2
    SIMPLE_PACKET_BLOCK = 3
    ENHANCED_PACKET_BLOCK = 6
    SECTION_BLOCK = 0x0A0D0D0A

cdef struct Interface:
    # One capture interface of a section; a pcap file has exactly one.
    uint32_t link
    uint32_t snaplen    # 0: no limit
    uint64_t scale      # nanoseconds per tick where a tick is that long, else 0
    uint64_t divisor    # ticks per nanosecond where a tick is shorter; 0: too short to count
    int binary          # a tick is 2**-binary seconds; -1: it is a power of ten, see above
    int64_t offset      # seconds to add

cdef struct PacketBlock:
    const uint8_t* data
    uint32_t size       # bytes at data
    uint32_t length     # bytes that the packet had
    uint32_t link
    bint has_time
    int64_t time        # nanoseconds since 1970

cdef struct Fault:
    uint32_t at         # bytes into the block's body
    char[160] reason

# An interface description; False and a fault when it makes no sense.
cdef bint describe_interface(
    Interface* interface, const uint8_t* body, uint32_t size, bint swap, Fault* fault
) noexcept nogil

# A packet block of any kind, of one of `count` interfaces; False and a fault as above.
cdef bint open_packet(
    PacketBlock* packet, BlockKind kind, const uint8_t* body, uint32_t size, bint swap,
    const Interface* interfaces, uint32_t count, Fault* fault
) noexcept nogil
