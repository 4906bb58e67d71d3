# How Linux's connection tracking moves a flow on: states, timeouts, and which packets belong to it.
#
# Source: net/netfilter/nf_conntrack_proto_{tcp,udp,icmp,icmpv6,sctp,dccp,gre,generic}.c with the
# kernel's default sysctls (tcp_loose 1, tcp_be_liberal as it comes). Left out, because a capture
# cannot be trusted for them or they hardly ever change which packets start flows: checksums (often
# computed by the card, after the capture), TCP windows, SCTP verification tags.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.octets cimport big16, big32

cdef enum Standing:
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
    LAST_INDEX_SHIFT = 5    # TCP: its kind, in the upper three bits

cdef struct Flow:
    # What every packet of a flow reads or writes: one cache line. Source and destination are those
    # of the packet that started it.
    uint64_t src[2]
    uint64_t dst[2]
    uint32_t sport      # ICMP: the identifier
    uint32_t dport      # ICMP: ICMP_PEER | type of the request << 8 | code
    uint16_t kind       # protocol << 8 | family
    uint8_t state       # of the protocol's own machine
    uint8_t flags
    uint32_t packets
    uint64_t bytes
    uint64_t expires    # milliseconds

cdef struct Tail:
    # The rest of a flow.
    uint64_t stream_from    # UDP: milliseconds; answered packets after this make it a stream
    uint64_t more_packets   # that did not fit in the 32 bits of Flow.packets
    uint32_t hash
    uint32_t record         # index of its Record
    uint32_t last_end       # TCP: sequence number after the last ignored packet
    uint8_t target

cdef struct Segment:
    # The packet that moves a flow on.
    const uint8_t* header   # of the upper layer
    uint32_t size           # bytes that can be read there
    uint32_t length         # bytes that it had
    uint64_t now            # milliseconds
    bint reply
    uint8_t tcp_flags

cdef enum:
    ICMP_PEER = 0x10000     # keeps an ICMP flow's answering side apart from any identifier

cdef enum TcpState:
    TCP_NONE, TCP_SYN_SENT, TCP_SYN_RECV, TCP_ESTABLISHED, TCP_FIN_WAIT, TCP_CLOSE_WAIT
    TCP_LAST_ACK, TCP_TIME_WAIT, TCP_CLOSE, TCP_SYN_SENT2, TCP_INVALID, TCP_IGNORE

cdef enum TcpIndex:
    SYN_SET, SYNACK_SET, FIN_SET, ACK_SET, RST_SET, NONE_SET

cdef enum:
    DCCP_RESET = 7
    DCCP_TYPES = 10
    DCCP_INVALID = 8
    DCCP_IGNORE = 9
    DCCP_REQUEST_STATE = 1
    DCCP_TIMEWAIT_STATE = 7
    SCTP_INVALID = 9

cdef enum Protocol:
    ICMP = 1
    TCP = 6
    UDP = 17
    DCCP = 33
    GRE = 47
    ICMPV6 = 58
    SCTP = 132
    UDP_LITE = 136

cdef enum Timeout:
    # Milliseconds.
    TCP_UNACKNOWLEDGED = 300000
    UDP_TIMEOUT = 30000
    UDP_STREAM_TIMEOUT = 120000
    UDP_STREAM_AFTER = 2000
    GRE_TIMEOUT = 30000
    GRE_STREAM_TIMEOUT = 180000
    ICMP_TIMEOUT = 30000
    GENERIC_TIMEOUT = 600000

