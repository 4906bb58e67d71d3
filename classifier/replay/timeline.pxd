# What each way carries over time, in room that does not grow with the capture.
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    BUCKETS = 512        # even; when time has filled them, each two become one
    SLOT = 100           # milliseconds; a bucket is one or more of them
    WINDOW_SLOTS = 10    # a peak is the most of so many slots in a row: of one second
    WINDOW = 1000        # milliseconds of these

cdef struct Bucket:
    # What one way carried in one span of time; peaks are bytes of the busiest second ending there.
    uint64_t flows
    uint64_t down
    uint64_t up
    uint64_t peak_down
    uint64_t peak_up

cdef class Timeline:
    cdef readonly uint32_t columns     # ways that are told apart
    cdef readonly uint64_t width       # milliseconds of a bucket
    cdef uint64_t slot                 # the present one, from the start of the capture
    cdef Bucket* buckets               # BUCKETS rows of `columns`
    cdef uint64_t* recent              # WINDOW_SLOTS rows of `columns` pairs: down, up
    cdef uint64_t* sums                # of `recent`

    # `now` is in milliseconds since the start of the capture and never goes back.
    cdef void begin(self, uint32_t column, uint64_t now) noexcept nogil
    cdef void carry(
        self, uint32_t column, bint reply, uint64_t now, uint64_t bytes
    ) noexcept nogil
    # `down`: bytes of each column from `since` to `until`, at one rate; nothing came up.
    cdef void carry_evenly(self, const uint64_t* down, uint64_t since, uint64_t until) noexcept nogil
    cdef void finish(self) noexcept nogil
    cdef void _move_on(self, uint64_t slot) noexcept nogil
    cdef void _note_peaks(self) noexcept nogil
    cdef void _halve(self) noexcept nogil
