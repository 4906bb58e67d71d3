"""The remotes with most traffic, in room that does not grow with the capture.

When there are too many, the half with fewest bytes is forgotten. A remote with much traffic stays, as
it has more than those by then; what is said of one is exact until the first time, and at least what
it was from then on.
"""

import os
import struct

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, qsort
from libc.string cimport memcpy, memset

from classifier.engine.hashing cimport address_digest
from classifier.replay.flow_log cimport address_text


# No two are equal, so that which ones are forgotten does not depend on the random key of the slots.
cdef int _more_bytes_first(const void* a, const void* b) noexcept nogil:
    cdef const Remote* one = <const Remote*>a
    cdef const Remote* other = <const Remote*>b
    if one.bytes != other.bytes:
        return 1 if one.bytes < other.bytes else -1
    if one.flows != other.flows:
        return 1 if one.flows < other.flows else -1
    if one.family != other.family:
        return 1 if one.family < other.family else -1
    if one.address[0] != other.address[0]:
        return 1 if one.address[0] > other.address[0] else -1
    return (one.address[1] > other.address[1]) - (one.address[1] < other.address[1])


cdef class Remotes:
    def __cinit__(self):
        self.slots = <Remote*>calloc(SLOTS, sizeof(Remote))
        if self.slots is NULL:
            raise MemoryError
        self.key.k0, self.key.k1 = struct.unpack("QQ", os.urandom(16))

    def __dealloc__(self):
        free(self.slots)

    def top(self, count):
        """The `count` remotes with most bytes: address, flows, bytes, bits of columns."""
        cdef uint32_t at
        cdef Remote* remote
        found = []
        for at in range(SLOTS):
            remote = &self.slots[at]
            if remote.family:
                found.append((
                    address_text(remote.address, remote.family),
                    remote.flows, remote.bytes, remote.columns,
                ))
        return sorted(found, key=lambda entry: (-entry[2], -entry[1], entry[0]))[:count]

    cdef void add(
        self, const uint64_t* address, uint8_t family, uint32_t column, uint64_t bytes
    ) noexcept nogil:
        cdef Remote* remote = self._find(address, family)
        if remote.family == 0:
            if self.count == REMOTES:
                self._forget_half()
                remote = self._find(address, family)
            self.count += 1
            memcpy(remote.address, address, sizeof(remote.address))
            remote.family = family
        remote.flows += 1
        remote.bytes += bytes
        remote.columns |= <uint64_t>1 << min(column, <uint32_t>63)

    # The slot of an address, or the empty one where it belongs.
    cdef Remote* _find(self, const uint64_t* address, uint8_t family) noexcept nogil:
        cdef uint32_t at = <uint32_t>(address_digest(&self.key, address) & (SLOTS - 1))
        cdef Remote* remote = &self.slots[at]
        while remote.family and (
            remote.address[0] != address[0] or remote.address[1] != address[1]
            or remote.family != family
        ):
            at = (at + 1) & (SLOTS - 1)
            remote = &self.slots[at]
        return remote

    cdef void _forget_half(self) noexcept nogil:
        cdef Remote* kept = <Remote*>calloc(REMOTES // 2, sizeof(Remote))
        cdef uint32_t i
        if kept is NULL:    # all of them, then
            self.forgotten += self.count
            self.count = 0
            memset(self.slots, 0, SLOTS * sizeof(Remote))
            return
        qsort(self.slots, SLOTS, sizeof(Remote), _more_bytes_first)
        memcpy(kept, self.slots, REMOTES // 2 * sizeof(Remote))
        memset(self.slots, 0, SLOTS * sizeof(Remote))
        self.count = 0
        for i in range(<uint32_t>(REMOTES // 2)):
            if kept[i].family:
                self._find(kept[i].address, kept[i].family)[0] = kept[i]
                self.count += 1
        self.forgotten += REMOTES - self.count
        free(kept)
