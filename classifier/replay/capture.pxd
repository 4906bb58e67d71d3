# Capture files, read as a stream of IP packets.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.replay.pcapng cimport BlockKind, Interface

cdef enum:
    READ_END = 0
    READ_FAILED = -1         # CaptureReader.failure() says why
    READ_INTERRUPTED = -2    # a signal arrived; call again

cdef struct Frame:
    const uint8_t* data   # from the IP header on; NULL: not an IP packet
    uint32_t size         # bytes at data
    uint32_t length       # bytes the packet had from the IP header on before the capture cut it
    uint8_t version       # the IP version that the link layer names; 0: it names none
    int64_t time          # nanoseconds since 1970

cdef class CaptureReader:
    cdef int descriptor
    cdef bint owned
    cdef readonly str path
    cdef uint8_t* buffer
    cdef size_t begin, end         # the bytes of the buffer that are not read yet
    cdef bint at_end               # read(2) has said so
    cdef uint64_t base             # file offset of buffer[0]
    cdef uint64_t skip             # bytes of a block still to be passed over
    cdef uint64_t skip_from        # file offset of that block
    cdef uint32_t trailer          # the length that the passed-over block has to end with
    cdef int format                # 0 until the first bytes are read
    cdef bint swap                 # the file's byte order is not this machine's
    cdef int lengths               # a Lengths: order of the two lengths in a pcap record
    cdef uint32_t record_header    # bytes before each packet of a pcap file
    cdef Interface* interfaces
    cdef uint32_t interface_count, interface_room
    cdef int64_t last_time
    cdef uint64_t packets_read
    cdef int os_error
    cdef uint64_t failed_at
    cdef char[200] reason

    # Fill up to `count` frames. Their data stays where it is until the next call. Returns how many,
    # or READ_END, READ_FAILED or READ_INTERRUPTED; packets before a failure are returned first.
    cdef int read(self, Frame* frames, int count) noexcept nogil

    cdef int _need(self, size_t count, bint filled) noexcept nogil
    cdef int _fail(self, uint64_t offset, const char* reason) noexcept nogil
    cdef int _start(self) noexcept nogil
    cdef int _pcap_header(self, const uint8_t* head) noexcept nogil
    cdef int _pcap_record(self, Frame* frame, bint filled) noexcept nogil
    cdef int _block(self, Frame* frame, bint filled) noexcept nogil
    cdef int _pass_over(self, bint filled) noexcept nogil
    cdef int _section(self, const uint8_t* head) noexcept nogil
    cdef int _interface(self, const uint8_t* body, uint32_t size) noexcept nogil
    cdef int _packet_block(
        self, Frame* frame, BlockKind kind, const uint8_t* body, uint32_t size
    ) noexcept nogil
    cdef int _refuse_link(self, uint64_t at, uint32_t link) noexcept nogil
    cdef void _frame(
        self, Frame* frame, uint32_t link, const uint8_t* data, uint32_t size, uint32_t length
    ) noexcept nogil
