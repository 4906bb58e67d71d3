# Bounded hash tables with expiry, for sticky entries and for flows in flight.
#
# A table knows its keys by a 64-bit digest alone: it is keyed with a secret, so nobody can look for
# two keys that share one, and by chance a key meets another's entry once in 2^64 / entries
# look-ups (with a million entries: once in ten million million). Short slots are what makes the
# tables fast: four in a cache line, so that a look-up is one access to memory.
#
# Open addressing with linear probing; a removal shifts the entries behind it back, so there are no
# tombstones. A slot is `digest`, `life`, and in tables that want them two words more. `life` is,
# from its highest bit down,
#
#     42 bits   the millisecond from which the entry is no longer valid; never 0, as in an empty slot
#     12 bits   the number of its holder, in tables that have holders
#      1 bit    whether it has been used again since it was inserted
#      9 bits   in tables that have holders: its tag, a number that stands for what it remembers
#
# What a tag means stands once in the table, with the number of entries that carry it. So all entries
# of one meaning are forgotten at once, however many they are: their tag means nothing any more, and
# what is to be remembered next gets another tag. Insertions remove them little by little, and a tag
# that no entry carries any more can be given again.
from libc.stddef cimport size_t
from libc.stdint cimport uint16_t, uint32_t, uint64_t

from classifier.engine.hashing cimport reduce
from classifier.engine.holders cimport Holders

cdef enum:
    TAG_MASK = 0x1FF
    USED_AGAIN = 0x200
    HOLDER_SHIFT = 10
    HOLDER_MASK = 0xFFF
    EXPIRY_SHIFT = 22
    # Slots looked at by each insertion, for entries that have expired or have to go.
    SWEPT_SLOTS = 6
    TAGS = 512

cdef struct Slot:
    uint64_t digest
    uint64_t life

cdef struct Tag:
    uint32_t entries    # that carry it
    uint16_t meaning    # the user's, never 0; 0: nothing, so that those entries are forgotten

cdef struct Table:
    Slot* slots
    size_t slot_count
    int shift           # 0; 1 in a table with values, where every other slot is one
    size_t capacity     # most entries
    size_t entries      # entries there are, expired ones included until they are swept
    uint64_t evictions  # entries that had to go before their time
    size_t hand         # slot where the next sweep begins
    Holders holders
    size_t forgotten    # entries whose tag means nothing
    size_t purge_hand   # slot where the next search for these begins
    uint32_t next_tag   # where the search for a free tag begins
    Tag tags[TAGS]      # all 0 in a table without holders


cdef inline uint64_t latest() noexcept nogil:
    # The last millisecond that an entry may expire at: 139 years, of Unix time the year 2109.
    return (<uint64_t>1 << (64 - EXPIRY_SHIFT)) - 1


cdef inline uint64_t expires(const Slot* entry) noexcept nogil:
    return entry.life >> EXPIRY_SHIFT


cdef inline uint64_t tag(const Slot* entry) noexcept nogil:
    return entry.life & TAG_MASK


cdef inline uint32_t holder(const Slot* entry) noexcept nogil:
    return <uint32_t>(entry.life >> HOLDER_SHIFT) & HOLDER_MASK


cdef inline void set_life(
    Slot* entry, uint64_t when, uint32_t holder, uint64_t tag
) noexcept nogil:
    # USED_AGAIN may be set in the tag.
    cdef uint64_t expiry = max(<uint64_t>1, min(when, latest()))
    entry.life = (expiry << EXPIRY_SHIFT) | (<uint64_t>holder << HOLDER_SHIFT) | tag


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


# Makes an empty table for `capacity` entries; MemoryError when there is no memory for it. Either its
# slots have values, or its entries have holders.
cdef int create(Table* table, size_t capacity, bint with_values) except -1
cdef void destroy(Table* table) noexcept nogil

# Makes room for one more, then an entry for a key that is not there; `slot` is what `find` gave, and
# nothing has changed in the table since. Never fails: when the table is full, one has to go. That
# is the one that expires soonest among a few; in a table with holders see `evicted`. The caller
# writes the value. `host` is the digest of who is to hold it; a table without holders has tag 0 only.
cdef Slot* insert(
    Table* table, Slot* slot, uint64_t digest, uint64_t when, uint64_t tag, uint64_t host,
    uint64_t now
) noexcept nogil

# The new holder of an entry that `host` uses: whoever of it and the present one holds fewer.
cdef uint32_t change_holder(Table* table, uint32_t present, uint64_t host) noexcept nogil


cdef inline void use_again(Table* table, Slot* entry, uint64_t when, uint64_t host) noexcept nogil:
    # In a table with holders. `when` is the time from which the entry is no longer valid.
    cdef uint32_t number = holder(entry)
    if table.holders.holders[number].digest != host:
        number = change_holder(table, number, host)
    set_life(entry, when, number, tag(entry) | USED_AGAIN)


cdef void remove(Table* table, Slot* entry) noexcept nogil

# In tables with holders. A tag of this meaning; 0 when entries carry all of them still.
cdef uint32_t new_tag(Table* table, uint16_t meaning) noexcept nogil
# Forgets all entries that carry the tag, and the tag.
cdef void forget_tag(Table* table, uint32_t tag) noexcept nogil
# Removes what is forgotten from the next `count` slots. Entries move.
cdef void purge(Table* table, size_t count) noexcept nogil


cdef inline uint16_t meaning(const Table* table, const Slot* entry) noexcept nogil:
    # 0 for an entry that is forgotten.
    return table.tags[tag(entry)].meaning
