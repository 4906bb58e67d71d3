# The table of flows: open addressing with linear probing over slots of hash and number; the flows
# themselves lie in two arrays beside it, so that probing, growing and shifting move 8 bytes each,
# and a packet touches one line of slots and one of flows.
#
# It is not engine/tables.pxd, though both probe alike and shift back what stands behind a removed
# entry: that one is bounded, evicts, and believes a digest; this one grows, forgets nothing that has
# not expired, and compares whole tuples, in both directions. What is left to share is a dozen lines,
# and its slots of 16 bytes cost a replay of 200,000 flows at once a twentieth of its time.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from classifier.engine.hashing cimport fold
from classifier.engine.wire cimport Packet
from classifier.replay.states cimport Flow, FlowExtra
from classifier.replay.tuples cimport Tuple

cdef extern from *:
    """
    #include <stdlib.h>
    #define nfqc_fetch(at) __builtin_prefetch((at), 1, 3)
    """
    void fetch "nfqc_fetch"(const void* at) noexcept nogil
    void* aligned_alloc(size_t alignment, size_t size) noexcept nogil

cdef struct Slot:
    uint32_t hash
    uint32_t number     # of the flow, plus one; 0: empty

cdef struct FlowTable:
    Slot* slots
    Flow* flows
    FlowExtra* extras
    uint32_t* unused         # numbers of flows that are free
    uint32_t unused_count
    uint32_t mask           # slots - 1
    uint32_t room           # flows that fit: half of the slots
    uint32_t count
    uint64_t[4] secret

cdef enum Direction:
    ABSENT = -1
    ORIGINAL = 0
    REPLY = 1


cdef inline void hash_tuple(
    const FlowTable* table, const Packet* packet, Tuple* tuple
) noexcept nogil:
    # Each end by itself, then both together in a way that does not tell which is which.
    cdef uint64_t a = fold(
        packet.src[1] ^ table.secret[0],
        packet.src[0] + (<uint64_t>tuple.sport << 32) + tuple.sport ^ table.secret[1],
    )
    cdef uint64_t b = fold(
        packet.dst[1] ^ table.secret[0],
        packet.dst[0] + (<uint64_t>tuple.dport << 32) + tuple.dport ^ table.secret[1],
    )
    tuple.hash = <uint32_t>(
        fold(a + b + tuple.protocols ^ table.secret[2], (a ^ b) + table.secret[3]) >> 16
    )


cdef inline void fetch_slot(const FlowTable* table, uint32_t hash) noexcept nogil:
    fetch(&table.slots[hash & table.mask])


cdef inline void fetch_flow(const FlowTable* table, uint32_t hash) noexcept nogil:
    # The first slot nearly always is the one.
    cdef const Slot* slot = &table.slots[hash & table.mask]
    if slot.number:
        fetch(&table.flows[slot.number - 1])


cdef inline Direction compare(
    const Flow* flow, const Packet* packet, const Tuple* tuple
) noexcept nogil:
    if flow.protocols != tuple.protocols:
        return ABSENT
    if (
        flow.src[1] == packet.src[1] and flow.dst[1] == packet.dst[1]
        and flow.src[0] == packet.src[0] and flow.dst[0] == packet.dst[0]
        and flow.sport == tuple.sport and flow.dport == tuple.dport
    ):
        return ORIGINAL
    if (
        flow.src[1] == packet.dst[1] and flow.dst[1] == packet.src[1]
        and flow.src[0] == packet.dst[0] and flow.dst[0] == packet.src[0]
        and flow.sport == tuple.dport and flow.dport == tuple.sport
    ):
        return REPLY
    return ABSENT


# The number of the flow that a packet has the addresses and ports of; ABSENT if there is none.
cdef inline Direction find(
    const FlowTable* table, const Packet* packet, const Tuple* tuple, uint32_t* number
) noexcept nogil:
    cdef uint32_t at = tuple.hash & table.mask
    cdef Direction direction
    while table.slots[at].number:
        if table.slots[at].hash == tuple.hash:
            number[0] = table.slots[at].number - 1
            direction = compare(&table.flows[number[0]], packet, tuple)
            if direction != ABSENT:
                return direction
        at = (at + 1) & table.mask
    return ABSENT


# Add a flow, for which `reserve` has made room; returns its number.
cdef inline uint32_t insert(
    FlowTable* table, const Flow* flow, const FlowExtra* extra
) noexcept nogil:
    cdef uint32_t number
    cdef uint32_t at = extra.hash & table.mask
    table.unused_count -= 1
    number = table.unused[table.unused_count]
    while table.slots[at].number:
        at = (at + 1) & table.mask
    table.slots[at].hash = extra.hash
    table.slots[at].number = number + 1
    table.flows[number] = flow[0]
    table.extras[number] = extra[0]
    table.count += 1
    return number


# Take a flow out. The slots behind it move up, so that probing never meets a gap that was filled.
cdef inline void remove(FlowTable* table, uint32_t number) noexcept nogil:
    cdef uint32_t gap = table.extras[number].hash & table.mask
    cdef uint32_t at, home
    while table.slots[gap].number != number + 1:
        gap = (gap + 1) & table.mask
    at = gap
    while True:
        at = (at + 1) & table.mask
        if table.slots[at].number == 0:
            break
        home = table.slots[at].hash & table.mask
        if ((at - home) & table.mask) >= ((at - gap) & table.mask):
            table.slots[gap] = table.slots[at]
            gap = at
    table.slots[gap].number = 0
    table.unused[table.unused_count] = number
    table.unused_count += 1
    table.count -= 1


# A table for `room` flows, a power of two. False: no memory, and nothing has changed.
cdef inline bint resize(FlowTable* table, uint32_t room) noexcept nogil:
    cdef FlowTable grown = table[0]
    cdef uint32_t at, number
    cdef size_t slots = <size_t>room * 2
    grown.mask = <uint32_t>(slots - 1)
    grown.slots = <Slot*>calloc(slots, sizeof(Slot))
    grown.flows = <Flow*>aligned_alloc(64, <size_t>room * sizeof(Flow))
    grown.extras = <FlowExtra*>malloc(<size_t>room * sizeof(FlowExtra))
    grown.unused = <uint32_t*>malloc(<size_t>room * sizeof(uint32_t))
    if grown.slots is NULL or grown.flows is NULL or grown.extras is NULL or grown.unused is NULL:
        free(grown.slots)
        free(grown.flows)
        free(grown.extras)
        free(grown.unused)
        return False
    if table.room:
        memcpy(grown.flows, table.flows, table.room * sizeof(Flow))
        memcpy(grown.extras, table.extras, table.room * sizeof(FlowExtra))
        memcpy(grown.unused, table.unused, table.unused_count * sizeof(uint32_t))
        for number in range(table.mask + 1):
            if table.slots[number].number:
                at = table.slots[number].hash & grown.mask
                while grown.slots[at].number:
                    at = (at + 1) & grown.mask
                grown.slots[at] = table.slots[number]
    for number in range(room - table.room):
        grown.unused[grown.unused_count] = room - 1 - number
        grown.unused_count += 1
    grown.room = room
    release(table)
    table[0] = grown
    return True


cdef inline void release(FlowTable* table) noexcept nogil:
    free(table.slots)
    free(table.flows)
    free(table.extras)
    free(table.unused)
    table.slots = NULL
    table.flows = NULL
    table.extras = NULL
    table.unused = NULL