cdef extern from *:
    """
    /* Next state by direction, kind of packet and state. Columns of TCP: none, syn sent, syn
       received, established, fin wait, close wait, last ack, time wait, close, syn sent 2. 10 is
       invalid, 11 ignored. */
    enum { IV = 10, IG = 11 };
    static const uint8_t nfqc_tcp_next[2][6][10] = {
      { { 1, 1, IG, IG, IG, IG, IG, 1, 1, 9 },           /* syn */
        { IV, IV, 2, IV, IV, IV, IV, IV, IV, 2 },        /* syn-ack */
        { IV, IV, 4, 4, 6, 6, 6, 7, 8, IV },             /* fin */
        { 3, IV, 3, 3, 5, 5, 7, 7, 8, IV },              /* ack */
        { IV, 8, 8, 8, 8, 8, 8, 8, 8, 8 },               /* rst */
        { IV, IV, IV, IV, IV, IV, IV, IV, IV, IV } },
      { { IV, 9, IV, IV, IV, IV, IV, 1, IV, 9 },
        { IV, 2, IG, IG, IG, IG, IG, IG, IG, 2 },
        { IV, IV, 4, 4, 6, 6, 6, 7, 8, IV },
        { IV, IG, 2, 3, 5, 5, 7, 7, 8, IG },
        { IV, 8, 8, 8, 8, 8, 8, 8, 8, 8 },
        { IV, IV, IV, IV, IV, IV, IV, IV, IV, IV } } };
    static const uint32_t nfqc_tcp_timeout[10] = {
      0, 120000, 60000, 432000000, 120000, 60000, 30000, 120000, 10000, 120000 };

    /* Columns: none, closed, cookie wait, cookie echoed, established, shutdown sent, shutdown
       received, shutdown ack sent, heartbeat sent. 9 is invalid. */
    static const uint8_t nfqc_sctp_next[2][11][9] = {
      { { 1, 1, 2, 3, 4, 1, 1, 7, 2 },      /* init */
        { 1, 1, 2, 3, 4, 5, 6, 7, 1 },      /* init ack */
        { 1, 1, 1, 1, 1, 1, 1, 1, 1 },      /* abort */
        { 1, 1, 2, 3, 5, 5, 6, 7, 1 },      /* shutdown */
        { 7, 1, 2, 3, 4, 7, 7, 7, 7 },      /* shutdown ack */
        { 1, 1, 2, 3, 4, 5, 6, 7, 1 },      /* error */
        { 1, 1, 3, 3, 4, 5, 6, 7, 1 },      /* cookie echo */
        { 1, 1, 2, 4, 4, 5, 6, 7, 1 },      /* cookie ack */
        { 1, 1, 2, 3, 4, 5, 6, 1, 1 },      /* shutdown complete */
        { 8, 1, 2, 3, 4, 5, 6, 7, 8 },      /* heartbeat */
        { 1, 1, 2, 3, 4, 5, 6, 7, 8 } },    /* heartbeat ack */
      { { 9, 1, 2, 3, 4, 5, 6, 7, 9 },
        { 9, 2, 2, 3, 4, 5, 6, 7, 9 },
        { 9, 1, 1, 1, 1, 1, 1, 1, 9 },
        { 9, 1, 2, 3, 6, 5, 6, 7, 9 },
        { 9, 1, 2, 3, 4, 7, 7, 7, 9 },
        { 9, 1, 2, 1, 4, 5, 6, 7, 9 },
        { 9, 1, 3, 3, 4, 5, 6, 7, 9 },
        { 9, 1, 2, 4, 4, 5, 6, 7, 9 },
        { 9, 1, 2, 3, 4, 5, 6, 1, 9 },
        { 9, 1, 2, 3, 4, 5, 6, 7, 8 },
        { 9, 1, 2, 3, 4, 5, 6, 7, 4 } } };
    static const uint32_t nfqc_sctp_timeout[9] = {
      10000, 10000, 3000, 3000, 210000, 3000, 3000, 3000, 30000 };
    /* Row of a chunk type above plus 1; 0: the chunk changes nothing. */
    static const uint8_t nfqc_sctp_row[16] = { 0, 1, 2, 0, 10, 11, 3, 4, 5, 6, 7, 8, 0, 0, 9, 0 };

    /* Columns: none, request, respond, part open, open, close request, closing, time wait. 8 is
       invalid, 9 ignored. Rows: request, response, data, ack, data-ack, close request, close,
       reset, sync, sync-ack; first those of the client. */
    static const uint8_t nfqc_dccp_next[2][10][8] = {
      { { 1, 1, 2, 9, 9, 9, 9, 1 }, { 8, 9, 9, 9, 9, 9, 9, 8 }, { 8, 8, 8, 8, 4, 5, 6, 8 },
        { 8, 8, 3, 3, 4, 5, 6, 8 }, { 8, 8, 3, 3, 4, 5, 6, 8 }, { 8, 8, 8, 8, 8, 8, 8, 8 },
        { 8, 8, 8, 6, 6, 6, 8, 8 }, { 8, 7, 7, 7, 7, 7, 7, 9 }, { 8, 9, 9, 9, 9, 9, 9, 9 },
        { 8, 9, 9, 9, 9, 9, 9, 9 } },
      { { 8, 9, 9, 9, 9, 9, 9, 1 }, { 8, 2, 2, 9, 9, 9, 9, 8 }, { 8, 8, 8, 4, 4, 8, 6, 8 },
        { 8, 8, 8, 4, 4, 8, 6, 8 }, { 8, 8, 8, 4, 4, 8, 6, 8 }, { 8, 8, 8, 5, 5, 5, 5, 8 },
        { 8, 8, 8, 6, 6, 8, 6, 8 }, { 8, 7, 7, 7, 7, 7, 7, 7 }, { 8, 9, 9, 9, 9, 9, 9, 9 },
        { 8, 9, 9, 9, 9, 9, 9, 9 } } };
    static const uint32_t nfqc_dccp_timeout[8] = {
      240000, 240000, 480000, 480000, 43200000, 64000, 64000, 240000 };

    /* FIN, SYN, RST, ACK and URG as bits 0, 1, 2, 4 and 5 of the flag byte; PSH, ECE and CWR do not
       matter. Bit n is set where the combination n makes sense. */
    static const uint64_t nfqc_tcp_sane =
      1ull << 0x02 | 1ull << 0x22 | 1ull << 0x12 | 1ull << 0x04 | 1ull << 0x14 | 1ull << 0x11 |
      1ull << 0x31 | 1ull << 0x10 | 1ull << 0x30;
    """
    const uint8_t tcp_next "nfqc_tcp_next"[2][6][10]
    const uint32_t tcp_timeout "nfqc_tcp_timeout"[10]
    const uint8_t sctp_next "nfqc_sctp_next"[2][11][9]
    const uint32_t sctp_timeout "nfqc_sctp_timeout"[9]
    const uint8_t sctp_row "nfqc_sctp_row"[16]
    const uint8_t dccp_next "nfqc_dccp_next"[2][10][8]
    const uint32_t dccp_timeout "nfqc_dccp_timeout"[8]
    const uint64_t tcp_sane "nfqc_tcp_sane"


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
        (flow.flags & (SEEN_REPLY | CLOSE_INIT | SIMULTANEOUS_OPEN))
        | (LAST_REPLY if reply else 0)
        | (index << LAST_INDEX_SHIFT)
    )


