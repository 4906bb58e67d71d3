"""Loads of uplinks; see loads.pxd."""


cdef void forget_load(Loads* loads, uint8_t id) noexcept nogil:
    cdef int direction
    for direction in range(DIRECTIONS):
        loads.rate[direction][id] = 0
        loads.awaited[direction][id] = 0
    loads.placed[id] = 0
    loads.measured[id] = False
    loads.latency[id] = -1


cdef void take_measured(
    Loads* loads, const uint64_t* flows, const Measured* measured, double fading
) noexcept nogil:
    cdef uint8_t id = measured.id
    cdef int direction
    for direction in range(DIRECTIONS):
        loads.awaited[direction][id] = max(0.0, fading * (
            loads.awaited[direction][id]
            + loads.expected[direction] * <double>(flows[id] - loads.placed[id])
        ) - measured.shown[direction])
        loads.rate[direction][id] = measured.rate[direction]
    loads.placed[id] = flows[id]
    loads.latency[id] = measured.latency
    loads.measured[id] = True
