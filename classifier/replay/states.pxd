# How Linux's connection tracking moves a flow on: states, timeouts, and which packets belong to it.
#
# Source: net/netfilter/nf_conntrack_proto_{tcp,udp,icmp,icmpv6,sctp,dccp,gre,generic}.c with the
# kernel's default sysctls (tcp_loose 1, tcp_be_liberal as it comes). Left out, because a capture
# cannot be trusted for them or they hardly ever change which packets start flows: checksums (often
# computed by the card, after the capture), TCP windows, SCTP verification tags.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.octets cimport big16, big32
from classifier.engine.protocols cimport DCCP, GRE, ICMP, ICMPV6, SCTP, TCP, UDP, UDP_LITE
from classifier.replay.state_tables cimport (
    ACK_SET, DCCP_IGNORE, DCCP_INVALID, DCCP_REQUEST_STATE, DCCP_RESET, DCCP_TIMEWAIT_STATE,
    DCCP_TYPES, FIN_SET, GENERIC_TIMEOUT, GRE_STREAM_TIMEOUT, GRE_TIMEOUT, ICMP_TIMEOUT, NONE_SET,
    RST_SET, SCTP_INVALID, SYNACK_SET, SYN_SET, TCP_CLOSE, TCP_ESTABLISHED, TCP_FIN_WAIT,
    TCP_IGNORE, TCP_INVALID, TCP_LAST_ACK, TCP_SYN_RECV, TCP_SYN_SENT, TCP_SYN_SENT2, TCP_TIME_WAIT,
    TCP_UNACKNOWLEDGED, UDP_STREAM_AFTER, UDP_STREAM_TIMEOUT, UDP_TIMEOUT, TcpIndex, dccp_next,
    dccp_timeout, sctp_next, sctp_row, sctp_timeout, tcp_next, tcp_sane, tcp_timeout,
)

cdef enum TrackResult:
    # What a packet is to the flow whose addresses and ports it has.
    INVALID = 0     # not of the flow: conntrack's INVALID
    TRACKED = 1
    IGNORED = 2     # counted for the flow, and changes neither state nor timeout
    REOPENED = 3    # the flow is over and this packet starts a new one
    KILLED = 4      # the last packet of the flow

cdef enum FlowFlag:
    SEEN_REPLY = 1
    CLOSE_INIT = 2
    STREAM = 4              # UDP: answered, and longer than two seconds
    SIMULTANEOUS_OPEN = 4   # TCP
    LAST_REPLY = 8          # TCP: direction of the last packet
    HELPED = 16             # TCP: a helper reads it
    LAST_INDEX_SHIFT = 5    # TCP: its kind, in the upper three bits

cdef struct Flow:
    # What every packet of a flow reads or writes: one cache line. Source and destination are those
    # of the packet that started it.
    uint64_t src[2]
    uint64_t dst[2]
    uint32_t sport      # as in Tuple
    uint32_t dport
    uint16_t protocols  # protocol << 8 | family
    uint8_t state       # of the protocol's own machine
    uint8_t flags
    uint32_t packets
    uint64_t bytes
    uint64_t expires    # milliseconds; FLUSHED: its connection was ended on the gateway

cdef enum:
    FLUSHED = 0

cdef union FlowOwn:
    # What flows of one kind have only.
    uint64_t stream_from    # UDP: milliseconds; answered packets after this make it a stream
    uint64_t control        # HELPED: its number among the control connections
    uint64_t forgotten_at   # FLUSHED: milliseconds; when it would have expired

cdef struct FlowExtra:
    # What few packets of a flow read or write.
    FlowOwn own
    uint64_t more_packets   # that did not fit in the 32 bits of Flow.packets
    uint32_t hash
    uint32_t record         # its number in the log
    uint32_t last_end       # TCP: sequence number after the last ignored packet
    uint8_t placement

cdef struct FlowPacket:
    # The packet that moves a flow on.
    const uint8_t* header   # of the upper layer
    uint32_t size           # bytes that can be read there
    uint32_t length         # bytes that it had
    uint64_t now            # milliseconds
    bint reply
    uint8_t tcp_flags


