"""Bounded hash tables with expiry; classifier/tables.pxd says how they are laid out."""
from libc.stdlib cimport free
from libc.string cimport memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void** memory, size_t alignment, size_t size) noexcept

cdef extern from "sys/mman.h" nogil:
    int madvise(void* at, size_t length, int advice) noexcept
    int MADV_HUGEPAGE

cdef enum:
    CACHE_LINE = 64
    HUGE_PAGE = 2097152
    SLOTS_PER_ENTRY = 2
    # More than anybody has memory for, and few enough that a size in bytes can be told.
    MOST_ENTRIES = 0x7FFFFFFF
    # Entries that one insertion removes at most: more than it adds, so that the table shrinks when
    # much has expired, and few, so that no insertion takes long.
    MOST_REMOVED = 3


cdef int create(Table* table, size_t capacity, bint with_values) except -1:
    cdef size_t size, alignment
    memset(table, 0, sizeof(Table))
    table.capacity = max(capacity, <size_t>1)
    table.slot_count = table.capacity * SLOTS_PER_ENTRY
    table.shift = 1 if with_values else 0
    size = (table.slot_count << table.shift) * sizeof(Slot)
    alignment = HUGE_PAGE if size >= HUGE_PAGE else CACHE_LINE
    if capacity > MOST_ENTRIES or posix_memalign(<void**>&table.slots, alignment, size) != 0:
        table.slots = NULL
        raise MemoryError(f"no memory for a table of {capacity} entries")
    if size >= HUGE_PAGE:
        # Random accesses to a large table spend most of their time on address translation.
        madvise(table.slots, size, MADV_HUGEPAGE)
    # Writing it all takes the memory from the kernel now. Taken page by page while flows come, it
    # doubles the time of a decision until every page has been used once.
    memset(table.slots, 0, size)
    return 0


cdef void destroy(Table* table) noexcept nogil:
    free(table.slots)
    memset(table, 0, sizeof(Table))


cdef inline void move(const Table* table, Slot* target, const Slot* source) noexcept nogil:
    target[0] = source[0]
    if table.shift:
        target[1] = source[1]


cdef inline size_t steps(const Table* table, size_t start, size_t end) noexcept nogil:
    # From one slot forward to another.
    return end - start if end >= start else end + table.slot_count - start


cdef void remove(Table* table, Slot* entry) noexcept nogil:
    # An entry behind the hole moves into it unless its own place, where look-ups for it begin, is
    # behind the hole too; then it stays, and those behind it may still be able to.
    cdef size_t hole = <size_t>(entry - table.slots) >> table.shift
    cdef size_t index = hole
    cdef Slot* moved
    table.entries -= 1
    while True:
        index = after(table, index)
        moved = slot_at(table, index)
        if moved.life == 0:
            break
        if steps(table, reduce(moved.digest, table.slot_count), index) >= steps(table, hole, index):
            move(table, slot_at(table, hole), moved)
            hole = index
    slot_at(table, hole).life = 0


cdef inline Slot* soonest(const Table* table, size_t begin, size_t count) noexcept nogil:
    # The entry that expires first among at most eight slots, or an empty one if they all are. The
    # smallest of numbers that hold life and position is found without branches: half of the slots
    # are empty, which no processor can foresee. An empty one's life, 0, becomes the largest number.
    cdef const Slot* slot = slot_at(table, begin)
    cdef uint64_t best = ~<uint64_t>0
    cdef size_t i
    for i in range(count):
        best = min(best, ((slot.life - 1) << 3) | i)
        slot += <size_t>1 << table.shift
    return slot_at(table, begin + (best & 7))


cdef inline void make_room(Table* table, uint64_t now) noexcept nogil:
    # Sweeps a few slots, so that a table in use sheds what has expired; if it is still full, the
    # one of the entries seen that expires first has to go.
    cdef size_t count = min(<size_t>SWEPT_SLOTS, table.slot_count)
    cdef int removed
    cdef Slot* entry = soonest(table, table.hand, count)
    for removed in range(MOST_REMOVED):
        if entry.life == 0 or expires(entry) > now:
            break
        remove(table, entry)
        entry = soonest(table, table.hand, count)
    else:
        return
    while table.entries >= table.capacity:
        if entry.life:
            remove(table, entry)
            break
        table.hand = next_window(table, count)
        entry = soonest(table, table.hand, count)
    table.hand = next_window(table, count)
    prefetch_line(slot_at(table, table.hand))


cdef inline size_t next_window(const Table* table, size_t count) noexcept nogil:
    # A window never reaches over the table's end, so the last one may overlap the one before.
    if table.hand + count == table.slot_count:
        return 0
    return min(table.hand + count, table.slot_count - count)


cdef Slot* insert(
    Table* table, uint64_t digest, uint64_t when, uint64_t tag, uint64_t now
) noexcept nogil:
    cdef size_t index = reduce(digest, table.slot_count)
    cdef Slot* entry
    make_room(table, now)
    entry = slot_at(table, index)
    while entry.life:
        index = after(table, index)
        entry = slot_at(table, index)
    table.entries += 1
    entry.digest = digest
    set_life(entry, when, tag)
    return entry


cdef void remove_tagged(Table* table, uint64_t tag) noexcept nogil:
    # A removal brings entries into the slot looked at, or into later ones; past the table's end it
    # brings those of its begin, which have been looked at.
    cdef size_t index = 0
    cdef Slot* entry
    while index < table.slot_count:
        entry = slot_at(table, index)
        if entry.life and (entry.life & TAG_MASK) == tag:
            remove(table, entry)
        else:
            index += 1
