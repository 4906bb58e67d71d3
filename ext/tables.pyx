"""Bounded hash tables with expiry; classifier/tables.pxd says how they are laid out."""
from libc.stdlib cimport free
from libc.string cimport memcpy, memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size) noexcept

cdef extern from "sys/mman.h" nogil:
    int madvise(void* at, size_t length, int advice) noexcept
    int MADV_HUGEPAGE

cdef enum:
    CACHE_LINE = 64
    HUGE = 2097152
    DISPLACEMENT_SHIFT = 9
    MOST_DISPLACED = 4095


cdef int create(Table* table, size_t capacity, size_t key_words, size_t value_words) except -1:
    cdef size_t size, alignment
    memset(table, 0, sizeof(Table))
    capacity = max(capacity, <size_t>1)
    table.capacity = capacity
    table.key_words = key_words
    table.slot_words = 1 + key_words + value_words
    table.slot_count = capacity + (capacity * 3 + 4) // 5
    size = table.slot_count * table.slot_words * sizeof(uint64_t)
    alignment = HUGE if size >= HUGE else CACHE_LINE
    if posix_memalign(<void**>&table.slots, alignment, size) != 0:
        table.slots = NULL
        raise MemoryError(f"no memory for a table of {capacity} entries ({size} bytes)")
    if size >= HUGE:
        # Random accesses to a large table spend most of their time on address translation.
        madvise(table.slots, size, MADV_HUGEPAGE)
    # Writing it all takes the memory from the kernel now. Taken page by page while flows come, it
    # doubles the time of a decision until every page has been used once.
    memset(table.slots, 0, size)
    return 0


cdef void destroy(Table* table) noexcept nogil:
    free(table.slots)
    memset(table, 0, sizeof(Table))


cdef inline uint64_t* slot_at(const Table* table, size_t index) noexcept nogil:
    return table.slots + index * table.slot_words


cdef inline size_t displacement(const uint64_t* entry) noexcept nogil:
    return (entry[0] >> DISPLACEMENT_SHIFT) & MOST_DISPLACED


cdef inline size_t after(const Table* table, size_t index) noexcept nogil:
    return index + 1 if index + 1 < table.slot_count else 0


cdef uint64_t* find(
    const Table* table, const uint64_t* key, uint64_t tag, uint64_t tag_bits, uint64_t digest
) noexcept nogil:
    cdef size_t index = reduce(digest, table.slot_count)
    cdef uint64_t* entry
    cdef size_t i
    while True:
        entry = slot_at(table, index)
        if entry[0] == 0:
            return NULL
        if (entry[0] & tag_bits) == tag:
            i = 0
            while i < table.key_words and entry[1 + i] == key[i]:
                i += 1
            if i == table.key_words:
                return entry
        index = after(table, index)


cdef void remove(Table* table, uint64_t* entry) noexcept nogil:
    # Entries behind the hole that are displaced at least as far as the hole is away move into it;
    # one that is not stays, and those behind it may still be able to.
    cdef size_t hole = <size_t>(entry - table.slots) // table.slot_words
    cdef size_t index = hole
    cdef size_t distance = 0
    cdef uint64_t* moved
    table.entries -= 1
    while True:
        index = after(table, index)
        distance += 1
        moved = slot_at(table, index)
        if moved[0] == 0:
            break
        if displacement(moved) >= distance:
            memcpy(slot_at(table, hole), moved, table.slot_words * sizeof(uint64_t))
            slot_at(table, hole)[0] -= <uint64_t>distance << DISPLACEMENT_SHIFT
            hole = index
            distance = 0
    slot_at(table, hole)[0] = 0


cdef void make_room(Table* table, uint64_t now) noexcept nogil:
    # Sweeps a few slots, so that a table in use sheds what has expired; if it is still full, one
    # of the entries seen has to go. Looks further only while it has seen none at all.
    cdef size_t looked = 0
    cdef uint64_t* entry
    cdef uint64_t* soonest = NULL
    while looked < SWEPT_SLOTS or (table.entries >= table.capacity and soonest == NULL):
        looked += 1
        entry = slot_at(table, table.hand)
        if entry[0] != 0 and expires(entry) <= now:
            # What shifts back into this slot is looked at next. What shifts back past it from the
            # table's begin is an entry not seen this round; the next one sees it.
            remove(table, entry)
            soonest = NULL
            continue
        if entry[0] != 0 and (soonest == NULL or expires(entry) < expires(soonest)):
            soonest = entry
        table.hand = after(table, table.hand)
    if table.entries >= table.capacity:
        remove(table, soonest)


cdef uint64_t* insert(
    Table* table, const uint64_t* key, uint64_t tag, uint64_t digest, uint64_t when, uint64_t now
) noexcept nogil:
    cdef size_t index
    cdef size_t displaced = 0
    cdef uint64_t* entry
    make_room(table, now)
    index = reduce(digest, table.slot_count)
    entry = slot_at(table, index)
    while entry[0] != 0 and displaced < MOST_DISPLACED:
        index = after(table, index)
        displaced += 1
        entry = slot_at(table, index)
    if entry[0] != 0:
        # So long a run needs hashes chosen by who knows our key. The entry at the hash's own slot
        # gives way: a slot stays occupied, so every other entry is still found.
        displaced = 0
        entry = slot_at(table, reduce(digest, table.slot_count))
    else:
        table.entries += 1
    memcpy(entry + 1, key, table.key_words * sizeof(uint64_t))
    entry[0] = (<uint64_t>displaced << DISPLACEMENT_SHIFT) | tag
    set_expires(entry, max(when, <uint64_t>1))
    return entry


cdef void remove_tagged(Table* table, uint64_t tag) noexcept nogil:
    # A removal brings entries into the slot looked at, or into later ones; past the table's end it
    # brings those of its begin, which have been looked at.
    cdef size_t index = 0
    cdef uint64_t* entry
    while index < table.slot_count:
        entry = slot_at(table, index)
        if entry[0] != 0 and (entry[0] & TAG_MASK) == tag:
            remove(table, entry)
        else:
            index += 1
