# An uplink as a fluid: what flows are under way on it, and how fast each goes.
from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef enum:
    # Of durations, each 2 % longer than the one before: from a microsecond to more than a year.
    STEPS = 1600

cdef struct Transfer:
    # A flow under way.
    double ends          # `Link.level` at which its last byte has come
    double began         # seconds
    uint64_t bytes
    uint32_t record      # of the flow log
    int32_t rule         # index into policy.rules; -1: none
    uint64_t remote[2]
    uint64_t number      # of all flows; who began first ends first

cdef struct Durations:
    uint64_t count
    double sum                  # seconds
    uint64_t[STEPS] steps

cdef struct Link:
    double capacity      # bytes per second; infinite where there is none
    double limit         # bytes per second that one flow gets at most
    double level         # bytes that a flow has had which was there all the time
    double now           # seconds at which `level` was
    double next_end      # seconds at which the next flow ends; infinite without flows
    Transfer* heap       # the one that ends next is the first
    uint32_t count
    uint32_t room
    double carried       # bytes
    double measured      # `carried` at the last measurement
    double peak          # bytes per second, the highest of all measurements
    uint32_t most        # flows at the same time
    uint64_t cut         # flows that were ended before their last byte
    Durations* durations

# Seconds in the middle of a step.
cdef double middle(int step) noexcept nogil

cdef int create_link(Link* link, double capacity, double limit) except -1
cdef void destroy_link(Link* link) noexcept nogil

# Makes room for one flow more; False: no memory.
cdef bint reserve_transfer(Link* link) noexcept nogil

# Bytes that it will have carried at `now`, if no flow begins or ends before.
cdef double carried_by(const Link* link, double now) noexcept nogil

# Lets the time go on to `now`, at most to `next_end`.
cdef void catch_up(Link* link, double now) noexcept nogil

# A flow that begins now; there is room for it.
cdef void begin_transfer(Link* link, const Transfer* transfer) noexcept nogil

# Ends the flow that ends at `next_end`.
cdef Transfer end_transfer(Link* link) noexcept nogil

# Takes all flows away.
cdef void clear_link(Link* link) noexcept nogil
