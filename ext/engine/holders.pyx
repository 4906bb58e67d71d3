"""Which local host holds how many entries of a table."""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cdef enum:
    FEWEST_HOLDERS = 16


cdef int create_holders(Holders* holders, size_t capacity) except -1:
    cdef size_t room = FEWEST_HOLDERS
    # Twice as many as can be needed, if that is few.
    while room < capacity * 2 and room < <size_t>1 << HOLDER_BITS:
        room *= 2
    memset(holders, 0, sizeof(Holders))
    holders.holders = <Holder*>calloc(room, sizeof(Holder))
    if holders.holders == NULL:
        raise MemoryError("no memory for the holders of sticky entries")
    holders.mask = <uint32_t>(room - 1)
    return 0


cdef void destroy_holders(Holders* holders) noexcept nogil:
    free(holders.holders)
    memset(holders, 0, sizeof(Holders))


cdef uint32_t holder_of(Holders* holders, uint64_t digest) noexcept nogil:
    cdef uint32_t vacant = 0, number
    cdef uint32_t home = home_of(holders, digest)
    cdef int probe
    cdef Holder* holder
    for probe in range(HOLDER_PROBES):
        number = (home + <uint32_t>probe) & holders.mask
        holder = &holders.holders[number]
        if holder.entries == 0:
            if vacant == 0:
                vacant = number
        elif holder.digest == digest and number:
            return number
    if vacant:
        holders.holders[vacant].digest = digest
    return vacant
