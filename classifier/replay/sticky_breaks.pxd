# Remotes that change uplink while they should be remembered.
from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from classifier.engine.hashing cimport HashKey
from classifier.engine.tables cimport Table
from classifier.engine.wire cimport Packet
from classifier.replay.flow_log cimport DecidedFlow

cdef struct Memory:
    # How the flows of a rule should be remembered.
    uint16_t balancer        # its number plus one; 0: the rule uses none
    bint remembers           # the balancer has sticky entries
    uint64_t masks[2][4]     # by family: remote high and low, local high and low
    uint64_t timeout         # milliseconds

cdef class StickyBreaks:
    cdef Memory* memories    # by rule, and a last one for flows without any
    cdef uint32_t rules
    cdef Memory usual
    cdef HashKey key
    cdef Table table
    cdef readonly uint64_t breaks

    cdef const Memory* memory(self, int32_t rule) noexcept nogil

    # A flow was placed. Where the policy's own balancer remembers nothing, it is judged by `other`,
    # the memory of the rule that took the flow in the policy it is compared with (or NULL).
    cdef void place(
        self, const Packet* packet, const DecidedFlow* decided, const Memory* other, uint64_t now
    ) noexcept nogil
