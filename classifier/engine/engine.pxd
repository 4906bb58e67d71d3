# The engine: parse -> in-flight table -> rules -> sticky table -> method -> mark.
cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.balancers cimport Balancer, StickyKey
from classifier.engine.compiled cimport Compiled
from classifier.engine.hashing cimport HashKey
from classifier.engine.mutex cimport pthread_mutex_t
from classifier.engine.tables cimport Slot, Table
from classifier.engine.wire cimport Packet

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
    # What is known of a packet between the passes of `decide`.
    Packet packet
    int fault                  # what `parse` said
    uint64_t flow_digest       # of addresses, ports and protocol
    bint has_rule              # `rule` and, for a balancer that needs it, `sticky` are known
    int32_t rule
    StickyKey sticky

cdef struct Counts:
    uint64_t packets
    uint64_t malformed
    uint64_t in_flight
    uint64_t direct
    uint64_t dropped
    uint64_t uplinks[256]      # by id

@cython.final
cdef class Engine:
    cdef readonly object policy
    cdef pthread_mutex_t lock
    cdef uint64_t now          # milliseconds, the latest seen
    cdef HashKey hash_key
    cdef uint64_t random
    cdef Compiled compiled
    cdef Table in_flight
    cdef Counts counts
    cdef object naming              # held while decisions are put in the words of their policy
    cdef object replacing           # held while another policy is made ready
    cdef dict interfaces            # name to number, of those that the policy names
    cdef dict numbered_interfaces   # of all that have a number
    cdef tuple names                # uplink names by id

    # Decide `count` packets at `now` (milliseconds, any epoch, never going back). Takes the
    # engine's lock once, so several queue threads may share one engine. Allocates nothing.
    cdef void decide(self, Item* items, size_t count, uint64_t now) noexcept nogil

    # The same for one packet that is parsed already and not malformed, for those who follow flows
    # themselves and ask about the first packet of each. A flow that is new to them may still be in
    # flight here, when the same ports are used again within five seconds; so it is on the live
    # queue too.
    cdef void decide_parsed(
        self, const Packet* packet, uint16_t interface, int64_t uid, uint64_t now, Decision* decision
    ) noexcept nogil

    # The steps of a decision: what the flow is known by, the rule that takes it, and then one of
    # three ways to answer it, unless it is in flight.
    cdef void digest_flow(self, Lookup* lookup) noexcept nogil
    cdef void find_rule(self, Lookup* lookup, uint16_t interface, int64_t uid) noexcept nogil
    cdef void decide_packet(
        self, Lookup* lookup, uint16_t interface, int64_t uid, Decision* decision
    ) noexcept nogil
    cdef bint find_in_flight(self, Lookup* lookup, Decision* decision, Slot** slot) noexcept nogil
    cdef bint carry_over(self, Slot* entry) noexcept nogil
    cdef void use_target(self, Lookup* lookup, Decision* decision) noexcept nogil
    cdef uint8_t pick_uplink(
        self, Balancer* balancer, Lookup* lookup, uint8_t* reason
    ) noexcept nogil
    cdef void use_uplink(self, uint8_t uplink, uint8_t reason, Decision* decision) noexcept nogil
    cdef void use_direct(self, uint8_t reason, Decision* decision) noexcept nogil
    cdef void use_drop(self, Decision* decision) noexcept nogil
    cdef object decision_value(self, const Decision* decision)
