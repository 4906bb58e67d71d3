# What is watched in a replay besides the sums, for those who ask for it.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.engine cimport Engine
from classifier.engine.wire cimport Packet
from classifier.replay.carried cimport Carried
from classifier.replay.flow_log cimport DecidedFlow, FlowLog, Sum
from classifier.replay.remotes cimport Remotes
from classifier.replay.tally cimport Tally

cdef enum:
    NO_PARENT = -1

cdef struct Watched:
    # A flow in the tracker's table, by its number there.
    int32_t rule, other_rule
    uint32_t other_record
    uint8_t column, other_column, other_placement

cdef struct Event:
    # What happens to a flow.
    uint32_t number         # in the tracker's table
    uint64_t now            # milliseconds since the start of the capture
    uint64_t packets
    uint64_t bytes
    int64_t parent          # start: number of the flow that announced it, or NO_PARENT

cdef class Observer:
    cdef readonly Tally tally               # of the policy that is replayed
    cdef readonly Remotes remotes
    cdef readonly FlowLog other_log         # of the policy it is compared with; None without one
    cdef readonly Tally other_tally
    cdef object seed
    cdef Engine other                       # engine of that policy; None without one
    cdef uint16_t other_interface
    cdef Carried other_carried              # None where its methods do not go by load
    cdef Sum* moves                         # rows by our columns, columns by the other's
    cdef Watched* flows
    cdef uint32_t room
    cdef bint numbers_packets
    cdef uint64_t* first_packets            # by record: counted from 0 over all captures
    cdef uint32_t first_packet_count, first_packet_room

    # Makes room for flows numbered below `flows`, and for `more` new ones; False: no memory.
    cdef bint reserve(self, uint32_t flows, uint32_t more) noexcept nogil

    # A flow starts. `asked` is whether the engine was; `packet_number` counts from 0 over all captures.
    cdef void start(
        self, const Event* event, const Packet* packet, int64_t time, uint64_t packet_number,
        const DecidedFlow* decided, bint asked
    ) noexcept nogil
    cdef void carry(self, const Event* event, bint reply) noexcept nogil
    cdef void end(self, const Event* event, const uint64_t* remote, uint8_t family) noexcept nogil
    cdef void finish(self) noexcept nogil
