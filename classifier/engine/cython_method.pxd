# A method of one's own in Cython, at the speed of those built in.
#
# Another package cimports this and writes
#
#     from classifier.engine.cython_method cimport CythonMethod
#     from classifier.engine.method_values cimport NewFlow, UplinkFigures
#
#     cdef class Mine(CythonMethod):
#         cdef int32_t pick(
#             self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
#         ) noexcept nogil:
#             ...
#
# and the configuration names it like one in Python: method = "package.module:Mine".
from libc.stdint cimport int32_t, uint32_t

from classifier.engine.method_values cimport NewFlow, UplinkFigures

cdef class CythonMethod:
    # The index of the uplink for a flow; any other number is an error, and the weights decide. There
    # is at least one uplink. What the pointers lead to holds during the call only. `now` is in seconds.
    # The engine's lock is not held: each queue has a thread, and calls of several may overlap.
    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil

ctypedef int32_t (*Pick)(
    void* method, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
) noexcept nogil

# How the engine calls a method that it keeps as a pointer.
cdef Pick pick_of(CythonMethod method)