cdef inline TcpIndex tcp_index(uint8_t flags) noexcept nogil:
    if flags & 0x04:
        return RST_SET
    if flags & 0x02:
        return SYNACK_SET if flags & 0x10 else SYN_SET
    if flags & 0x01:
        return FIN_SET
    return ACK_SET if flags & 0x10 else NONE_SET


cdef inline void remember(Flow* flow, int index, bint reply) noexcept nogil:
    flow.flags = <uint8_t>(
        (flow.flags & (SEEN_REPLY | CLOSE_INIT | SIMULTANEOUS_OPEN | HELPED))
        | (LAST_REPLY if reply else 0)
        | (index << LAST_INDEX_SHIFT)
    )


# The sequence number after a packet: SYN and FIN count for one each.
cdef inline uint32_t segment_end(const FlowPacket* packet) noexcept nogil:
    cdef uint32_t header
    if packet.size < 20:
        return 0
    header = (packet.header[12] >> 4) * 4
    return (
        big32(packet.header + 4)
        + (packet.length - header if packet.length > header else 0)
        + (1 if packet.tcp_flags & 0x02 else 0)
        + (1 if packet.tcp_flags & 0x01 else 0)
    )


cdef inline TrackResult tcp_packet(
    Flow* flow, FlowExtra* extra, const FlowPacket* packet
) noexcept nogil:
    cdef int index = tcp_index(packet.tcp_flags)
    cdef int last = flow.flags >> LAST_INDEX_SHIFT
    cdef bint turned = packet.reply != ((flow.flags & LAST_REPLY) != 0)
    cdef uint8_t before = flow.state
    cdef uint8_t after = tcp_next[packet.reply][index][before]
    cdef uint32_t timeout
    if not (tcp_sane >> (packet.tcp_flags & 0x37)) & 1:
        return INVALID
    if after == TCP_SYN_SENT and before >= TCP_TIME_WAIT:
        # RFC 1122, 4.2.2.13: a new SYN may reopen a connection that was closed, or that its own
        # side has reset. Else it is answered before it is believed.
        if flow.flags & CLOSE_INIT or (last == RST_SET and not turned):
            return REOPENED
        after = TCP_IGNORE
    if after == TCP_IGNORE:
        if (
            index == SYNACK_SET and last == SYN_SET and turned and packet.size >= 20
            and big32(packet.header + 8) == extra.last_end
        ):
            # The SYN that was ignored is answered: both ends agree, and we follow them.
            before = TCP_SYN_SENT
            after = TCP_SYN_RECV
            flow.flags &= ~<uint8_t>CLOSE_INIT
        else:
            remember(flow, index, packet.reply)
            extra.last_end = segment_end(packet)
            return IGNORED
    if after == TCP_INVALID:
        return INVALID
    if after == TCP_SYN_SENT2:
        flow.flags |= SIMULTANEOUS_OPEN
    elif (
        after == TCP_SYN_RECV and packet.reply and index == ACK_SET
        and flow.flags & SIMULTANEOUS_OPEN
    ):
        after = TCP_ESTABLISHED
    elif (
        after == TCP_TIME_WAIT and before == TCP_LAST_ACK and index == ACK_SET and turned
        and last == SYN_SET
    ):
        # A challenge ACK (RFC 5961) to the ignored SYN, not the last ACK of the closing.
        remember(flow, NONE_SET, packet.reply)
        return IGNORED
    remember(flow, index, packet.reply)
    flow.state = after
    if after == TCP_FIN_WAIT and before != after:
        flow.flags |= CLOSE_INIT
    timeout = tcp_timeout[TCP_CLOSE if index == RST_SET else after]
    if not flow.flags & SEEN_REPLY:
        if index == RST_SET:
            # Refused, or given up before any answer: the kernel forgets it at once.
            return KILLED
        if after == TCP_ESTABLISHED:
            timeout = TCP_UNACKNOWLEDGED
    flow.expires = packet.now + timeout
    return TRACKED


cdef inline TrackResult udp_packet(
    Flow* flow, FlowExtra* extra, const FlowPacket* packet
) noexcept nogil:
    if not flow.flags & SEEN_REPLY:
        if flow.packets == 0:
            extra.own.stream_from = packet.now + UDP_STREAM_AFTER
    elif not flow.flags & STREAM and packet.now > extra.own.stream_from:
        flow.flags |= STREAM
    flow.expires = packet.now + (UDP_STREAM_TIMEOUT if flow.flags & STREAM else UDP_TIMEOUT)
    return TRACKED


