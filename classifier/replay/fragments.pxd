# Datagrams in fragments, held until they are whole, as conntrack does before it looks at them.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.wire cimport HEADER_BYTES, Packet

cdef enum:
    # Datagrams held at once; the kernel's bound is 4 MiB of memory, and this comes to 2.5.
    DATAGRAMS = 2048
    # A bit for each 8 bytes of the longest datagram.
    COVERAGE_WORDS = 65536 // 8 // 64

cdef struct Datagram:
    uint64_t deadline       # milliseconds
    Packet packet           # addresses, protocol and id; once it is there, the first fragment
    uint8_t[HEADER_BYTES] header    # what the parser would see of the whole datagram
    uint32_t size           # bytes in header; 0: the first fragment has not come
    uint32_t fragments
    uint64_t bytes          # IP lengths of the fragments
    uint32_t units          # of 8 bytes that have come
    uint32_t total          # units of the whole; 0: the last fragment has not come
    uint32_t end            # bytes of the whole after the headers that each fragment has
    uint32_t headers        # bytes before the data of the first fragment
    uint32_t previous, next # in order of arrival, numbers plus one
    uint32_t chain          # next in its bucket, number plus one
    uint64_t[COVERAGE_WORDS] coverage

cdef enum Outcome:
    HELD        # the datagram is not whole yet
    WHOLE_NOW   # this fragment was the last one that was missing
    REFUSED     # this fragment makes no sense

cdef class FragmentTable:
    # Of one IP version: each has its own timeout, so the datagrams are in order of their deadlines.
    cdef Datagram* datagrams
    cdef uint32_t[DATAGRAMS] buckets
    cdef uint32_t oldest, newest, free_list
    cdef uint32_t touched   # datagrams that have been used at least once
    cdef uint64_t timeout   # milliseconds that a datagram may take
    cdef uint64_t lost      # fragments of datagrams that were given up

    # Take in one fragment. At WHOLE_NOW `datagram` is set to what has come together: its `packet`
    # is that of the whole datagram. It stays valid until the next call.
    cdef Outcome add(
        self, const Packet* packet, const uint8_t* data, uint32_t size, uint64_t now,
        Datagram** datagram,
    ) noexcept nogil

    # Give up everything that is held.
    cdef void drain(self) noexcept nogil

    cdef Datagram* _find(self, const Packet* packet) noexcept nogil
    cdef Datagram* _open(self, const Packet* packet, uint64_t now) noexcept nogil
    cdef void _close(self, Datagram* datagram) noexcept nogil
    cdef void _unlink(self, Datagram* datagram) noexcept nogil