# The sequence number after a segment: SYN and FIN count for one each.
cdef inline uint32_t segment_end(const Segment* segment) noexcept nogil:
    cdef uint32_t header
    if segment.size < 20:
        return 0
    header = (segment.header[12] >> 4) * 4
    return (
        big32(segment.header + 4)
        + (segment.length - header if segment.length > header else 0)
        + (1 if segment.tcp_flags & 0x02 else 0)
        + (1 if segment.tcp_flags & 0x01 else 0)
    )


cdef inline Standing tcp_packet(Flow* flow, Tail* tail, const Segment* segment) noexcept nogil:
    cdef int index = tcp_index(segment.tcp_flags)
    cdef int last = flow.flags >> LAST_INDEX_SHIFT
    cdef bint turned = segment.reply != ((flow.flags & LAST_REPLY) != 0)
    cdef uint8_t before = flow.state
    cdef uint8_t after = tcp_next[segment.reply][index][before]
    cdef uint32_t timeout
    if not (tcp_sane >> (segment.tcp_flags & 0x37)) & 1:
        return INVALID
    if after == TCP_SYN_SENT and before >= TCP_TIME_WAIT:
        # RFC 1122, 4.2.2.13: a new SYN may reopen a connection that was closed, or that its own
        # side has reset. Else it is answered before it is believed.
        if flow.flags & CLOSE_INIT or (last == RST_SET and not turned):
            return REOPENED
        after = TCP_IGNORE
    if after == TCP_IGNORE:
        if (
            index == SYNACK_SET and last == SYN_SET and turned and segment.size >= 20
            and big32(segment.header + 8) == tail.last_end
        ):
            # The SYN that was ignored is answered: both ends agree, and we follow them.
            before = TCP_SYN_SENT
            after = TCP_SYN_RECV
            flow.flags &= ~<uint8_t>CLOSE_INIT
        else:
            remember(flow, index, segment.reply)
            tail.last_end = segment_end(segment)
            return IGNORED
    if after == TCP_INVALID:
        return INVALID
    if after == TCP_SYN_SENT2:
        flow.flags |= SIMULTANEOUS_OPEN
    elif (
        after == TCP_SYN_RECV and segment.reply and index == ACK_SET
        and flow.flags & SIMULTANEOUS_OPEN
    ):
        after = TCP_ESTABLISHED
    elif (
        after == TCP_TIME_WAIT and before == TCP_LAST_ACK and index == ACK_SET and turned
        and last == SYN_SET
    ):
        # A challenge ACK (RFC 5961) to the ignored SYN, not the last ACK of the closing.
        remember(flow, NONE_SET, segment.reply)
        return IGNORED
    remember(flow, index, segment.reply)
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
    flow.expires = segment.now + timeout
    return TRACKED


