# Flows of a capture, tracked as conntrack would and decided by the engine.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.engine cimport Engine
from classifier.engine.wire cimport Packet
from classifier.replay.arrival cimport Arrival
from classifier.replay.carried cimport Carried
from classifier.replay.flow_log cimport DecidedFlow, FlowLog
from classifier.replay.flows cimport FlowTable
from classifier.replay.fragments cimport FragmentTable
from classifier.replay.expectations cimport Helpers
from classifier.replay.link cimport Frame
from classifier.replay.networks cimport Network
from classifier.replay.observer cimport Observer
from classifier.replay.reader cimport CaptureReader
from classifier.replay.states cimport FlowPacket

cdef class Tracker:
    cdef Engine engine
    cdef readonly FlowLog log
    cdef Observer observer          # or None
    cdef Carried carried            # or None
    cdef bint watched               # one of the two is there
    cdef FlowTable table
    cdef FragmentTable fragments4, fragments6
    cdef Network* lan
    cdef uint32_t lan_count
    cdef uint16_t interface
    cdef bint reads_ftp
    cdef Helpers helpers
    cdef object script              # a `Script`; None without one
    cdef uint64_t script_at         # milliseconds; when it is to run next
    cdef object error               # what kept the script from running
    cdef bint started
    cdef int64_t first_time         # of the capture, nanoseconds since 1970
    cdef uint64_t now               # milliseconds since then; never goes back
    cdef uint64_t packets, malformed, untracked, without_ip

    cdef int _batch(self, CaptureReader reader) noexcept nogil
    cdef bint _reserve(self) noexcept nogil
    cdef void _sweep(self) noexcept nogil
    cdef void _set_clock(self, int64_t time) noexcept nogil
    cdef void _fragment(self, const Packet* packet, const Frame* frame) noexcept nogil
    cdef void _icmp_error(self, const Packet* packet, const Frame* frame) noexcept nogil
    cdef void _track(self, const Arrival* arrival) noexcept nogil
    cdef bint _expired(self, uint32_t number) noexcept nogil
    cdef void _read(
        self, uint32_t number, const Arrival* arrival, const FlowPacket* moving
    ) noexcept nogil
    cdef void _start(self, const Arrival* arrival) noexcept nogil
    cdef bint _decide(self, const Packet* packet, DecidedFlow* decided) noexcept nogil
    cdef bint _related(
        self, const Packet* packet, DecidedFlow* decided, int64_t* parent
    ) noexcept nogil
    cdef void _show_carried(self, uint32_t number, bint reply, uint64_t bytes) noexcept nogil
    cdef void _end(self, uint32_t number) noexcept nogil
    cdef void _close(self, uint32_t number) noexcept nogil
    cdef void _flush(self, uint8_t uplink, uint8_t family) noexcept nogil
    cdef void _run_script(self) noexcept nogil