cdef inline TrackResult sctp_packet(Flow* flow, const FlowPacket* packet) noexcept nogil:
    cdef uint32_t at = 12, kind, length, count = 0
    cdef uint8_t state = flow.state, row
    cdef bint alone = False, fresh = flow.packets == 0, restarted = False
    while at + 4 <= packet.size and at + 4 <= packet.length:
        kind = packet.header[at]
        length = big16(packet.header + at + 2)
        if length == 0:
            return INVALID
        # INIT, INIT ACK and SHUTDOWN COMPLETE travel alone; COOKIE ECHO and ACK go first.
        alone = alone or kind == 1 or kind == 2 or kind == 14
        if count and (alone or kind == 10 or kind == 11):
            return INVALID
        count += 1
        row = sctp_row[kind] if kind < 16 else 0
        if fresh:
            # Out of the blue (RFC 9260, 8.4): these start nothing, nor do DATA and the like.
            if row == 0 or kind == 6 or kind == 11 or kind == 14:
                return INVALID
            # Shutdown ack and heartbeats may have any tag. INIT has none; nothing else fits the
            # tag that no INIT has told.
            if kind not in (4, 5, 8) and big32(packet.header + 4) != 0:
                return INVALID
        if row:
            restarted = kind == 1 and state == 1
            state = sctp_next[packet.reply][row - 1][state]
            if state == SCTP_INVALID:
                return INVALID
        at += (length + 3) & ~3u
    if count == 0:
        return INVALID
    flow.state = state
    if restarted and state == 1 and not fresh:
        return IGNORED
    flow.expires = packet.now + sctp_timeout[state]
    return TRACKED


cdef inline TrackResult dccp_packet(Flow* flow, const FlowPacket* packet) noexcept nogil:
    # CLOSE_INIT is used to say that client and server have changed roles.
    cdef uint8_t kind, after
    cdef bint server = packet.reply != ((flow.flags & CLOSE_INIT) != 0)
    if packet.size < 12 or packet.header[4] < 3 or <uint32_t>packet.header[4] * 4 > packet.length:
        return INVALID
    kind = (packet.header[8] >> 1) & 15
    if kind >= DCCP_TYPES:
        return INVALID
    if kind == DCCP_RESET and flow.packets and not flow.flags & SEEN_REPLY:
        return KILLED
    after = dccp_next[server][kind][flow.state]
    if after == DCCP_INVALID:
        return INVALID
    if after == DCCP_IGNORE:
        return IGNORED
    if after == DCCP_REQUEST_STATE and flow.state == DCCP_TIMEWAIT_STATE and server:
        flow.flags ^= CLOSE_INIT
    flow.state = after
    flow.expires = packet.now + dccp_timeout[after]
    return TRACKED


# Let one packet act on its flow; a flow of no packets yet is one that this packet would start.
cdef inline TrackResult advance(
    Flow* flow, FlowExtra* extra, const FlowPacket* packet
) noexcept nogil:
    cdef uint16_t protocol = flow.protocols >> 8
    cdef TrackResult result = TRACKED
    if protocol == TCP:
        result = tcp_packet(flow, extra, packet)
    elif protocol == UDP:
        result = udp_packet(flow, extra, packet)
    elif protocol == ICMP or protocol == ICMPV6:
        flow.expires = packet.now + ICMP_TIMEOUT
    elif protocol == SCTP:
        result = sctp_packet(flow, packet)
    elif protocol == DCCP:
        result = dccp_packet(flow, packet)
    elif protocol == UDP_LITE:
        flow.expires = packet.now + (
            UDP_STREAM_TIMEOUT if flow.flags & SEEN_REPLY else UDP_TIMEOUT
        )
    elif protocol == GRE:
        flow.expires = packet.now + (
            GRE_STREAM_TIMEOUT if flow.flags & SEEN_REPLY else GRE_TIMEOUT
        )
    else:
        flow.expires = packet.now + GENERIC_TIMEOUT
    if packet.reply and (result == TRACKED or result == IGNORED):
        flow.flags |= SEEN_REPLY
    return result
