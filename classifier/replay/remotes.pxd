# The remotes that flows went to, as many as fit.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from classifier.engine.hashing cimport HashKey

cdef enum:
    REMOTES = 8192       # the most that are counted at once
    SLOTS = 16384        # a power of two

cdef struct Remote:
    uint64_t address[2]
    uint64_t flows
    uint64_t bytes
    uint64_t columns     # a bit for each way its flows went by; the last stands for all from 63 on
    uint8_t family       # 0: an empty slot

cdef class Remotes:
    cdef Remote* slots
    cdef uint32_t count
    cdef HashKey key
    cdef readonly uint64_t forgotten    # entries that had to make room for others

    cdef void add(
        self, const uint64_t* address, uint8_t family, uint32_t column, uint64_t bytes
    ) noexcept nogil
    cdef Remote* _find(self, const uint64_t* address, uint8_t family) noexcept nogil
    cdef void _forget_half(self) noexcept nogil
