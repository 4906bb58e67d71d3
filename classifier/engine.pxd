# The engine: parse -> in-flight table -> rules -> sticky table -> method -> mark.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.wire cimport Packet

cdef enum Verdict:
    ACCEPT = 0        # answer with the decision's mark merged under the mask
    DROP_PACKET = 1
    UNTOUCHED = 2     # malformed: accept, our mark bits as if the packet had never been queued

cdef struct Decision:
    uint32_t mark     # our bits only; marks.direct for direct; 0 for dropped and untouched
    int32_t rule      # index into policy.rules, -1 for none
    uint8_t uplink    # uplink id, 0 for none
    uint8_t reason    # index into classifier.decision.REASONS
    uint8_t verdict   # a Verdict

cdef struct Item:
    # One packet on its way through the engine.
    const uint8_t* data      # from the IP header on
    uint32_t size            # bytes at data
    uint16_t interface       # Engine.interface_number(name); 0: unknown
    int64_t uid              # user id of the own flow's socket; -1: unknown
    Decision decision        # written by the engine

cdef class Engine:
    # ... private fields of the engine ...

    # Decide `count` packets at `now` (milliseconds, any epoch, never going back). Takes the
    # engine's lock once, so several queue threads may share one engine. Allocates nothing.
    cdef void decide(self, Item* items, size_t count, uint64_t now) noexcept nogil

    # The same for one packet that is parsed already, known to be the first of its flow.
    cdef void decide_parsed(
        self, const Packet* packet, uint16_t interface, int64_t uid, uint64_t now, Decision* decision
    ) noexcept nogil
