# What one policy does with the flows of a replay, beyond the sums of its log.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from classifier.engine.wire cimport Packet
from classifier.replay.flow_log cimport DecidedFlow, Sum
from classifier.replay.sticky_breaks cimport Memory, StickyBreaks
from classifier.replay.timeline cimport Timeline

cdef enum:
    NO_COLUMN = 255     # an inbound flow

cdef class Tally:
    cdef readonly Timeline timeline
    cdef readonly StickyBreaks sticky
    cdef uint32_t rules
    cdef uint8_t[256] columns    # by placement: uplinks in the policy's order, direct, dropped
    cdef Sum* uses               # a row per rule and one for flows without any, by column

    # Takes note of a flow; returns its column. `other` as for `StickyBreaks.place`.
    cdef uint8_t begin(
        self, const Packet* packet, const DecidedFlow* decided, const Memory* other, uint64_t now
    ) noexcept nogil
    cdef void end(
        self, int32_t rule, uint8_t column, uint64_t packets, uint64_t bytes
    ) noexcept nogil
