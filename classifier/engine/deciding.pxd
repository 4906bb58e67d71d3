# How a flow is decided: parse -> in-flight table -> rules -> sticky table -> method -> mark.
#
# All of it happens under the engine's lock, in steps over a few packets at once.
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.balancers cimport StickyKey
from classifier.engine.compiled cimport Compiled
from classifier.engine.hashing cimport HashKey
from classifier.engine.loads cimport Loads
from classifier.engine.method_values cimport UplinkFigures
from classifier.engine.mutex cimport pthread_mutex_t
from classifier.engine.tables cimport Table
from classifier.engine.wire cimport Packet

cdef enum:
    # Packets looked at together, so that their memory accesses overlap.
    BATCH = 64

cdef enum Action:
    ACCEPT = 0        # with the decision's mark merged under the mask
    DROP_PACKET = 1
    UNTOUCHED = 2     # malformed: accept, our mark bits as if the packet had never been queued

cdef struct Decision:
    uint32_t mark     # our bits only; marks.direct for direct; 0 for dropped and untouched
    int32_t rule      # index into policy.rules, -1 for none
    uint8_t uplink    # uplink id, 0 for none
    uint8_t reason    # index into classifier.engine.decision.REASONS
    uint8_t action    # an Action

cdef struct Item:
    # One packet on its way through the engine.
    const uint8_t* data      # from the IP header on
    uint32_t size            # bytes at data
    uint16_t interface       # Engine.interface_number(name); 0: unknown
    int64_t uid              # user id of the own flow's socket; -1: unknown
    Decision decision        # written by the engine

cdef struct Lookup:
    # What is known of a packet between the steps.
    Packet packet
    int64_t uid
    uint16_t interface
    int fault                  # what `parse` said
    uint64_t flow_digest       # of addresses, ports and protocol
    bint has_rule              # `rule` and, for a balancer that needs it, `sticky` are known
    int32_t rule
    StickyKey sticky
    bint asked                 # a method in Python was asked about this flow,
    uint64_t asked_key         # by this sticky key,
    uint16_t asked_for         # for this balancer,
    uint8_t answer             # and gave this uplink id; 0: it failed

cdef struct Counts:
    uint64_t packets
    uint64_t malformed
    uint64_t in_flight
    uint64_t direct
    uint64_t dropped
    uint64_t uplinks[256]      # flows placed, by id

cdef struct State:
    # Everything that a decision reads or writes; only with the lock held.
    pthread_mutex_t lock
    uint64_t now               # milliseconds, the latest seen
    int64_t epoch              # what methods of users are told is so much later
    uint64_t changes           # how often policy or usable uplinks have changed
    HashKey hash_key
    uint64_t random
    Compiled compiled
    Table in_flight
    Counts counts
    Loads loads

# First step: parses packets, and finds the rules of those that are not in flight.
cdef void look_up_packets(
    State* state, const Item* items, Lookup* lookups, size_t count
) noexcept nogil
cdef void digest_flow(State* state, Lookup* lookup) noexcept nogil

# For flows that a method in Python is to be asked about, between the steps: the number of the
# balancer, or -1 if a table knows the flow or another kind of method places it.
cdef int32_t to_be_asked(State* state, Lookup* lookup) noexcept nogil

# Whether a method in Python was asked, under this policy, and its balancer uses what it answered.
cdef bint holds_answer(const State* state, const Lookup* lookup) noexcept nogil

# What an uplink's figures are once `more` flows are placed on it, but for its weight and tier.
cdef void write_figures(
    const State* state, uint8_t id, uint64_t more, UplinkFigures* figures
) noexcept nogil


cdef inline double seconds(const State* state) noexcept nogil:
    # The time that methods of users are told.
    return <double>(<int64_t>state.now + state.epoch) / 1000.0


# Last step: decides packets in their order.
cdef void decide_packets(
    State* state, Item* items, Lookup* lookups, size_t count
) noexcept nogil
cdef void decide_packet(State* state, Lookup* lookup, Decision* decision) noexcept nogil
