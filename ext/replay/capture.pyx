"""Capture files, read as a stream: pcap and pcapng, from a file or a pipe.

Formats: draft-ietf-opsawg-pcap (pcap), draft-ietf-opsawg-pcapng (pcapng), and for the odd ones
libpcap's sf-pcap.c: files in the other byte order, with nanoseconds, with the longer record header
of Alexey Kuznetsov's patched libpcap, and the old versions that had the two lengths swapped.

The file is never held as a whole: one buffer takes a few hundred packets at a time, and what is
handed out points into it. Nothing in a file is believed before it has been checked against the
bytes that are there; a file that cannot be read further ends in a `CaptureError` that names the
packet and the byte.
"""

import os

from classifier.errors import CaptureError

from libc.errno cimport EINTR, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset
from posix.unistd cimport read as read_descriptor

from classifier.replay.link cimport NOT_IP, find_ip, link_known, link_name
from classifier.engine.octets cimport load16, load32
from classifier.replay.pcapng cimport (
    ENHANCED_PACKET_BLOCK,
    INTERFACE_BLOCK,
    OLD_PACKET_BLOCK,
    SECTION_BLOCK,
    SIMPLE_PACKET_BLOCK,
    Fault,
    Interface,
    PacketBlock,
    describe_interface,
    open_packet,
)

cdef enum:
    # Small enough to stay in the second-level cache from the read to the parser.
    CHUNK = 256 << 10
    # libpcap's MAXIMUM_SNAPLEN: no capture program writes a longer packet.
    MAX_PACKET = 262144
    # A packet with its options, or the description of an interface.
    MAX_BLOCK = 512 << 10
    CAPACITY = MAX_BLOCK + CHUNK
    MAX_INTERFACES = 65536

cdef enum Format:
    UNKNOWN = 0
    PCAP_MICROSECONDS
    PCAP_NANOSECONDS
    PCAPNG

cdef extern from *:
    """
    enum { NFQC_MICRO = 0xa1b2c3d4u, NFQC_NANO = 0xa1b23c4du, NFQC_LONG = 0xa1b2cd34u };
    """
    const uint32_t MICROSECONDS "NFQC_MICRO"
    const uint32_t NANOSECONDS "NFQC_NANO"
    const uint32_t LONG_RECORDS "NFQC_LONG"   # Kuznetsov's: interface, protocol and type follow

cdef enum Lengths:
    CAPTURED_FIRST
    ORIGINAL_FIRST     # libpcap before version 2.3, and DG/UX
    EITHER_FIRST       # version 2.3: the smaller one is what was captured

cdef enum Step:
    # What reading one record came to, besides READ_FAILED and READ_INTERRUPTED.
    AT_END = 0
    READ_ONE = 1
    NO_PACKET = 2      # a block without a packet: go on
    BUFFER_IN_USE = 3  # more bytes are wanted, but frames that were handed out point to these


cdef bint _pcap_magic(uint32_t magic) noexcept nogil:
    return magic == MICROSECONDS or magic == NANOSECONDS or magic == LONG_RECORDS


