# How many entries of a table each local host holds, so that none can push out those of the others.
#
# Hosts are known by a keyed digest of their address, in a small hash table. A host keeps its number
# there as long as it holds entries; those for whom there is no room hold theirs together, as number
# 0. Entries carry the number of their holder.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    HOLDER_BITS = 12
    # Places where a host may stand, by its digest: two cache lines.
    SET_SIZE = 8

cdef struct Holder:
    uint64_t digest
    uint64_t entries

cdef struct Holders:
    Holder* holders     # NULL: nobody counts
    uint32_t mask       # numbers there are, less one
    uint32_t count      # hosts that hold entries

# For a table of at most `capacity` entries; MemoryError.
cdef int create_holders(Holders* holders, size_t capacity) except -1
cdef void destroy_holders(Holders* holders) noexcept nogil


cdef inline Holder* set_of(const Holders* holders, uint64_t digest) noexcept nogil:
    # The SET_SIZE places where a host may stand.
    return holders.holders + ((digest >> 32) & (holders.mask & ~<uint32_t>(SET_SIZE - 1)))


cdef inline uint32_t holder_of(Holders* holders, uint64_t digest) noexcept nogil:
    # The number of a host, which holds nothing yet if it is new.
    cdef Holder* places = set_of(holders, digest)
    cdef Holder* holder = holders.holders
    cdef int i
    for i in range(SET_SIZE):
        if places[i].digest == digest and places[i].entries:
            holder = places + i
    if holder == holders.holders:
        for i in range(SET_SIZE):
            if places[i].entries == 0 and places + i != holders.holders:
                holder = places + i
                holder.digest = digest
                break
    return <uint32_t>(holder - holders.holders)


cdef inline void hold(Holders* holders, uint32_t number) noexcept nogil:
    holders.count += holders.holders[number].entries == 0
    holders.holders[number].entries += 1


cdef inline void let_go(Holders* holders, uint32_t number) noexcept nogil:
    holders.holders[number].entries -= 1
    holders.count -= holders.holders[number].entries == 0


cdef inline bint holds_much(const Holders* holders, uint32_t number, size_t capacity) noexcept nogil:
    # More than half of what there would be for each if the table were shared out alike. Those who
    # hold no more than that hold less than half of a full table together, so that every other entry
    # met, on average, is of somebody who does.
    return holders.holders[number].entries * 2 * holders.count > capacity
