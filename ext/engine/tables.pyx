"""Bounded hash tables with expiry; tables.pxd says how they are laid out."""
from libc.stdlib cimport free
from libc.string cimport memset

from classifier.engine.holders cimport (
    create_holders, destroy_holders, hold, holder_of, holds_much, let_go,
)

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
    # Windows of slots that are searched for an entry used once before one used again has to go.
    MOST_WINDOWS = 16
    # Slots that an insertion searches for forgotten entries, as long as there are some: two cache
    # lines, and a quarter of a table's entries can be inserted before all slots have been searched.
    PURGED_SLOTS = 8

cdef extern from *:
    """
    /* Least ranks of what `evicted` sees in windows without a better choice. */
    static const uint64_t nfqc_none_used_once = (uint64_t)1 << 62, nfqc_all_spared = (uint64_t)1 << 63;
    """
    const uint64_t NONE_USED_ONCE "nfqc_none_used_once"
    const uint64_t ALL_SPARED "nfqc_all_spared"


cdef int create(Table* table, size_t capacity, bint with_values) except -1:
    cdef size_t size, alignment
    memset(table, 0, sizeof(Table))
    table.capacity = max(capacity, <size_t>1)
    table.slot_count = max(table.capacity * SLOTS_PER_ENTRY, <size_t>SWEPT_SLOTS)
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
    if not with_values:
        create_holders(&table.holders, capacity)
    return 0


cdef void destroy(Table* table) noexcept nogil:
    free(table.slots)
    destroy_holders(&table.holders)
    memset(table, 0, sizeof(Table))


cdef inline void move(const Table* table, Slot* target, const Slot* source) noexcept nogil:
    target[0] = source[0]
    if table.shift:
        target[1] = source[1]


cdef inline size_t steps(const Table* table, size_t start, size_t end) noexcept nogil:
    # From one slot forward to another.
    return end - start if end >= start else end + table.slot_count - start


cdef inline size_t index_of(const Table* table, const Slot* slot) noexcept nogil:
    return <size_t>(slot - table.slots) >> table.shift


cdef inline size_t empty(Table* table, Slot* entry) noexcept nogil:
    # Removes an entry; the slot that is empty thereafter, and was not before.
    # An entry behind the hole moves into it unless its own slot, where look-ups for it begin, is
    # behind the hole too; then it stays, and those behind it may still be able to.
    cdef size_t hole = index_of(table, entry)
    cdef size_t index = hole
    cdef Slot* moved
    table.entries -= 1
    if table.holders.holders != NULL:
        let_go(&table.holders, holder(entry))
        table.tags[tag(entry)].entries -= 1
        table.forgotten -= meaning(table, entry) == 0
    while True:
        index = after(table, index)
        moved = slot_at(table, index)
        if moved.life == 0:
            break
        if steps(table, reduce(moved.digest, table.slot_count), index) >= steps(table, hole, index):
            move(table, slot_at(table, hole), moved)
            hole = index
    slot_at(table, hole).life = 0
    return hole


cdef void remove(Table* table, Slot* entry) noexcept nogil:
    empty(table, entry)


cdef inline uint64_t rank(const Slot* slot, uint64_t position) noexcept nogil:
    # Orders by expiry, then position; that of an empty slot, 0, becomes the largest number.
    return ((expires(slot) - 1) << 3) | position


cdef inline Slot* soonest(const Table* table) noexcept nogil:
    # The entry that expires first among the slots to be swept, or an empty one if they all are.
    # Without branches: half of the slots are empty, which no processor can foresee.
    cdef Slot* first = slot_at(table, table.hand)
    cdef size_t step = <size_t>1 << table.shift
    cdef uint64_t low = min(rank(first, 0), rank(first + step, 1))
    cdef uint64_t middle = min(rank(first + 2 * step, 2), rank(first + 3 * step, 3))
    cdef uint64_t high = min(rank(first + 4 * step, 4), rank(first + 5 * step, 5))
    return first + (min(min(low, middle), high) & 7) * step


cdef inline size_t nearer(
    const Table* table, size_t home, size_t slot, size_t hole
) noexcept nogil:
    # Where look-ups that begin at `home` end, now that there is a hole.
    return hole if steps(table, home, hole) < steps(table, home, slot) else slot


cdef inline size_t make_room(
    Table* table, size_t home, size_t slot, uint64_t now
) noexcept nogil:
    # Sweeps a few slots, so that a table in use sheds what has expired; if it is still full, the
    # one of the entries seen that expires first has to go. Returns what has become of `slot`.
    cdef int removed
    cdef Slot* entry
    if table.forgotten:
        slot = purge_some(table, home, slot)
    entry = soonest(table)
    for removed in range(MOST_REMOVED):
        if entry.life == 0 or expires(entry) > now:
            break
        slot = nearer(table, home, slot, empty(table, entry))
        entry = soonest(table)
    else:
        return slot
    if table.entries >= table.capacity:
        entry = evicted(table, now) if table.holders.holders != NULL else next_entry(table)
        table.evictions += expires(entry) > now
        slot = nearer(table, home, slot, empty(table, entry))
    table.hand = next_window(table)
    prefetch_line(slot_at(table, table.hand))
    return slot


