# Where the flows of a replay went: sums, and for those who want them the flows one by one.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.wire cimport Packet

cdef enum Placement:
    # Where a flow went: an uplink's id (1 to 253), or one of these.
    PLACED_DIRECT = 0
    PLACED_DROPPED = 254
    PLACED_INBOUND = 255    # not a flow of the LAN's to the outside: not decided
    PLACEMENTS = 256

cdef struct Sum:
    uint64_t flows
    uint64_t packets
    uint64_t bytes

cdef struct Record:
    # One decided flow.
    uint64_t src[2]
    uint64_t dst[2]
    int64_t time        # nanoseconds since 1970
    uint64_t packets    # these two: told when the flow ends
    uint64_t bytes
    int32_t rule
    uint16_t sport
    uint16_t dport
    uint8_t protocol
    uint8_t family
    uint8_t has_ports
    uint8_t placement
    uint8_t reason

cdef struct DecidedFlow:
    # What was decided about a flow, or that nothing was.
    int32_t rule            # index into policy.rules; -1: none
    uint8_t reason          # index into REASONS
    uint8_t placement       # a Placement

cdef class FlowLog:
    cdef bint keeps_records
    cdef Record* records
    cdef uint32_t record_count, record_room
    cdef uint32_t rule_count
    cdef uint64_t* rule_flows
    cdef Sum[PLACEMENTS] sums

    # Makes room for so many flows more; False: no memory for them.
    cdef bint reserve(self, uint32_t count) noexcept nogil

    # Notes a flow that its packet starts; returns the number to end it by.
    cdef uint32_t begin(
        self, const Packet* packet, int64_t time, const DecidedFlow* decision
    ) noexcept nogil
    cdef void end(
        self, uint32_t number, uint8_t placement, uint64_t packets, uint64_t bytes
    ) noexcept nogil

# An address as it is written.
cdef str address_text(const uint64_t* words, uint8_t family)
