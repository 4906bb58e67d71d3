# Protocol numbers (IANA "Assigned Internet Protocol Numbers"), and the chain of IPv6 headers.
from libc.stdint cimport uint8_t, uint32_t

cdef enum Protocol:
    HOP_BY_HOP = 0
    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    ROUTING = 43
    FRAGMENT = 44
    GRE = 47
    AUTHENTICATION = 51
    ICMPV6 = 58
    DESTINATION_OPTIONS = 60
    SCTP = 132
    MOBILITY = 135
    UDP_LITE = 136
    HIP = 139
    SHIM6 = 140


cdef inline bint is_extension_header(uint32_t protocol) noexcept nogil:
    # Of IPv6 (RFC 8200, 6275, 7401, 5533). ESP is none: it hides what follows.
    return protocol in (
        HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION_OPTIONS, MOBILITY, HIP, SHIM6
    )


cdef inline uint32_t extension_bytes(uint32_t protocol, const uint8_t* header) noexcept nogil:
    # The length of an extension header, of which the first two bytes can be read.
    if protocol == FRAGMENT:
        return 8
    if protocol == AUTHENTICATION:
        return (<uint32_t>header[1] + 2) * 4    # RFC 4302, 2.2: in 4 bytes, less 2
    return (<uint32_t>header[1] + 1) * 8


cdef inline bint has_port_numbers(uint32_t protocol) noexcept nogil:
    return protocol in (TCP, UDP, DCCP, SCTP, UDP_LITE)
