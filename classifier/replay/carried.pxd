# What each uplink has carried, for methods that go by load.
from libc.stdint cimport uint8_t, uint64_t

from classifier.replay.flow_log cimport PLACEMENTS

cdef class Carried:
    cdef uint64_t[2][PLACEMENTS] bytes  # from the internet, to it; by placement

    cdef void add(self, uint8_t placement, bint reply, uint64_t bytes) noexcept nogil
