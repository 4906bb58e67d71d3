# How many entries of a table each local host holds, so that none can push out those of the others.
#
# Hosts are known by a keyed digest of their address, in a small hash table. A host keeps its number
# there as long as it holds entries; those for whom there is no room hold theirs together, as number
# 0. Entries carry the number of their holder.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    HOLDER_BITS = 12
    # Numbers that a host may have, by its digest: two cache lines.
    HOLDER_PROBES = 8
    TOGETHER = 0

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

# The number of a host, which holds nothing yet if it is new.
cdef uint32_t holder_of(Holders* holders, uint64_t digest) noexcept nogil


cdef inline uint32_t home_of(const Holders* holders, uint64_t digest) noexcept nogil:
    # The first number that a host may have.
    return <uint32_t>(digest >> 32) & holders.mask


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
