"""Messages of nfnetlink_queue: packets read with every bound checked, verdicts written.

The kernel writes these well, but a message can be cut short by our buffer, and any process with
CAP_NET_ADMIN may send bytes to a netlink socket: nothing in a message is believed.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memcpy

from classifier.engine.octets cimport big32, load16, load32

cdef extern from "<arpa/inet.h>" nogil:
    uint32_t htonl(uint32_t)
    uint16_t htons(uint16_t)

cdef extern from "<linux/netlink.h>" nogil:
    enum:
        NLM_F_REQUEST
        NLMSG_ERROR
        NLMSG_OVERRUN

cdef extern from "<linux/netfilter.h>" nogil:
    enum:
        NF_DROP
        NF_ACCEPT

cdef extern from "<linux/netfilter/nfnetlink.h>" nogil:
    enum:
        NFNL_SUBSYS_QUEUE

cdef extern from "<linux/netfilter/nfnetlink_queue.h>" nogil:
    enum:
        NFQNL_MSG_PACKET
        NFQNL_MSG_VERDICT
        NFQNL_MSG_VERDICT_BATCH
        NFQA_PACKET_HDR
        NFQA_VERDICT_HDR
        NFQA_MARK
        NFQA_IFINDEX_INDEV
        NFQA_PAYLOAD
        NFQA_UID

cdef enum:
    HEADER = 16             # struct nlmsghdr
    ATTRIBUTES = 20         # after struct nfgenmsg
    PACKET_HEADER = 7       # struct nfqnl_msg_packet_hdr, packed
    TYPE_BITS = 0x3fff      # the two highest bits of an attribute's type are flags

cdef struct VerdictMessage:
    uint32_t length
    uint16_t type
    uint16_t flags
    uint32_t sequence
    uint32_t portid
    uint8_t family
    uint8_t version
    uint16_t queue
    uint16_t verdict_length
    uint16_t verdict_type
    uint32_t verdict
    uint32_t id
    uint16_t mark_length
    uint16_t mark_type
    uint32_t mark


cdef MessageKind read_message(
    const uint8_t* data, size_t size, QueuedPacket* packet, int* error
) noexcept nogil:
    cdef size_t end = size
    cdef uint16_t type
    error[0] = 0
    if size < ATTRIBUTES or load32(data, False) < ATTRIBUTES:
        return UNREADABLE
    if load32(data, False) < end:
        end = load32(data, False)
    type = load16(data + 4, False)
    if type == (NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_PACKET):
        packet.broken = end < load32(data, False)
        return PACKET if _read_attributes(data, end, packet) else UNREADABLE
    if type == NLMSG_ERROR:
        # Negated before it has a sign: the lowest number has no opposite.
        error[0] = <int>(0 - load32(data + HEADER, False))
        return KERNEL_ERROR
    return OVERRUN if type == NLMSG_OVERRUN else UNREADABLE


cdef bint _read_attributes(const uint8_t* data, size_t end, QueuedPacket* packet) noexcept nogil:
    """Whether the packet's id is known, without which nothing can be answered."""
    cdef size_t at = ATTRIBUTES
    cdef size_t length, size
    cdef uint16_t type
    cdef const uint8_t* value
    cdef bint has_id = False
    packet.id = packet.mark = packet.interface_index = packet.size = 0
    packet.uid = -1
    packet.payload = data
    while end - at >= 4:
        length = load16(data + at, False)
        if length < 4 or length > end - at:
            packet.broken = True
            break
        type = load16(data + at + 2, False) & TYPE_BITS
        value = data + at + 4
        size = length - 4
        if type == NFQA_PAYLOAD:
            packet.payload = value
            packet.size = <uint32_t>size
        elif type == NFQA_PACKET_HDR:
            if size < PACKET_HEADER:
                packet.broken = True
            else:
                packet.id = big32(value)
                has_id = True
        elif type == NFQA_MARK or type == NFQA_IFINDEX_INDEV or type == NFQA_UID:
            if size < 4:
                packet.broken = True
            elif type == NFQA_MARK:
                packet.mark = big32(value)
            elif type == NFQA_IFINDEX_INDEV:
                packet.interface_index = big32(value)
            else:
                packet.uid = big32(value)
        # The padding of the last attribute may be missing.
        at += min((length + 3) & ~<size_t>3, end - at)
    if packet.broken:
        packet.size = 0
    return has_id


cdef size_t write_verdict(
    uint8_t* out, uint16_t queue, const Verdict* verdict, bint all_up_to
) noexcept nogil:
    cdef VerdictMessage message
    message.length = VERDICT_BYTES if verdict.has_mark else VERDICT_BYTES - 8
    message.type = NFNL_SUBSYS_QUEUE << 8
    message.type |= NFQNL_MSG_VERDICT_BATCH if all_up_to else NFQNL_MSG_VERDICT
    message.flags = NLM_F_REQUEST
    message.sequence = message.portid = 0
    message.family = message.version = 0
    message.queue = htons(queue)
    message.verdict_length = 12
    message.verdict_type = NFQA_VERDICT_HDR
    message.verdict = htonl(NF_ACCEPT if verdict.accept else NF_DROP)
    message.id = htonl(verdict.id)
    message.mark_length = 8
    message.mark_type = NFQA_MARK
    message.mark = htonl(verdict.mark)
    memcpy(out, &message, message.length)
    return message.length
