# The fewest flows by weight, which is what nth comes to: a method of a user in Cython.
from libc.stdint cimport int32_t, uint32_t, uint64_t

from classifier.engine.cython_method cimport CythonMethod
from classifier.engine.method_values cimport NewFlow, UplinkFigures


cdef class Fewest(CythonMethod):
    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        cdef uint32_t i, best = 0
        for i in range(1, count):
            if (
                uplinks[i].flows * <uint64_t>uplinks[best].weight
                < uplinks[best].flows * <uint64_t>uplinks[i].weight
            ):
                best = i
        return <int32_t>best
