"""Uplinks that share their capacity: egalitarian processor sharing.

Every flow on a link gets the same rate, its share of the capacity or what one flow gets at most.
`level` is how many bytes a flow has had that was there all the time; it grows by that rate. A flow
of n bytes that begins at level x ends at level x + n, whoever comes and goes meanwhile, so that the
flows stand in a heap by the level at which they end, and each costs two steps in it (Nagle; Demers,
Keshav & Shenker, "Analysis and simulation of a fair queueing algorithm", 1989: virtual time).
"""
from libc.math cimport INFINITY, exp, log
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memset

cdef enum:
    FIRST_ROOM = 64

cdef double SHORTEST = 1e-6
cdef double STEP = log(1.02)


cdef double middle(int step) noexcept nogil:
    return SHORTEST * exp(STEP * (step + 0.5))


cdef int create_link(Link* link, double capacity, double limit) except -1:
    memset(link, 0, sizeof(Link))
    link.capacity = capacity
    link.limit = limit
    link.next_end = INFINITY
    link.durations = <Durations*>calloc(1, sizeof(Durations))
    if link.durations is NULL:
        raise MemoryError
    return 0


cdef void destroy_link(Link* link) noexcept nogil:
    free(link.heap)
    free(link.durations)
    memset(link, 0, sizeof(Link))


cdef bint reserve_transfer(Link* link) noexcept nogil:
    cdef uint32_t room
    cdef Transfer* grown
    if link.count < link.room:
        return True
    room = link.room * 2 if link.room else FIRST_ROOM
    grown = <Transfer*>realloc(link.heap, room * sizeof(Transfer))
    if grown is NULL:
        return False
    link.heap = grown
    link.room = room
    return True


cdef inline double rate(const Link* link) noexcept nogil:
    return min(link.limit, link.capacity / link.count)


cdef inline void foresee(Link* link) noexcept nogil:
    if link.count:
        link.next_end = link.now + max(link.heap[0].ends - link.level, 0.0) / rate(link)
    else:
        link.next_end = INFINITY
        link.level = 0  # so that it never grows beyond what a double counts


cdef double carried_by(const Link* link, double now) noexcept nogil:
    return link.carried + (rate(link) * (now - link.now) * link.count if link.count else 0.0)


cdef void catch_up(Link* link, double now) noexcept nogil:
    cdef double gained
    if link.count:
        gained = rate(link) * (now - link.now)
        link.level += gained
        link.carried += gained * link.count
    link.now = now


cdef inline bint ends_before(const Transfer* one, const Transfer* other) noexcept nogil:
    return one.ends < other.ends or (one.ends == other.ends and one.number < other.number)


cdef void begin_transfer(Link* link, const Transfer* transfer) noexcept nogil:
    cdef uint32_t at = link.count, parent
    link.count += 1
    link.most = max(link.most, link.count)
    while at:
        parent = (at - 1) // 2
        if not ends_before(transfer, &link.heap[parent]):
            break
        link.heap[at] = link.heap[parent]
        at = parent
    link.heap[at] = transfer[0]
    foresee(link)


cdef inline void note_duration(Durations* durations, double seconds) noexcept nogil:
    cdef double step = log(max(seconds / SHORTEST, 1.0)) / STEP
    durations.count += 1
    durations.sum += seconds
    durations.steps[min(<uint32_t>step, <uint32_t>STEPS - 1)] += 1


cdef Transfer end_transfer(Link* link) noexcept nogil:
    cdef Transfer ended = link.heap[0], last
    cdef uint32_t at = 0, child
    # Exactly there, so that what is rounded does not add up.
    link.carried += (ended.ends - link.level) * link.count
    link.level = ended.ends
    link.now = link.next_end
    note_duration(link.durations, link.now - ended.began)
    link.count -= 1
    last = link.heap[link.count]
    while True:
        child = 2 * at + 1
        if child >= link.count:
            break
        if child + 1 < link.count and ends_before(&link.heap[child + 1], &link.heap[child]):
            child += 1
        if not ends_before(&link.heap[child], &last):
            break
        link.heap[at] = link.heap[child]
        at = child
    link.heap[at] = last
    foresee(link)
    return ended


cdef void clear_link(Link* link) noexcept nogil:
    link.count = 0
    foresee(link)
