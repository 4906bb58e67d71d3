# Flows that are made, decided by the engine and carried by links.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.engine cimport Engine
from classifier.engine.wire cimport Packet
from classifier.replay.flow_log cimport FlowLog
from classifier.replay.remotes cimport Remotes
from classifier.replay.tally cimport Tally
from classifier.simulate.draws cimport Draws
from classifier.simulate.link cimport Link, Transfer

cdef enum:
    PLACES = 255          # where flows go: those of `Placement` but the inbound ones

cdef struct Service:
    # A kind of flows.
    uint8_t protocol
    uint16_t port
    uint64_t up_to        # of the sum of weights: this one's and those before

cdef struct Source:
    # What flows are made of.
    Draws remotes
    Draws hosts
    Draws sizes
    Draws gaps            # seconds from one flow to the next
    uint64_t services_state
    uint64_t address_key
    uint64_t network[2]
    Service* services
    uint64_t total_weight
    uint8_t family

cdef class Simulator:
    cdef Engine engine
    cdef readonly FlowLog log
    cdef readonly Tally tally           # these two: None unless it is watched
    cdef readonly Remotes remotes
    cdef uint64_t[PLACES] tallied       # bytes of each link that the tally has
    cdef uint64_t tallied_at            # milliseconds
    cdef Source source
    cdef uint16_t interface
    cdef Link[PLACES] links     # by placement
    cdef uint8_t[PLACES] used   # placements that this policy has
    cdef int used_count
    cdef bint closed            # clients begin a flow when their last one has ended
    cdef uint32_t waiting       # clients that have no flow
    cdef uint32_t needed        # so many have to wait before the next one begins
    cdef uint64_t flows         # to be begun in all
    cdef uint64_t flows_begun
    cdef double bytes_begun
    cdef double next_begin      # seconds; infinite while no flow is to begin
    cdef double last_begin
    cdef double last_end
    cdef double[PLACES] carried_then    # bytes of each link when the last flow began

    cdef int set_links(self, object policy, double limit) except -1
    cdef int run_on(self, double until) noexcept nogil
    cdef double next_event(self) noexcept nogil
    cdef Link* next_to_end(self) noexcept nogil
    cdef bint begin_flow(self) noexcept nogil
    cdef void end_flow(self, Link* link) noexcept nogil
    cdef void close_flow(
        self, const Transfer* transfer, uint8_t place, uint64_t size
    ) noexcept nogil
    cdef void go_on(self, double now) noexcept nogil
    cdef void foresee_begin(self, double now) noexcept nogil
    cdef void note_carried(self) noexcept nogil
    cdef void make_packet(self, Packet* packet) noexcept nogil
