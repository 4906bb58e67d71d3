"""The engine's own time per decision, without the queue and without Python.

Packets lie where a queue would have put them: in slots that the caches hold. Compiled by the bench.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from classifier.engine.engine cimport Engine, Item

cdef extern from "<time.h>" nogil:
    struct timespec:
        long tv_sec
        long tv_nsec
    int CLOCK_THREAD_CPUTIME_ID
    int CLOCK_MONOTONIC
    int clock_gettime(int, timespec*)

cdef enum:
    BATCH = 64
    SLOT = 576
    PACKET = 40


cdef inline uint64_t clock(int which) noexcept nogil:
    cdef timespec time
    clock_gettime(which, &time)
    return <uint64_t>time.tv_sec * 1000000000 + <uint64_t>time.tv_nsec


def decide(Engine engine not None, const uint8_t[::1] packets not None, uint64_t now):
    """Nanoseconds of wall time that the engine took for packets of 40 bytes, one after the other."""
    cdef uint8_t slots[BATCH][SLOT]
    cdef Item items[BATCH]
    cdef size_t at = 0, i, count
    cdef uint64_t wall = 0, start
    with nogil:
        while at < <size_t>packets.shape[0]:
            count = min(<size_t>BATCH, (<size_t>packets.shape[0] - at) // PACKET)
            for i in range(count):
                memcpy(slots[i], &packets[at + i * PACKET], PACKET)
                items[i].data = slots[i]
                items[i].size = PACKET
                items[i].interface = 0
                items[i].uid = -1
            start = clock(CLOCK_MONOTONIC)
            engine.decide(items, count, now)
            wall += clock(CLOCK_MONOTONIC) - start
            at += count * PACKET
    return wall
