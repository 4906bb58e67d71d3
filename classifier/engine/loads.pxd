# How loaded each uplink is: what was measured outside, and what flows placed since are expected to add.
#
# A measurement is always late. Without the second part every flow of a burst would go to the uplink
# that was emptiest when it was measured last.
from libc.stdint cimport int64_t, uint8_t, uint64_t

cdef enum:    # directions
    DOWN = 0
    UP = 1
    DIRECTIONS = 2

cdef struct Loads:
    # By direction and uplink id; bytes per second.
    double capacity[DIRECTIONS][256]   # 0: not known
    double rate[DIRECTIONS][256]       # as measured last
    double awaited[DIRECTIONS][256]    # of flows placed until then, what the rate does not show yet
    double expected[DIRECTIONS]        # what a flow is expected to add
    uint64_t placed[256]               # flows placed until then
    uint8_t measured[256]
    double latency[256]                # seconds; below 0: not known

cdef struct Measured:
    uint8_t id
    double rate[DIRECTIONS]
    double shown[DIRECTIONS]           # of what was awaited, what the rate shows by now
    double latency


# What follows is about the moment in which an uplink will have got `flows` flows in all.
cdef inline double rate_with(
    const Loads* loads, uint64_t flows, int direction, uint8_t id
) noexcept nogil:
    # Read without the lock, for methods of users, `placed` may be newer than `flows`.
    return (
        loads.rate[direction][id] + loads.awaited[direction][id]
        + loads.expected[direction] * <double>max(<int64_t>(flows - loads.placed[id]), <int64_t>0)
    )


cdef inline double load_in(
    const Loads* loads, uint64_t flows, int direction, uint8_t id
) noexcept nogil:
    # The share of the capacity that is in use; 0 where that is not known.
    cdef double capacity = loads.capacity[direction][id]
    return rate_with(loads, flows, direction, id) / capacity if capacity > 0 else 0


cdef inline double load_with(const Loads* loads, uint64_t flows, uint8_t id) noexcept nogil:
    # Of the direction that is fuller.
    return max(load_in(loads, flows, DOWN, id), load_in(loads, flows, UP, id))


cdef inline int fuller(const Loads* loads, uint64_t flows, uint8_t id) noexcept nogil:
    # The direction in which there is less room; where no capacity is known, that with more bytes.
    cdef double down = load_in(loads, flows, DOWN, id), up = load_in(loads, flows, UP, id)
    if loads.capacity[DOWN][id] <= 0 and loads.capacity[UP][id] <= 0:
        down = rate_with(loads, flows, DOWN, id)
        up = rate_with(loads, flows, UP, id)
    return UP if up > down else DOWN


# For ids that mean another uplink from now on.
cdef void forget_load(Loads* loads, uint8_t id) noexcept nogil

# A new measurement of one uplink. Of what its flows were expected to add, the part `fading` (0 to 1) is
# awaited on, less what has come.
cdef void take_measured(
    Loads* loads, const uint64_t* flows, const Measured* measured, double fading
) noexcept nogil
