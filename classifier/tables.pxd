# Bounded hash tables with expiry, for sticky entries and for flows in flight.
#
# Open addressing with linear probing; a removal shifts the entries behind it back, so there are no
# tombstones. A slot is a few words: first `life`, then the key, then what the user of the table
# keeps there. `life` holds, from its highest bit down:
#
#     43 bits  expires: milliseconds; the entry is valid while now < expires
#     12 bits  displacement: slots between the entry and its hash's own slot, so that shifting back
#              needs no hash
#      9 bits  tag: belongs to the user of the table
#
# An empty slot has life 0, so an entry must expire later than 0.
from libc.stddef cimport size_t
from libc.stdint cimport uint64_t

from classifier.hashing cimport reduce

cdef enum:
    EXPIRES_SHIFT = 21
    TAG_MASK = 511
    # Slots looked at by each insertion, for entries that have expired.
    SWEPT_SLOTS = 8

cdef struct Table:
    uint64_t* slots
    size_t slot_count
    size_t slot_words
    size_t key_words
    size_t capacity     # most entries
    size_t entries      # entries there are, expired ones included until they are swept
    size_t hand         # slot where the next sweep begins


cdef inline uint64_t latest() noexcept nogil:
    # The last millisecond that `life` can hold, 278 years.
    return (<uint64_t>1 << 43) - 1


cdef inline uint64_t expires(const uint64_t* entry) noexcept nogil:
    return entry[0] >> EXPIRES_SHIFT


cdef inline void set_expires(uint64_t* entry, uint64_t when) noexcept nogil:
    when = min(when, latest())
    entry[0] = (when << EXPIRES_SHIFT) | (entry[0] & ((<uint64_t>1 << EXPIRES_SHIFT) - 1))


cdef inline uint64_t tag(const uint64_t* entry) noexcept nogil:
    return entry[0] & TAG_MASK


cdef inline void set_tag(uint64_t* entry, uint64_t value) noexcept nogil:
    entry[0] = (entry[0] & ~<uint64_t>TAG_MASK) | value


cdef extern from *:
    """
    #define nfqc_prefetch(at) __builtin_prefetch((at), 1, 3)
    """
    void prefetch_line "nfqc_prefetch"(const void* at) noexcept nogil


cdef inline void prefetch(const Table* table, uint64_t digest) noexcept nogil:
    cdef const uint64_t* slot
    slot = table.slots + reduce(digest, table.slot_count) * table.slot_words
    prefetch_line(slot)
    prefetch_line(slot + table.slot_words - 1)


# Makes an empty table for `capacity` entries; -1 and MemoryError when there is no memory for it.
cdef int create(Table* table, size_t capacity, size_t key_words, size_t value_words) except -1
cdef void destroy(Table* table) noexcept nogil

# The entry of a key whose tag is `tag` under `tag_bits`, expired or not, or NULL.
cdef uint64_t* find(
    const Table* table, const uint64_t* key, uint64_t tag, uint64_t tag_bits, uint64_t digest
) noexcept nogil

# Makes room for one more, then an entry for a key that is not there. Never fails: when the table is
# full, the entry that expires soonest among a few goes. The caller writes the words behind the key.
cdef uint64_t* insert(
    Table* table, const uint64_t* key, uint64_t tag, uint64_t digest, uint64_t when, uint64_t now
) noexcept nogil

cdef void remove(Table* table, uint64_t* entry) noexcept nogil

# Removes all entries whose tag is `tag`.
cdef void remove_tagged(Table* table, uint64_t tag) noexcept nogil
