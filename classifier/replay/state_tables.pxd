# The states of Linux's connection tracking as data: next states and timeouts.
#
# Source: net/netfilter/nf_conntrack_proto_{tcp,udp,icmp,sctp,dccp,gre,generic}.c with the kernel's
# default sysctls.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

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
