# Rules compiled for matching: intervals.py says how, this is the same in C.
from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from classifier.engine.hashing cimport uint128_t
from classifier.engine.wire cimport Packet

cdef enum:
    FIELDS = 8   # that one packet can be looked up in, beside its family

cdef struct Field:
    # The intervals of one field of the packet.
    int kind
    uint32_t count
    uint64_t* starts
    uint128_t* wide_starts   # instead of `starts`: IPv6 addresses
    uint64_t** rows          # per interval: the rules, one bit each

cdef struct Matcher:
    uint32_t words           # 64-bit words of a row
    uint64_t* bits           # all different rows
    uint64_t* possible[2]    # rows by family: IPv4, IPv6
    Field fields[2][FIELDS]  # by family
    int field_count[2]

cdef struct Candidates:
    # The rows that a packet's fields select; rules in all of them match.
    const uint64_t* rows[FIELDS + 1]
    int count
    uint32_t words
    uint32_t word            # where the search is
    uint64_t left            # rules of this word still to come

cdef int compile_matcher(Matcher* matcher, object fields, size_t rules) except -1
cdef void destroy_matcher(Matcher* matcher) noexcept nogil

cdef void look_up(
    const Matcher* matcher, const Packet* packet, uint16_t interface, int64_t uid, Candidates* found
) noexcept nogil

# The index of the next rule that matches, in the policy's order; -1 after the last.
cdef int32_t next_rule(Candidates* found) noexcept nogil
