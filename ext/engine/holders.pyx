"""Which local host holds how many entries of a table."""
from libc.stdlib cimport free
from libc.string cimport memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size) noexcept

cdef enum:
    CACHE_LINE = 64
    FEWEST_HOLDERS = 16


cdef int create_holders(Holders* holders, size_t capacity) except -1:
    cdef size_t room = FEWEST_HOLDERS
    # Twice as many as can be needed, if that is few.
    while room < capacity * 2 and room < <size_t>1 << HOLDER_BITS:
        room *= 2
    memset(holders, 0, sizeof(Holders))
    if posix_memalign(<void**>&holders.holders, CACHE_LINE, room * sizeof(Holder)) != 0:
        holders.holders = NULL
        raise MemoryError("no memory for the holders of sticky entries")
    memset(holders.holders, 0, room * sizeof(Holder))
    holders.mask = <uint32_t>(room - 1)
    return 0


cdef void destroy_holders(Holders* holders) noexcept nogil:
    free(holders.holders)
    memset(holders, 0, sizeof(Holders))
