# Link layers: from a captured frame to the IP packet in it.
#
# Numbers are LINKTYPE_ values (https://www.tcpdump.org/linktypes.html) and EtherTypes (IEEE 802).
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf

from classifier.engine.octets cimport big16, big32
from classifier.replay.stream cimport Stream, fail

cdef struct Frame:
    const uint8_t* data   # from the IP header on; NULL: not an IP packet
    uint32_t size         # bytes at data
    uint32_t length       # bytes the packet had from the IP header on before the capture cut it
    uint8_t version       # the IP version that the link layer names; 0: it names none
    int64_t time          # nanoseconds since 1970

cdef enum Link:
    LINK_NULL = 0
    LINK_ETHERNET = 1
    LINK_RAW_BSD = 12       # DLT_RAW as it was written by BSD's libpcap
    LINK_RAW_OPENBSD = 14
    LINK_RAW = 101
    LINK_LOOP = 108
    LINK_SLL = 113
    LINK_IPV4 = 228
    LINK_IPV6 = 229
    LINK_SLL2 = 276

cdef enum:
    ANY_VERSION = 0     # the link does not say which IP version it carries
    NOT_IP = 255


cdef inline bint link_known(uint32_t link) noexcept nogil:
    return (
        link == LINK_ETHERNET or link == LINK_RAW or link == LINK_SLL or link == LINK_SLL2
        or link == LINK_IPV4 or link == LINK_IPV6 or link == LINK_NULL or link == LINK_LOOP
        or link == LINK_RAW_BSD or link == LINK_RAW_OPENBSD
    )


# The name of a link type that captures often have and that carries no IP we could find, for messages.
cdef inline const char* link_name(uint32_t link) noexcept nogil:
    if link == 9:
        return " (PPP)"
    if link == 50:
        return " (PPP_HDLC)"
    if link == 51:
        return " (PPP_ETHER)"
    if link == 105:
        return " (IEEE802_11)"
    if link == 119:
        return " (IEEE802_11_PRISM)"
    if link == 127:
        return " (IEEE802_11_RADIOTAP)"
    if link == 187:
        return " (BLUETOOTH_HCI_H4)"
    if link == 189 or link == 220:
        return " (USB_LINUX)"
    if link == 195:
        return " (IEEE802_15_4)"
    if link == 227:
        return " (CAN_SOCKETCAN)"
    if link == 239:
        return " (NFLOG)"
    if link == 249:
        return " (USBPCAP)"
    if link == 253:
        return " (NETLINK)"
    return ""


# The IP version carried by an EtherType, after any tags; moves `offset` to the IP header.
cdef inline uint8_t ether_payload(
    uint16_t ether_type, const uint8_t* data, uint32_t size, uint32_t* offset
) noexcept nogil:
    cdef uint32_t at = offset[0]
    cdef uint16_t protocol
    while True:
        if ether_type == 0x0800:
            offset[0] = at
            return 4
        if ether_type == 0x86DD:
            offset[0] = at
            return 6
        if ether_type == 0x8100 or ether_type == 0x88A8 or ether_type == 0x9100:
            # 802.1Q, 802.1ad and the older QinQ; any number of them.
            if at + 4 > size:
                return NOT_IP
            ether_type = big16(data + at + 2)
            at += 4
        elif ether_type == 0x8864:
            # PPPoE session (RFC 2516): version and type, code, session, length, PPP protocol.
            if at + 8 > size or data[at] != 0x11 or data[at + 1] != 0:
                return NOT_IP
            protocol = big16(data + at + 6)
            offset[0] = at + 8
            return 4 if protocol == 0x0021 else 6 if protocol == 0x0057 else NOT_IP
        elif ether_type == 0x8847 or ether_type == 0x8848:
            # MPLS (RFC 3032): labels up to the one with the bottom bit. What follows is not named
            # anywhere, so its first four bits have to say it.
            while True:
                if at + 4 > size:
                    return NOT_IP
                at += 4
                if data[at - 2] & 1:
                    break
            if at >= size:
                return NOT_IP
            offset[0] = at
            return data[at] >> 4 if data[at] >> 4 in (4, 6) else NOT_IP
        elif ether_type < 0x0600:
            # An 802.3 length: IP is only there behind LLC and SNAP (RFC 1042).
            if at + 8 > size or big32(data + at) != 0xAAAA0300u or big16(data + at + 4) != 0:
                return NOT_IP
            ether_type = big16(data + at + 6)
            at += 8
        else:
            return NOT_IP


# The IP version that the frame says it carries (or ANY_VERSION, or NOT_IP); `offset` is set to where
# the IP header begins. A frame that is cut before its link header says so is NOT_IP.
cdef inline uint8_t find_ip(
    uint32_t link, const uint8_t* data, uint32_t size, uint32_t* offset
) noexcept nogil:
    cdef uint32_t family
    if link == LINK_ETHERNET:
        if size < 14:
            return NOT_IP
        offset[0] = 14
        return ether_payload(big16(data + 12), data, size, offset)
    if link == LINK_SLL:
        if size < 16:
            return NOT_IP
        offset[0] = 16
        return ether_payload(big16(data + 14), data, size, offset)
    if link == LINK_SLL2:
        if size < 20:
            return NOT_IP
        offset[0] = 20
        return ether_payload(big16(data), data, size, offset)
    if link == LINK_NULL or link == LINK_LOOP:
        # The BSD address family, for NULL in the byte order of the machine that captured; 24, 28
        # and 30 are the IPv6 of NetBSD, FreeBSD and macOS, 10 that of Linux.
        if size < 4:
            return NOT_IP
        offset[0] = 4
        family = big32(data)
        if family > 0xFFFF:
            family = (family >> 24) | ((family >> 8) & 0xFF00)
        if family == 2:
            return 4
        return 6 if family in (10, 24, 28, 30) else NOT_IP
    offset[0] = 0
    return 4 if link == LINK_IPV4 else 6 if link == LINK_IPV6 else ANY_VERSION


# Fills in a frame, but for its time, from the captured bytes; `length` is what it had uncut.
cdef inline void set_frame(
    Frame* frame, uint32_t link, const uint8_t* data, uint32_t size, uint32_t length
) noexcept nogil:
    cdef uint32_t offset = 0
    if length < size:
        length = size
    frame.version = find_ip(link, data, size, &offset)
    if frame.version == NOT_IP:
        frame.data = NULL
        frame.size = size
        frame.length = length
    else:
        frame.data = data + offset
        frame.size = size - offset
        frame.length = length - offset


# The file cannot be read further, since it has frames of a link type that is not known.
cdef inline int fail_link(Stream* stream, uint64_t at, uint32_t link) noexcept nogil:
    snprintf(stream.reason, sizeof(stream.reason), "link type %u%s is not one that can be read",
             link, link_name(link))
    return fail(stream, at, stream.reason)
