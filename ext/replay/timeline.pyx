"""What each way carries over time: flows that start, bytes, and the busiest second.

A capture of a week takes no more room than one of a minute: when its time no longer fits, the spans
become twice as long.
"""

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset


cdef class Timeline:
    """`columns` ways over time."""

    def __cinit__(self, uint32_t columns):
        self.columns = columns
        self.width = SLOT
        self.buckets = <Bucket*>calloc(BUCKETS * columns + 1, sizeof(Bucket))
        self.recent = <uint64_t*>calloc(WINDOW_SLOTS * columns * 2 + 1, sizeof(uint64_t))
        self.sums = <uint64_t*>calloc(columns * 2 + 1, sizeof(uint64_t))
        if self.buckets is NULL or self.recent is NULL or self.sums is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.buckets)
        free(self.recent)
        free(self.sums)

    def column(self, uint32_t column):
        """One way's buckets up to now: flows, bytes down, bytes up, and the bytes of the busiest
        second of each direction."""
        cdef uint64_t i
        cdef Bucket* found
        if column >= self.columns:
            raise IndexError(column)
        rows = []
        for i in range(self.slot * SLOT // self.width + 1):
            found = &self.buckets[i * self.columns + column]
            rows.append((found.flows, found.down, found.up, found.peak_down, found.peak_up))
        return rows

    cdef void begin(self, uint32_t column, uint64_t now) noexcept nogil:
        self._move_on(now // SLOT)
        self.buckets[now // self.width * self.columns + column].flows += 1

    cdef void carry(
        self, uint32_t column, bint reply, uint64_t now, uint64_t bytes
    ) noexcept nogil:
        cdef uint64_t slot = now // SLOT
        cdef Bucket* bucket
        cdef uint32_t at = column * 2 + (0 if reply else 1)
        if slot != self.slot:
            self._move_on(slot)
        bucket = &self.buckets[now // self.width * self.columns + column]
        if reply:
            bucket.down += bytes
        else:
            bucket.up += bytes
        self.recent[slot % WINDOW_SLOTS * self.columns * 2 + at] += bytes
        self.sums[at] += bytes

    cdef void carry_evenly(
        self, const uint64_t* down, uint64_t since, uint64_t until
    ) noexcept nogil:
        cdef uint64_t at = since, then, bytes
        cdef double whole = <double>(until - since)
        cdef uint32_t column
        cdef Bucket* bucket
        cdef bint by_slots
        while at < until:
            # However long it is: the middle goes by whole buckets.
            by_slots = at < since + WINDOW or at + WINDOW >= until
            if by_slots:
                then = min((at // SLOT + 1) * SLOT, until)
            else:
                self._move_on(at // SLOT)
                then = min((at // self.width + 1) * self.width, until - WINDOW)
            for column in range(self.columns):
                bytes = <uint64_t>(<double>down[column] * (<double>(then - since) / whole))
                bytes -= <uint64_t>(<double>down[column] * (<double>(at - since) / whole))
                if by_slots:
                    # Not before what has begun already.
                    self.carry(column, True, max(at, self.slot * SLOT), bytes)
                else:
                    bucket = &self.buckets[at // self.width * self.columns + column]
                    bucket.down += bytes
                    bucket.peak_down = max(
                        bucket.peak_down, <uint64_t>(<double>down[column] * WINDOW / whole)
                    )
            at = then

    cdef void finish(self) noexcept nogil:
        self._note_peaks()

    cdef void _move_on(self, uint64_t slot) noexcept nogil:
        cdef uint64_t step, steps, pairs = self.columns * 2, i
        cdef uint64_t* row
        if slot == self.slot:
            return
        self._note_peaks()
        steps = min(slot - self.slot, <uint64_t>WINDOW_SLOTS)
        for step in range(steps):
            row = &self.recent[(self.slot + 1 + step) % WINDOW_SLOTS * pairs]
            for i in range(pairs):
                self.sums[i] -= row[i]
                row[i] = 0
        self.slot = slot
        while slot * SLOT // self.width >= BUCKETS:
            self._halve()

    # The second that ends with the present slot, if no other of its bucket was busier.
    cdef void _note_peaks(self) noexcept nogil:
        cdef uint32_t column
        cdef Bucket* bucket = &self.buckets[self.slot * SLOT // self.width * self.columns]
        for column in range(self.columns):
            bucket.peak_down = max(bucket.peak_down, self.sums[column * 2])
            bucket.peak_up = max(bucket.peak_up, self.sums[column * 2 + 1])
            bucket += 1

    cdef void _halve(self) noexcept nogil:
        cdef uint64_t i, column
        cdef Bucket* one
        cdef Bucket* other
        for i in range(<uint64_t>(BUCKETS // 2)):
            for column in range(self.columns):
                one = &self.buckets[2 * i * self.columns + column]
                other = one + self.columns
                one.flows += other.flows
                one.down += other.down
                one.up += other.up
                one.peak_down = max(one.peak_down, other.peak_down)
                one.peak_up = max(one.peak_up, other.peak_up)
                self.buckets[i * self.columns + column] = one[0]
        memset(
            &self.buckets[BUCKETS // 2 * self.columns], 0,
            BUCKETS // 2 * self.columns * sizeof(Bucket),
        )
        self.width *= 2
