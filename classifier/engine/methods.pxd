# How a balancer chooses among the uplinks that can take a flow: nth, weighted, hash.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef struct WeightedUplink:
    int64_t weight
    int64_t current_weight    # of turns: flows that the uplink is behind, times the sum of weights
    uint64_t salt             # hash: of the name
    double figure             # least-loaded: what the uplinks are compared by
    bint equal                # methods that go by load: as good as the best for the flow at hand
    uint8_t id
    uint8_t tier

cdef struct Choice:
    # The uplinks that can take a flow, in the order of the configuration.
    WeightedUplink* uplinks
    uint32_t count
    int64_t total        # sum of weights
    bint by_deadline     # nth: which rule to follow

# Starts the turns of nth anew, after the weights have been written.
cdef void begin_turns(Choice* choice) noexcept nogil

# Each returns an uplink id; the choice must not be empty.
cdef uint8_t next_turn(Choice* choice) noexcept nogil
cdef uint8_t drawn(const Choice* choice, uint64_t* random) noexcept nogil
cdef uint8_t rendezvous(const Choice* choice, uint64_t digest) noexcept nogil
