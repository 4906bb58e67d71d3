# Connections that a conntrack helper reads, and those that they announce.
#
# Source: net/netfilter/nf_conntrack_ftp.c and nf_conntrack_expect.c. A control connection has one
# announced connection at a time; the next one takes its place.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.wire cimport Packet
from classifier.replay.states cimport FlowPacket

cdef enum:
    FTP_PORT = 21
    EXPECTED_FOR = 300000       # milliseconds
    # nf_conntrack_expect_max of a machine with more than 4 GB of memory.
    MOST_EXPECTED = 4096

cdef struct Control:
    # A connection that is read.
    uint64_t src[2]             # of the connection that it has announced
    uint64_t dst[2]
    uint64_t expires            # milliseconds; 0: none is expected
    uint32_t next               # in its bucket, number plus one
    uint32_t flow               # number of the control connection in the table of flows
    # By direction, as sequence numbers: where lines begin, the last two that are known.
    uint32_t[2][2] lines
    uint8_t[2] line_count
    uint16_t port               # of the announced connection

cdef struct Helpers:
    Control* controls
    uint32_t* unused            # numbers of controls that are free
    uint32_t unused_count
    uint32_t room
    uint32_t expected           # connections that are expected now
    uint32_t[MOST_EXPECTED] buckets
    uint64_t secret

cdef void free_helpers(Helpers* helpers) noexcept nogil

# Makes room for so many connections more; False: no memory for them.
cdef bint reserve_controls(Helpers* helpers, uint32_t count) noexcept nogil

# Reads the flow of that number from now on; returns the number to do so by.
cdef uint32_t begin_control(Helpers* helpers, uint32_t flow) noexcept nogil

# Forgets a control connection, and what it has announced.
cdef void end_control(Helpers* helpers, uint32_t control) noexcept nogil

# A packet of a control connection. Only what was captured of it can be read.
cdef void read_control(
    Helpers* helpers, uint32_t control, const Packet* packet, const FlowPacket* moving
) noexcept nogil

# The flow that has announced the connection which this packet starts, and True; each is announced
# for one connection.
cdef bint take_expected(
    Helpers* helpers, const Packet* packet, uint64_t now, uint32_t* flow
) noexcept nogil
