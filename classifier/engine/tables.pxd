# Bounded hash tables with expiry, for sticky entries and for flows in flight.
#
# A table knows its keys by a 64-bit digest alone: it is keyed with a secret, so nobody can look for
# two keys that share one, and by chance a key meets another's entry once in 2^64 / entries
# look-ups (with a million entries: once in ten million million). Short slots are what makes the
# tables fast: four in a cache line, so that a look-up is one access to memory.
#
# Open addressing with linear probing; a removal shifts the entries behind it back, so there are no
# tombstones. A slot is `digest`, `life`, and in tables that want them two words more. `life` holds
# the millisecond from which the entry is no longer valid, and below it the user's tag. It is never
# 0 in an entry, and 0 in an empty slot.
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from classifier.engine.hashing cimport reduce

cdef enum:
    TAG_BITS = 16
    TAG_MASK = 0xFFFF
    # Slots looked at by each insertion, for entries that have expired or have to go.
    SWEPT_SLOTS = 6

cdef struct Slot:
    uint64_t digest
    uint64_t life

cdef struct Table:
    Slot* slots
    size_t slot_count
    int shift           # 0; 1 in a table with values, where every other slot is one
    size_t capacity     # most entries
    size_t entries      # entries there are, expired ones included until they are swept
    size_t hand         # slot where the next sweep begins


cdef inline uint64_t latest() noexcept nogil:
    # The last millisecond that an entry may expire at; 1,100 years. Leaves three bits of `life`.
    return (<uint64_t>1 << (61 - TAG_BITS)) - 1


cdef inline uint64_t expires(const Slot* entry) noexcept nogil:
    return entry.life >> TAG_BITS


cdef inline uint64_t tag(const Slot* entry) noexcept nogil:
    return entry.life & TAG_MASK


cdef inline void set_life(Slot* entry, uint64_t when, uint64_t tag) noexcept nogil:
    entry.life = (max(<uint64_t>1, min(when, latest())) << TAG_BITS) | tag


cdef inline uint64_t* value(Slot* entry) noexcept nogil:
    # Two words, in tables that have values.
    return <uint64_t*>(entry + 1)


cdef inline Slot* slot_at(const Table* table, size_t index) noexcept nogil:
    return table.slots + (index << table.shift)


cdef inline size_t after(const Table* table, size_t index) noexcept nogil:
    return index + 1 if index + 1 < table.slot_count else 0


cdef extern from *:
    """
    #define nfqc_prefetch(at) __builtin_prefetch((at), 1, 3)
    """
    void prefetch_line "nfqc_prefetch"(const void* at) noexcept nogil


cdef inline void prefetch(const Table* table, uint64_t digest) noexcept nogil:
    # Most look-ups end within three slots.
    cdef Slot* slot = slot_at(table, reduce(digest, table.slot_count))
    prefetch_line(slot)
    prefetch_line(slot + (<size_t>2 << table.shift))


# The entry of a key, expired or not; if it has none, the empty slot where look-ups for it end.
cdef inline Slot* find(const Table* table, uint64_t digest) noexcept nogil:
    cdef size_t index = reduce(digest, table.slot_count)
    cdef Slot* entry = slot_at(table, index)
    while entry.life and entry.digest != digest:
        index = after(table, index)
        entry = slot_at(table, index)
    return entry


# Makes an empty table for `capacity` entries; MemoryError when there is no memory for it.
cdef int create(Table* table, size_t capacity, bint with_values) except -1
cdef void destroy(Table* table) noexcept nogil

# Makes room for one more, then an entry for a key that is not there; `slot` is what `find` gave, and
# nothing has changed in the table since. Never fails: when the table is full, the entry that expires
# soonest among a few goes. The caller writes the value.
cdef Slot* insert(
    Table* table, Slot* slot, uint64_t digest, uint64_t when, uint64_t tag, uint64_t now
) noexcept nogil

cdef void remove(Table* table, Slot* entry) noexcept nogil

# Removes all entries with this tag.
cdef void remove_tagged(Table* table, uint64_t tag) noexcept nogil
