# What a method of one's own is told: the flow, and the uplinks that can take it.
cimport cython
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint64_t

from classifier.engine.wire cimport Packet

cdef struct NewFlow:
    const Packet* packet
    const char* in_interface   # UTF-8; NULL: an own flow, or one of an interface that no policy names
    int64_t user               # id of the own flow's user; -1: not known

cdef struct UplinkFigures:
    int64_t weight             # in this balancer
    uint64_t flows             # placed so far
    double rate                # bytes per second, of the direction that is fuller; below 0: not known
    double capacity            # of that direction; below 0: not known
    double latency             # seconds; below 0: not known
    uint8_t id
    uint8_t tier

@cython.final
cdef class Flow:
    cdef Packet packet
    cdef int64_t uid
    cdef readonly object in_interface
    cdef object _src
    cdef object _dst

@cython.final
cdef class LiveUplink:
    cdef readonly str name
    cdef UplinkFigures figures

cdef Flow flow_of(const Packet* packet, object in_interface, int64_t uid)
