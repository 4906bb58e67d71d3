# Flows of a capture, tracked as conntrack would and decided by the engine.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.engine cimport Engine
from classifier.replay.capture cimport CaptureReader, Frame
from classifier.replay.flows cimport FlowTable, Key
from classifier.replay.fragments cimport FragmentTable
from classifier.replay.networks cimport Network
from classifier.engine.wire cimport Packet

cdef enum Target:
    # Where a flow went: an uplink's id (1 to 253), or one of these.
    TARGET_DIRECT = 0
    TARGET_DROPPED = 254
    TARGET_INBOUND = 255    # not a flow of the LAN's to the outside: not decided
    TARGETS = 256

cdef struct Sum:
    uint64_t flows
    uint64_t packets
    uint64_t bytes

cdef struct Record:
    # One decided flow, for those who want them one by one.
    uint64_t src[2]
    uint64_t dst[2]
    int64_t time        # nanoseconds since 1970
    uint64_t packets
    uint64_t bytes
    int32_t rule
    uint16_t sport
    uint16_t dport
    uint8_t protocol
    uint8_t family
    uint8_t has_ports
    uint8_t target
    uint8_t reason

cdef class Tracker:
    cdef Engine engine
    cdef FlowTable table
    cdef FragmentTable fragments4, fragments6
    cdef Network* lan
    cdef uint32_t lan_count
    cdef uint16_t interface
    cdef bint keeps_records
    cdef Record* records
    cdef uint32_t record_count, record_room
    cdef uint64_t* rule_flows
    cdef Sum[TARGETS] sums
    cdef bint started
    cdef int64_t first_time         # of the capture, nanoseconds since 1970
    cdef uint64_t now               # milliseconds since then; never goes back
    cdef uint64_t packets, malformed, untracked, without_ip

    cdef int _batch(self, CaptureReader reader) noexcept nogil
    cdef bint _reserve(self) noexcept nogil
    cdef void _sweep(self) noexcept nogil
    cdef uint8_t _look(self, const Frame* frame, Packet* packet, Key* key) noexcept nogil
    cdef void _set_clock(self, int64_t time) noexcept nogil
    cdef void _fragment(self, const Packet* packet, const Frame* frame) noexcept nogil
    cdef void _related(self, const Packet* packet, const Frame* frame) noexcept nogil
    cdef void _track(
        self, const Packet* packet, const Key* key, const uint8_t* data, uint32_t size,
        int64_t time, uint32_t packets, uint64_t bytes
    ) noexcept nogil
    cdef void _start(
        self, const Packet* packet, const Key* key, const uint8_t* data, uint32_t size,
        int64_t time, uint32_t packets, uint64_t bytes
    ) noexcept nogil
    cdef uint8_t _place(self, const Packet* packet, int32_t* rule, uint8_t* reason) noexcept nogil
    cdef void _end(self, uint32_t number) noexcept nogil
