"""Reassembly of what matters: which datagrams are whole, and their first header.

Sources: RFC 791 and RFC 8200 section 4.5, and how the kernel's nf_defrag_ipv4 and nf_defrag_ipv6
treat them: IPv4 fragments belong together by addresses, protocol and identification, IPv6 ones by
addresses and identification; a repeated fragment is dropped, an overlapping one gives up the whole
datagram (RFC 5722, and Linux for IPv4 as well); 30 seconds for IPv4, 60 for IPv6.
"""

from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from classifier.engine.protocols cimport FRAGMENT, extension_bytes, is_extension_header
from classifier.engine.wire cimport WHOLE

cdef struct Span:
    uint32_t begin      # bytes into the datagram's data
    uint32_t length
    uint32_t headers    # bytes before that data
    bint more


# Where a fragment's data belongs; False when the fragment cannot be part of any datagram.
cdef bint _span(const Packet* packet, const uint8_t* data, uint32_t size, Span* span) noexcept nogil:
    cdef uint32_t at = 40, kind, step, readable
    if packet.family == 4:
        at = (data[0] & 15) * 4
        span.more = (data[6] & 0x20) != 0
    else:
        readable = size if size < HEADER_BYTES else HEADER_BYTES
        kind = data[6]
        while kind != FRAGMENT:
            if not is_extension_header(kind) or at + 8 > readable:
                return False
            step = extension_bytes(kind, data + at)
            kind = data[at]
            at += step
        if at + 8 > readable:
            return False
        span.more = data[at + 3] & 1
        at += 8
    if packet.length <= at:
        return False
    span.headers = at
    span.begin = packet.fragment_offset
    span.length = packet.length - at
    if span.more and span.length % 8:
        # All but the last carry a multiple of 8 bytes: Linux cuts IPv4 ones down to it.
        if packet.family == 6 or span.length < 8:
            return False
        span.length -= span.length % 8
    return span.begin + span.length + span.headers <= 65535


cdef uint32_t _bucket(const Packet* packet) noexcept nogil:
    # Not keyed: chains are bounded by the table, which holds few datagrams.
    cdef uint64_t word = packet.src[1] * <uint64_t>0x9E3779B97F4A7C15u ^ packet.dst[1] ^ packet.fragment_id
    return <uint32_t>((word * <uint64_t>0x9E3779B97F4A7C15u) >> 40) % DATAGRAMS