cdef inline Standing udp_packet(Flow* flow, Tail* tail, const Segment* segment) noexcept nogil:
    if not flow.flags & SEEN_REPLY:
        if flow.packets == 0:
            tail.stream_from = segment.now + UDP_STREAM_AFTER
    elif not flow.flags & STREAM and segment.now > tail.stream_from:
        flow.flags |= STREAM
    flow.expires = segment.now + (UDP_STREAM_TIMEOUT if flow.flags & STREAM else UDP_TIMEOUT)
    return TRACKED


cdef inline Standing sctp_packet(Flow* flow, const Segment* segment) noexcept nogil:
    cdef uint32_t at = 12, kind, length, count = 0
    cdef uint8_t state = flow.state, row
    cdef bint alone = False, fresh = flow.packets == 0, restarted = False
    while at + 4 <= segment.size and at + 4 <= segment.length:
        kind = segment.header[at]
        length = big16(segment.header + at + 2)
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
            if kind not in (4, 5, 8) and big32(segment.header + 4) != 0:
                return INVALID
        if row:
            restarted = kind == 1 and state == 1
            state = sctp_next[segment.reply][row - 1][state]
            if state == SCTP_INVALID:
                return INVALID
        at += (length + 3) & ~3u
    if count == 0:
        return INVALID
    flow.state = state
    if restarted and state == 1 and not fresh:
        return IGNORED
    flow.expires = segment.now + sctp_timeout[state]
    return TRACKED


cdef inline Standing dccp_packet(Flow* flow, const Segment* segment) noexcept nogil:
    # CLOSE_INIT is used to say that client and server have changed roles.
    cdef uint8_t kind, after
    cdef bint server = segment.reply != ((flow.flags & CLOSE_INIT) != 0)
    if segment.size < 12 or segment.header[4] < 3 or <uint32_t>segment.header[4] * 4 > segment.length:
        return INVALID
    kind = (segment.header[8] >> 1) & 15
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
    flow.expires = segment.now + dccp_timeout[after]
    return TRACKED


# Let one packet act on its flow; a flow of no packets yet is one that this packet would start.
cdef inline Standing advance(Flow* flow, Tail* tail, const Segment* segment) noexcept nogil:
    cdef uint16_t protocol = flow.kind >> 8
    cdef Standing standing = TRACKED
    if protocol == TCP:
        standing = tcp_packet(flow, tail, segment)
    elif protocol == UDP:
        standing = udp_packet(flow, tail, segment)
    elif protocol == ICMP or protocol == ICMPV6:
        flow.expires = segment.now + ICMP_TIMEOUT
    elif protocol == SCTP:
        standing = sctp_packet(flow, segment)
    elif protocol == DCCP:
        standing = dccp_packet(flow, segment)
    elif protocol == UDP_LITE:
        flow.expires = segment.now + (
            UDP_STREAM_TIMEOUT if flow.flags & SEEN_REPLY else UDP_TIMEOUT
        )
    elif protocol == GRE:
        flow.expires = segment.now + (
            GRE_STREAM_TIMEOUT if flow.flags & SEEN_REPLY else GRE_TIMEOUT
        )
    else:
        flow.expires = segment.now + GENERIC_TIMEOUT
    if segment.reply and (standing == TRACKED or standing == IGNORED):
        flow.flags |= SEEN_REPLY
    return standing
