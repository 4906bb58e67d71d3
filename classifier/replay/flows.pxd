# The table of living flows: open addressing with linear probing over slots of hash and index; the
# flows themselves lie in two arrays beside it, so that probing, growing and shifting move 8 bytes
# each, and a packet touches one line of slots and one of flows.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy

from classifier.replay.conntrack cimport Flow, Tail
from classifier.engine.wire cimport Packet

cdef extern from *:
    """
    #include <stdlib.h>
    /* Half of the folded 128-bit product: cheap, and with secret factors nobody can choose addresses
       that collide (the table also only lives as long as one replay). */
    static inline uint64_t nfqc_fold(uint64_t a, uint64_t b) {
        unsigned __int128 p = (unsigned __int128)a * b;
        return (uint64_t)p ^ (uint64_t)(p >> 64);
    }
    #define nfqc_fetch(at) __builtin_prefetch((at), 1, 3)
    """
    uint64_t fold "nfqc_fold"(uint64_t a, uint64_t b) noexcept nogil
    void fetch "nfqc_fetch"(const void* at) noexcept nogil
    void* aligned_alloc(size_t alignment, size_t size) noexcept nogil

cdef struct Slot:
    uint32_t hash
    uint32_t number     # of the flow, plus one; 0: empty

cdef struct Key:
    # What makes packets belong together, besides the addresses.
    uint32_t sport
    uint32_t dport
    uint32_t hash       # the same for both directions
    uint16_t kind

cdef struct FlowTable:
    Slot* slots
    Flow* flows
    Tail* tails
    uint32_t* spare         # numbers of flows that are free
    uint32_t spare_count
    uint32_t mask           # slots - 1
    uint32_t room           # flows that fit: half of the slots
    uint32_t living
    uint64_t[4] secret

cdef enum Direction:
    ABSENT = -1
    ORIGINAL = 0
    REPLY = 1


cdef inline void hash_key(const FlowTable* table, const Packet* packet, Key* key) noexcept nogil:
    # Each end by itself, then both together in a way that does not tell which is which.
    cdef uint64_t a = fold(
        packet.src[1] ^ table.secret[0],
        packet.src[0] + (<uint64_t>key.sport << 32) + key.sport ^ table.secret[1],
    )
    cdef uint64_t b = fold(
        packet.dst[1] ^ table.secret[0],
        packet.dst[0] + (<uint64_t>key.dport << 32) + key.dport ^ table.secret[1],
    )
    key.hash = <uint32_t>(
        fold(a + b + key.kind ^ table.secret[2], (a ^ b) + table.secret[3]) >> 16
    )


cdef inline void fetch_slot(const FlowTable* table, uint32_t hash) noexcept nogil:
    fetch(&table.slots[hash & table.mask])


cdef inline void fetch_flow(const FlowTable* table, uint32_t hash) noexcept nogil:
    # The first slot nearly always is the one.
    cdef const Slot* slot = &table.slots[hash & table.mask]
    if slot.number:
        fetch(&table.flows[slot.number - 1])


cdef inline Direction compare(const Flow* flow, const Packet* packet, const Key* key) noexcept nogil:
    if flow.kind != key.kind:
        return ABSENT
    if (
        flow.src[1] == packet.src[1] and flow.dst[1] == packet.dst[1]
        and flow.src[0] == packet.src[0] and flow.dst[0] == packet.dst[0]
        and flow.sport == key.sport and flow.dport == key.dport
    ):
        return ORIGINAL
    if (
        flow.src[1] == packet.dst[1] and flow.dst[1] == packet.src[1]
        and flow.src[0] == packet.dst[0] and flow.dst[0] == packet.src[0]
        and flow.sport == key.dport and flow.dport == key.sport
    ):
        return REPLY
    return ABSENT


# The number of the flow that a packet has the addresses and ports of; ABSENT if there is none.
cdef inline Direction find(
    const FlowTable* table, const Packet* packet, const Key* key, uint32_t* number
) noexcept nogil:
    cdef uint32_t at = key.hash & table.mask
    cdef Direction direction
    while table.slots[at].number:
        if table.slots[at].hash == key.hash:
            number[0] = table.slots[at].number - 1
            direction = compare(&table.flows[number[0]], packet, key)
            if direction != ABSENT:
                return direction
        at = (at + 1) & table.mask
    return ABSENT


# Add a flow, for which `reserve` has made room; returns its number.
cdef inline uint32_t insert(FlowTable* table, const Flow* flow, const Tail* tail) noexcept nogil:
    cdef uint32_t number
    cdef uint32_t at = tail.hash & table.mask
    table.spare_count -= 1
    number = table.spare[table.spare_count]
    while table.slots[at].number:
        at = (at + 1) & table.mask
    table.slots[at].hash = tail.hash
    table.slots[at].number = number + 1
    table.flows[number] = flow[0]
    table.tails[number] = tail[0]
    table.living += 1
    return number


# Take a flow out. The slots behind it move up, so that probing never meets a gap that was filled.
cdef inline void remove(FlowTable* table, uint32_t number) noexcept nogil:
    cdef uint32_t gap = table.tails[number].hash & table.mask
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
    table.spare[table.spare_count] = number
    table.spare_count += 1
    table.living -= 1


# A table for `room` flows, a power of two. False: no memory, and nothing has changed.
cdef inline bint resize(FlowTable* table, uint32_t room) noexcept nogil:
    cdef FlowTable grown = table[0]
    cdef uint32_t at, number
    cdef size_t slots = <size_t>room * 2
    grown.mask = <uint32_t>(slots - 1)
    grown.slots = <Slot*>calloc(slots, sizeof(Slot))
    grown.flows = <Flow*>aligned_alloc(64, <size_t>room * sizeof(Flow))
    grown.tails = <Tail*>malloc(<size_t>room * sizeof(Tail))
    grown.spare = <uint32_t*>malloc(<size_t>room * sizeof(uint32_t))
    if grown.slots is NULL or grown.flows is NULL or grown.tails is NULL or grown.spare is NULL:
        free(grown.slots)
        free(grown.flows)
        free(grown.tails)
        free(grown.spare)
        return False
    if table.room:
        memcpy(grown.flows, table.flows, table.room * sizeof(Flow))
        memcpy(grown.tails, table.tails, table.room * sizeof(Tail))
        memcpy(grown.spare, table.spare, table.spare_count * sizeof(uint32_t))
        for number in range(table.mask + 1):
            if table.slots[number].number:
                at = table.slots[number].hash & grown.mask
                while grown.slots[at].number:
                    at = (at + 1) & grown.mask
                grown.slots[at] = table.slots[number]
    for number in range(room - table.room):
        grown.spare[grown.spare_count] = room - 1 - number
        grown.spare_count += 1
    grown.room = room
    release(table)
    table[0] = grown
    return True


cdef inline void release(FlowTable* table) noexcept nogil:
    free(table.slots)
    free(table.flows)
    free(table.tails)
    free(table.spare)
    table.slots = NULL
    table.flows = NULL
    table.tails = NULL
    table.spare = NULL