# Whether data has come from past `units`, which the last fragment says is the end.
cdef bint _beyond(const Datagram* datagram, uint32_t units) noexcept nogil:
    cdef uint32_t word = units // 64
    if word < COVERAGE_WORDS and datagram.coverage[word] >> (units % 64):
        return True
    for word in range(units // 64 + 1, <uint32_t>COVERAGE_WORDS):
        if datagram.coverage[word]:
            return True
    return False


cdef class FragmentTable:
    """The datagrams of one IP version that are not whole yet; `timeout` is in milliseconds."""

    def __cinit__(self, uint64_t timeout):
        self.timeout = timeout
        self.datagrams = <Datagram*>calloc(DATAGRAMS, sizeof(Datagram))
        if self.datagrams is NULL:
            raise MemoryError
        memset(self.buckets, 0, sizeof(self.buckets))

    def __dealloc__(self):
        free(self.datagrams)

    cdef Outcome add(
        self, const Packet* packet, const uint8_t* data, uint32_t size, uint64_t now,
        Datagram** datagram,
    ) noexcept nogil:
        cdef Span span
        cdef Datagram* found
        cdef uint32_t first, units, present = 0, unit
        while self.oldest and self.datagrams[self.oldest - 1].deadline <= now:
            self._close(&self.datagrams[self.oldest - 1])
        if not _span(packet, data, size, &span):
            return REFUSED
        found = self._find(packet)
        if found is NULL:
            found = self._open(packet, now)
        first = span.begin // 8
        units = (span.length + 7) // 8
        for unit in range(first, first + units):
            present += (found.coverage[unit // 64] >> (unit % 64)) & 1
        if present == units and (
            span.more or (found.total and found.end == span.begin + span.length)
        ):
            # Once more what is there already.
            found.fragments += 1
            found.bytes += packet.length
            return HELD
        if (
            present
            or (found.total and (first + units > found.total or not span.more))
            or (not span.more and found.units and _beyond(found, first + units))
        ):
            self.lost += 1
            self._close(found)
            return HELD
        for unit in range(first, first + units):
            found.coverage[unit // 64] |= <uint64_t>1 << (unit % 64)
        found.units += units
        found.fragments += 1
        found.bytes += packet.length
        if not span.more:
            found.total = first + units
            found.end = span.begin + span.length
        if span.begin == 0:
            found.packet = packet[0]
            found.packet.fragment = WHOLE
            found.headers = span.headers
            found.size = size if size < HEADER_BYTES else HEADER_BYTES
            memcpy(found.header, data, found.size)
        if found.units != found.total or found.size == 0:
            return HELD
        # Data of every fragment, after the headers of the first.
        found.packet.length = found.headers + found.end
        datagram[0] = found
        self._unlink(found)
        return WHOLE_NOW

    cdef Datagram* _find(self, const Packet* packet) noexcept nogil:
        cdef uint32_t number = self.buckets[_bucket(packet)]
        cdef Datagram* found
        while number:
            found = &self.datagrams[number - 1]
            if (
                found.packet.fragment_id == packet.fragment_id
                and found.packet.src[1] == packet.src[1] and found.packet.src[0] == packet.src[0]
                and found.packet.dst[1] == packet.dst[1] and found.packet.dst[0] == packet.dst[0]
                and found.packet.family == packet.family
                and (packet.family == 6 or found.packet.protocol == packet.protocol)
            ):
                return found
            number = found.chain
        return NULL

    cdef Datagram* _open(self, const Packet* packet, uint64_t now) noexcept nogil:
        cdef Datagram* opened
        cdef uint32_t number, bucket = _bucket(packet)
        if self.free_list == 0 and self.touched < DATAGRAMS:
            self.touched += 1
            number = self.touched
            opened = &self.datagrams[number - 1]
        else:
            if self.free_list == 0:
                self._close(&self.datagrams[self.oldest - 1])
            number = self.free_list
            opened = &self.datagrams[number - 1]
            self.free_list = opened.chain
        memset(opened, 0, sizeof(Datagram))
        opened.packet = packet[0]
        opened.deadline = now + self.timeout
        opened.chain = self.buckets[bucket]
        self.buckets[bucket] = number
        opened.previous = self.newest
        if self.newest:
            self.datagrams[self.newest - 1].next = number
        else:
            self.oldest = number
        self.newest = number
        return opened

    cdef void _close(self, Datagram* datagram) noexcept nogil:
        self.lost += datagram.fragments
        self._unlink(datagram)

    # Take a datagram out of the lists; its contents stay until its place is used again.
    cdef void _unlink(self, Datagram* datagram) noexcept nogil:
        cdef uint32_t number = <uint32_t>(datagram - self.datagrams) + 1
        cdef uint32_t* link = &self.buckets[_bucket(&datagram.packet)]
        while link[0] != number:
            link = &self.datagrams[link[0] - 1].chain
        link[0] = datagram.chain
        if datagram.previous:
            self.datagrams[datagram.previous - 1].next = datagram.next
        else:
            self.oldest = datagram.next
        if datagram.next:
            self.datagrams[datagram.next - 1].previous = datagram.previous
        else:
            self.newest = datagram.previous
        datagram.chain = self.free_list
        self.free_list = number

    cdef void drain(self) noexcept nogil:
        while self.oldest:
            self._close(&self.datagrams[self.oldest - 1])