cdef inline Slot* next_entry(Table* table) noexcept nogil:
    # The one that expires soonest in the next window that is not empty.
    cdef Slot* entry = soonest(table)
    while entry.life == 0:
        table.hand = next_window(table)
        entry = soonest(table)
    return entry


cdef inline uint64_t eviction_rank(const Table* table, size_t position) noexcept nogil:
    # As `rank`, and behind all others those of hosts that do not hold much, before them those used
    # again. Branches would cost more here than all the rest, as in `soonest`.
    cdef const Slot* slot = slot_at(table, table.hand + position)
    cdef bint spared = not holds_much(&table.holders, holder(slot), table.capacity)
    return (
        rank(slot, position)
        | (<uint64_t>((slot.life & USED_AGAIN) != 0) << 62) | (<uint64_t>spared << 63)
    )


cdef inline Slot* evicted(Table* table, uint64_t now) noexcept nogil:
    # Which entry of a full table with holders has to go: one of a host that holds much, and one used
    # once rather than one used again, which goes only where MOST_WINDOWS have none used once. An
    # expired one ends the search. Some host always holds much, so there is an end.
    cdef uint64_t low, middle, high, lowest = ALL_SPARED
    cdef Slot* best = NULL
    cdef Slot* entry
    cdef int window = 0
    while True:
        low = min(eviction_rank(table, 0), eviction_rank(table, 1))
        middle = min(eviction_rank(table, 2), eviction_rank(table, 3))
        high = min(eviction_rank(table, 4), eviction_rank(table, 5))
        low = min(min(low, middle), high)
        if low < lowest:
            lowest = low
            best = slot_at(table, table.hand + (low & 7))
        window += 1
        if lowest < NONE_USED_ONCE or (window >= MOST_WINDOWS and lowest < ALL_SPARED):
            return best
        table.hand = next_window(table)
        entry = soonest(table)
        if entry.life and expires(entry) <= now:
            return entry


cdef inline size_t next_window(const Table* table) noexcept nogil:
    # A window never reaches over the table's end, so the last one may overlap the one before.
    if table.hand + SWEPT_SLOTS == table.slot_count:
        return 0
    return min(table.hand + SWEPT_SLOTS, table.slot_count - SWEPT_SLOTS)


cdef Slot* insert(
    Table* table, Slot* slot, uint64_t digest, uint64_t when, uint64_t tag, uint64_t host,
    uint64_t now
) noexcept nogil:
    cdef uint32_t number = 0
    cdef size_t home = reduce(digest, table.slot_count)
    cdef Slot* entry = slot_at(table, make_room(table, home, index_of(table, slot), now))
    table.entries += 1
    entry.digest = digest
    if table.holders.holders != NULL:
        number = holder_of(&table.holders, host)
        hold(&table.holders, number)
        table.tags[tag].entries += 1
    set_life(entry, when, number, tag)
    return entry


cdef uint32_t change_holder(Table* table, uint32_t present, uint64_t host) noexcept nogil:
    cdef Holders* holders = &table.holders
    cdef uint32_t other = holder_of(holders, host)
    if holders.holders[other].entries >= holders.holders[present].entries:
        return present
    let_go(holders, present)
    hold(holders, other)
    return other


cdef uint32_t new_tag(Table* table, uint16_t meaning) noexcept nogil:
    # Never 0, so that a number can say that there is no tag.
    cdef uint32_t tried, number
    for tried in range(<uint32_t>TAGS):
        number = (table.next_tag + tried) & TAG_MASK
        if number and table.tags[number].meaning == 0 and table.tags[number].entries == 0:
            table.tags[number].meaning = meaning
            table.next_tag = number + 1
            return number
    return 0


cdef void forget_tag(Table* table, uint32_t tag) noexcept nogil:
    table.tags[tag].meaning = 0
    table.forgotten += table.tags[tag].entries


cdef void purge(Table* table, size_t count) noexcept nogil:
    # A removal brings another entry into the slot looked at, or none.
    cdef Slot* entry
    while count and table.forgotten:
        entry = slot_at(table, table.purge_hand)
        if entry.life and meaning(table, entry) == 0:
            remove(table, entry)
        else:
            table.purge_hand = after(table, table.purge_hand)
            count -= 1


cdef size_t purge_some(Table* table, size_t home, size_t slot) noexcept nogil:
    # During an insertion: returns what has become of `slot`.
    cdef Slot* entry
    cdef int looked
    for looked in range(PURGED_SLOTS):
        entry = slot_at(table, table.purge_hand)
        if entry.life and meaning(table, entry) == 0:
            slot = nearer(table, home, slot, empty(table, entry))
        else:
            table.purge_hand = after(table, table.purge_hand)
    return slot
