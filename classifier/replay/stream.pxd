# The bytes of a capture file: one buffer, filled as they are needed.
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef enum ReadStatus:
    # What a step of reading came to.
    READ_END = 0
    READ_ONE = 1             # what was asked for is there
    READ_NOTHING = 2         # a block without a packet: go on
    READ_LATER = 3           # it needs the buffer, which frames that were handed out point into
    READ_FAILED = -1         # `reason` or `os_error` says why
    READ_INTERRUPTED = -2    # a signal arrived; call again

cdef enum:
    # A packet with its options, or the description of an interface.
    MAX_BLOCK = 512 << 10

cdef struct Stream:
    int descriptor
    void* archive            # the `Archive` that reads it, borrowed; NULL: it is read as it is
    bint at_end              # read(2) has said so
    bint in_use              # frames that were handed out point into the buffer
    int os_error
    uint8_t* buffer
    size_t begin, end        # the bytes of the buffer that are not used yet
    uint64_t base            # file offset of buffer[0]; in an archive, offset in what is unpacked
    uint64_t failed_at       # the same
    char[200] reason

# False: no memory for the buffer.
cdef bint open_stream(Stream* stream) noexcept nogil
cdef void free_stream(Stream* stream) noexcept nogil

# Reads until `count` bytes (at most MAX_BLOCK) are there: READ_ONE, or READ_END when the file has
# no more, READ_LATER, READ_FAILED or READ_INTERRUPTED.
cdef int fill(Stream* stream, size_t count) noexcept nogil

# Goes on with what the bytes in the buffer, and those behind them, unpack to.
cdef void unpack(Stream* stream, void* archive) noexcept nogil

# Notes why the file cannot be read further; READ_FAILED.
cdef int fail(Stream* stream, uint64_t offset, const char* reason) noexcept nogil


cdef inline int need(Stream* stream, size_t count) noexcept nogil:
    return READ_ONE if stream.end - stream.begin >= count else fill(stream, count)


cdef inline const uint8_t* head_of(const Stream* stream) noexcept nogil:
    return stream.buffer + stream.begin


cdef inline uint64_t offset_of(const Stream* stream) noexcept nogil:
    # In the file, of the first byte that is not used yet.
    return stream.base + stream.begin