cdef class CaptureReader:
    """The packets of one capture, in file order.

    `path` names a pcap or pcapng file; "-" is standard input. Raises `CaptureError` when it cannot
    be opened.
    """

    def __cinit__(self, str path):
        self.descriptor = -1
        self.path = path
        self.buffer = <uint8_t*>malloc(CAPACITY)
        if self.buffer is NULL:
            raise MemoryError

    def __init__(self, str path):
        if path == "-":
            self.descriptor = 0
            return
        try:
            self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CaptureError(f"{path}: {reason}") from None
        self.owned = True

    def __dealloc__(self):
        free(self.buffer)
        free(self.interfaces)

    def __del__(self):
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        """Close the file; reading on ends in a `CaptureError`."""
        descriptor, self.descriptor = self.descriptor, -1
        if self.owned and descriptor >= 0:
            self.owned = False
            os.close(descriptor)

    @property
    def packets(self):
        """How many packets were read so far."""
        return self.packets_read

    @property
    def offset(self):
        """How many bytes of the file were used so far."""
        return self.base + self.begin

    def failure(self):
        """Why reading ended, as an error to raise."""
        reason = os.strerror(self.os_error) if self.os_error else self.reason.decode()
        if self.os_error and self.failed_at == 0:  # a folder, say: no byte of it is wrong
            return CaptureError(f"{self.path}: {reason}")
        return CaptureError(
            f"{self.path}: packet {self.packets_read + 1}, byte {self.failed_at}: {reason}"
        )

    def take(self):
        """The next packets as (nanoseconds since 1970, bytes from the IP header on or None for a
        frame without IP, length before the capture cut it); an empty list at the end."""
        cdef Frame[64] frames
        cdef int i, count = READ_INTERRUPTED
        while count == READ_INTERRUPTED:
            with nogil:
                count = self.read(frames, 64)
        if count < 0:
            raise self.failure()
        return [
            (
                frames[i].time,
                None if frames[i].data is NULL else frames[i].data[: frames[i].size],
                frames[i].length,
            )
            for i in range(count)
        ]

    cdef int read(self, Frame* frames, int count) noexcept nogil:
        cdef int filled = 0, step
        if self.format == UNKNOWN:
            step = self._start()
            if step < 0:
                return step
        while filled < count:
            if self.format == PCAPNG:
                step = self._block(&frames[filled], filled > 0)
            else:
                step = self._pcap_record(&frames[filled], filled > 0)
            if step == READ_ONE:
                filled += 1
                self.packets_read += 1
            elif step != NO_PACKET:
                # Whatever stopped us leaves the position before it, so that it comes up again in
                # the next call, after these packets.
                return filled if filled else step
        return filled

    # Make `count` (at most CAPACITY) bytes available at `begin`: 1, or 0 at the end of the file, or
    # BUFFER_IN_USE, READ_FAILED, READ_INTERRUPTED.
    cdef int _need(self, size_t count, bint filled) noexcept nogil:
        cdef ssize_t got
        cdef size_t room
        while self.end - self.begin < count:
            if self.at_end:
                return 0
            if filled:
                return BUFFER_IN_USE
            if self.begin:
                memmove(self.buffer, self.buffer + self.begin, self.end - self.begin)
                self.base += self.begin
                self.end -= self.begin
                self.begin = 0
            room = CAPACITY - self.end
            got = read_descriptor(
                self.descriptor, self.buffer + self.end, CHUNK if room > CHUNK else room
            )
            if got > 0:
                self.end += <size_t>got
            elif got == 0:
                self.at_end = True
            elif errno == EINTR:
                return READ_INTERRUPTED
            else:
                self.os_error = errno
                self.failed_at = self.base + self.end
                return READ_FAILED
        return 1

    cdef int _fail(self, uint64_t offset, const char* reason) noexcept nogil:
        if reason is not self.reason:
            snprintf(self.reason, sizeof(self.reason), "%s", reason)
        self.failed_at = offset
        return READ_FAILED

    # Recognise the format by its first bytes.
    cdef int _start(self) noexcept nogil:
        cdef const uint8_t* head
        cdef uint32_t magic
        cdef int step = self._need(4, False)
        if step < 0:
            return step
        if step == 0:
            return self._fail(0, "the file is empty" if self.end == 0 else "not a capture file")
        head = self.buffer + self.begin
        magic = load32(head, False)
        if magic == SECTION_BLOCK:
            self.format = PCAPNG
            return 1
        self.swap = not _pcap_magic(magic)
        magic = load32(head, self.swap)
        if not _pcap_magic(magic):
            if head[0] == 0x1F and head[1] == 0x8B:
                return self._fail(
                    0, "not a capture file (gzip: zcat F | nfq-classifier replay G -)"
                )
            snprintf(
                self.reason, sizeof(self.reason),
                "not a capture file: it begins with %02x %02x %02x %02x, which is neither pcap nor "
                "pcapng", head[0], head[1], head[2], head[3],
            )
            return self._fail(0, self.reason)
        step = self._need(24, False)
        if step < 0:
            return step
        if step == 0:
            snprintf(
                self.reason, sizeof(self.reason), "the file header is cut after %zu of 24 bytes",
                self.end - self.begin,
            )
            return self._fail(0, self.reason)
        head = self.buffer + self.begin
        self.record_header = 24 if magic == LONG_RECORDS else 16
        step = self._pcap_header(head)
        if step > 0:
            self.format = PCAP_NANOSECONDS if magic == NANOSECONDS else PCAP_MICROSECONDS
            self.begin += 24
        return step

    cdef int _pcap_header(self, const uint8_t* head) noexcept nogil:
        cdef uint16_t major = load16(head + 4, self.swap), minor = load16(head + 6, self.swap)
        # The upper bits say how long the Ethernet checksum is, which the IP length cuts off anyway.
        cdef uint32_t link = load32(head + 20, self.swap) & 0x03FFFFFF
        if major != 2 and major != 543:
            snprintf(self.reason, sizeof(self.reason), "pcap version %u.%u is not known",
                     <unsigned int>major, <unsigned int>minor)
            return self._fail(4, self.reason)
        if not link_known(link):
            return self._refuse_link(20, link)
        if major == 543 or minor < 3:
            self.lengths = ORIGINAL_FIRST
        else:
            self.lengths = EITHER_FIRST if minor == 3 else CAPTURED_FIRST
        self.interfaces = <Interface*>malloc(sizeof(Interface))
        if self.interfaces is NULL:
            return self._fail(0, "out of memory")
        memset(self.interfaces, 0, sizeof(Interface))
        self.interfaces[0].link = link
        self.interface_count = self.interface_room = 1
        return 1

    cdef int _pcap_record(self, Frame* frame, bint filled) noexcept nogil:
        cdef const uint8_t* head
        cdef uint32_t captured, original, other
        cdef int64_t fraction
        cdef int step = self._need(self.record_header, filled)
        if step != 1:
            if step != 0:
                return step
            if self.end == self.begin:
                return AT_END
            snprintf(
                self.reason, sizeof(self.reason), "the record header is cut after %zu of %u bytes",
                self.end - self.begin, self.record_header,
            )
            return self._fail(self.base + self.begin, self.reason)
        head = self.buffer + self.begin
        captured = load32(head + 8, self.swap)
        original = load32(head + 12, self.swap)
        if self.lengths != CAPTURED_FIRST and (
            self.lengths == ORIGINAL_FIRST or captured > original
        ):
            other = captured
            captured = original
            original = other
        if captured > MAX_PACKET:
            snprintf(
                self.reason, sizeof(self.reason),
                "a captured length of %u bytes; no capture has packets of more than %u",
                captured, <unsigned int>MAX_PACKET,
            )
            return self._fail(self.base + self.begin + 8, self.reason)
        if self.end - self.begin < self.record_header + captured:
            step = self._need(self.record_header + captured, filled)
            if step != 1:
                if step != 0:
                    return step
                snprintf(
                    self.reason, sizeof(self.reason), "the packet is cut after %zu of %u bytes",
                    self.end - self.begin - self.record_header, captured,
                )
                return self._fail(self.base + self.begin + self.record_header, self.reason)
            head = self.buffer + self.begin
        fraction = load32(head + 4, self.swap)
        if self.format == PCAP_MICROSECONDS:
            fraction *= 1000
        frame.time = <int64_t>load32(head, self.swap) * 1000000000 + fraction
        self._frame(frame, self.interfaces[0].link, head + self.record_header, captured, original)
        self.begin += self.record_header + captured
        return READ_ONE

    # One pcapng block.
    cdef int _block(self, Frame* frame, bint filled) noexcept nogil:
        cdef const uint8_t* head
        cdef uint32_t kind, length
        cdef int step
        if self.trailer:
            return self._pass_over(filled)
        step = self._need(12, filled)
        if step != 1:
            if step != 0:
                return step
            if self.end == self.begin:
                return AT_END
            snprintf(self.reason, sizeof(self.reason), "the block is cut after %zu bytes",
                     self.end - self.begin)
            return self._fail(self.base + self.begin, self.reason)
        head = self.buffer + self.begin
        if load32(head, False) == SECTION_BLOCK:
            step = self._need(16, filled)
            if step != 1:
                if step != 0:
                    return step
                return self._fail(self.base + self.begin, "the section header is cut")
            return self._section(self.buffer + self.begin)
        kind = load32(head, self.swap)
        length = load32(head + 4, self.swap)
        if length < 12 or length & 3:
            snprintf(
                self.reason, sizeof(self.reason),
                "a block length of %u bytes; it has to be a multiple of 4, and 12 or more", length,
            )
            return self._fail(self.base + self.begin + 4, self.reason)
        if kind not in (
            INTERFACE_BLOCK, OLD_PACKET_BLOCK, SIMPLE_PACKET_BLOCK, ENHANCED_PACKET_BLOCK
        ):
            self.skip_from = self.base + self.begin
            self.skip = length - 12
            self.trailer = length
            self.begin += 8
            return self._pass_over(filled)
        if length > MAX_BLOCK:
            snprintf(
                self.reason, sizeof(self.reason),
                "a block length of %u bytes; packets and interfaces take no more than %u",
                length, <unsigned int>MAX_BLOCK,
            )
            return self._fail(self.base + self.begin + 4, self.reason)
        step = self._need(length, filled)
        if step != 1:
            if step != 0:
                return step
            snprintf(self.reason, sizeof(self.reason), "the block is cut after %zu of %u bytes",
                     self.end - self.begin, length)
            return self._fail(self.base + self.begin, self.reason)
        head = self.buffer + self.begin
        if load32(head + length - 4, self.swap) != length:
            return self._fail(
                self.base + self.begin + length - 4, "the two lengths of the block are not the same"
            )
        if kind == INTERFACE_BLOCK:
            step = self._interface(head + 8, length - 12)
        else:
            step = self._packet_block(frame, <BlockKind>kind, head + 8, length - 12)
        if step > 0:
            self.begin += length
        return step

    # Drop the rest of a block that is of no interest, however long it is.
    cdef int _pass_over(self, bint filled) noexcept nogil:
        cdef uint64_t here
        cdef int step
        while self.skip:
            here = self.end - self.begin
            if here > self.skip:
                here = self.skip
            self.begin += <size_t>here
            self.skip -= here
            if self.skip:
                step = self._need(1, filled)
                if step == 0:
                    return self._fail(self.skip_from, "the block is cut")
                if step != 1:
                    return step
        step = self._need(4, filled)
        if step == 0:
            return self._fail(self.skip_from, "the block is cut")
        if step != 1:
            return step
        if load32(self.buffer + self.begin, self.swap) != self.trailer:
            return self._fail(
                self.base + self.begin, "the two lengths of the block are not the same"
            )
        self.begin += 4
        self.trailer = 0
        return NO_PACKET

    # A section header: 16 bytes of it. Sections may differ in byte order.
    cdef int _section(self, const uint8_t* head) noexcept nogil:
        cdef uint64_t at = self.base + self.begin
        cdef uint32_t length
        cdef uint16_t major
        cdef bint swap
        if load32(head + 8, False) == 0x1A2B3C4D:
            swap = False
        elif load32(head + 8, True) == 0x1A2B3C4D:
            swap = True
        else:
            return self._fail(at + 8, "the section does not say its byte order")
        length = load32(head + 4, swap)
        major = load16(head + 12, swap)
        if length < 28 or length & 3:
            snprintf(
                self.reason, sizeof(self.reason),
                "a section header of %u bytes; it has to be a multiple of 4, and 28 or more", length,
            )
            return self._fail(at + 4, self.reason)
        if major != 1:
            snprintf(self.reason, sizeof(self.reason), "pcapng version %u is not known",
                     <unsigned int>major)
            return self._fail(at + 12, self.reason)
        self.swap = swap
        self.interface_count = 0
        self.skip_from = at
        self.skip = length - 20
        self.trailer = length
        self.begin += 16
        return NO_PACKET

    cdef int _interface(self, const uint8_t* body, uint32_t size) noexcept nogil:
        cdef uint64_t at = self.base + <uint64_t>(body - self.buffer)
        cdef Interface* grown
        cdef Fault fault
        cdef uint32_t room
        if self.interface_count == self.interface_room:
            if self.interface_room >= MAX_INTERFACES:
                return self._fail(at, "the section has more than 65536 interfaces")
            room = self.interface_room * 2 if self.interface_room else 4
            grown = <Interface*>realloc(self.interfaces, room * sizeof(Interface))
            if grown is NULL:
                return self._fail(at, "out of memory")
            self.interfaces = grown
            self.interface_room = room
        if not describe_interface(
            &self.interfaces[self.interface_count], body, size, self.swap, &fault
        ):
            return self._fail(at + fault.at, fault.reason)
        self.interface_count += 1
        return NO_PACKET

    cdef int _packet_block(
        self, Frame* frame, BlockKind kind, const uint8_t* body, uint32_t size
    ) noexcept nogil:
        cdef uint64_t at = self.base + <uint64_t>(body - self.buffer)
        cdef PacketBlock packet
        cdef Fault fault
        if not open_packet(
            &packet, kind, body, size, self.swap, self.interfaces, self.interface_count, &fault
        ):
            return self._fail(at + fault.at, fault.reason)
        if not link_known(packet.link):
            return self._refuse_link(at, packet.link)
        if packet.has_time:
            self.last_time = packet.time
        frame.time = self.last_time
        self._frame(frame, packet.link, packet.data, packet.size, packet.length)
        return READ_ONE

    cdef int _refuse_link(self, uint64_t at, uint32_t link) noexcept nogil:
        snprintf(self.reason, sizeof(self.reason), "link type %u%s is not one that can be read",
                 link, link_name(link))
        return self._fail(at, self.reason)

    cdef void _frame(
        self, Frame* frame, uint32_t link, const uint8_t* data, uint32_t size, uint32_t length
    ) noexcept nogil:
        cdef uint32_t offset = 0
        if length < size:
            length = size
        frame.version = find_ip(link, data, size, &offset)
        if frame.version == NOT_IP:
            frame.data = NULL
            frame.size = size
            frame.length = length
        else:
            frame.data = data + offset
            frame.size = size - offset
            frame.length = length - offset
