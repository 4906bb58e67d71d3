"""The buffer that a capture file is read through, so that no file is ever held as a whole."""

from libc.errno cimport EINTR, errno
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset
from posix.unistd cimport read as read_descriptor

cdef enum:
    # Small enough to stay in the second-level cache from the read to the parser.
    CHUNK = 256 << 10
    CAPACITY = MAX_BLOCK + CHUNK


cdef bint open_stream(Stream* stream) noexcept nogil:
    memset(stream, 0, sizeof(Stream))
    stream.descriptor = -1
    stream.buffer = <uint8_t*>malloc(CAPACITY)
    return stream.buffer is not NULL


cdef void free_stream(Stream* stream) noexcept nogil:
    free(stream.buffer)
    stream.buffer = NULL


cdef int fill(Stream* stream, size_t count) noexcept nogil:
    cdef ssize_t got
    cdef size_t room
    while stream.end - stream.begin < count:
        if stream.at_end:
            return READ_END
        if stream.in_use:
            return READ_LATER
        if stream.begin:
            memmove(stream.buffer, stream.buffer + stream.begin, stream.end - stream.begin)
            stream.base += stream.begin
            stream.end -= stream.begin
            stream.begin = 0
        room = CAPACITY - stream.end
        if room > CHUNK:
            room = CHUNK
        if stream.archive is NULL:
            got = read_descriptor(stream.descriptor, stream.buffer + stream.end, room)
        else:
            got = read_archive(stream.archive, stream.buffer + stream.end, room)
        if got > 0:
            stream.end += <size_t>got
        elif got == 0:
            stream.at_end = True
        elif stream.archive is not NULL:
            return READ_FAILED
        elif errno == EINTR:
            return READ_INTERRUPTED
        else:
            stream.os_error = errno
            stream.failed_at = stream.base + stream.end
            return READ_FAILED
    return READ_ONE


cdef void unpack(Stream* stream, void* archive) noexcept nogil:
    stream.archive = archive
    stream.begin = stream.end = 0
    stream.at_end = False


# -1: it cannot be read further, and `error` of the archive says why.
cdef ssize_t read_archive(void* archive, uint8_t* to, size_t room) noexcept with gil:
    try:
        return (<object>archive).readinto(<uint8_t[:room]>to)
    except BaseException as error:
        (<object>archive).error = error
        return -1


cdef int fail(Stream* stream, uint64_t offset, const char* reason) noexcept nogil:
    if reason is not stream.reason:
        snprintf(stream.reason, sizeof(stream.reason), "%s", reason)
    stream.failed_at = offset
    return READ_FAILED
