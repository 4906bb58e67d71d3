# Wire formats: what the engine needs to know of a packet, read from its first bytes.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    # The queue copies this much of a packet and the parser never looks further, so that a live
    # packet and a captured one are read alike. The kernel charges a waiting packet least up to
    # this copy range.
    HEADER_BYTES = 128

cdef enum Fragment:
    WHOLE = 0
    FIRST_FRAGMENT = 1
    LATER_FRAGMENT = 2

cdef struct Packet:
    # Addresses as two host-order words, high and low. IPv4 a.b.c.d is high 0, low 0xffff_aabbccdd.
    uint64_t src[2]
    uint64_t dst[2]
    uint16_t sport        # 0 where there are no ports; ICMP echo: the identifier
    uint16_t dport
    uint8_t protocol      # the upper-layer protocol, after IPv6 extension headers
    uint8_t family        # 4 or 6
    uint8_t dscp
    uint8_t tcp_flags     # byte 13 of the TCP header, else 0
    uint8_t icmp_type
    uint8_t icmp_code
    uint8_t fragment      # a Fragment
    uint8_t has_ports     # 1 when sport and dport are ports that rules may match
    uint16_t transport    # offset of the upper-layer header
    uint32_t length       # bytes from the IP header on, as the header says (or as given, if it is 0)
    uint32_t fragment_id
    uint16_t fragment_offset   # bytes

# 0, or the number of bytes at which the packet stopped making sense plus one: malformed.
# `size` is how many bytes are there. Never reads past size or HEADER_BYTES.
cdef int parse(const uint8_t* data, size_t size, Packet* packet) noexcept nogil
