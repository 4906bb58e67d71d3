"""The base class of methods in Cython; see cython_method.pxd."""
from libc.stdlib cimport calloc, free

from classifier.engine.method_values cimport Flow, LiveUplink


cdef class CythonMethod:
    """What a method in Cython is derived from: it has `pick` instead of `select`.

    Constructor, `validate` and `prepare` are those of a method in Python.
    """

    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        return -1

    def select(self, Flow flow not None, tuple uplinks not None, double now):
        """The same contract as a method in Python has, for tests: one of `uplinks`, by `pick`."""
        cdef NewFlow told
        cdef UplinkFigures* figures
        cdef Py_ssize_t i, count = len(uplinks)
        cdef int32_t chosen
        name = None if flow.in_interface is None else flow.in_interface.encode()
        told.packet = &flow.packet
        told.user = flow.uid
        told.in_interface = NULL
        if name is not None:
            told.in_interface = <const char*>(<bytes>name)
        figures = <UplinkFigures*>calloc(count + 1, sizeof(UplinkFigures))
        if figures == NULL:
            raise MemoryError("no memory for the uplinks of a call")
        try:
            for i in range(count):
                figures[i] = (<LiveUplink?>uplinks[i]).figures
            chosen = self.pick(&told, figures, <uint32_t>count, now)
        finally:
            free(figures)
        if not 0 <= chosen < count:
            raise ValueError(f"pick returned {chosen}, which is none of {count} uplinks")
        return uplinks[chosen]


cdef int32_t call(
    CythonMethod method, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
) noexcept nogil:
    return method.pick(flow, uplinks, count, now)


cdef Pick pick_of(CythonMethod method):
    return <Pick>call
