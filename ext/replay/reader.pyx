"""Capture files, read as a stream: pcap and pcapng, from a file or a pipe, packed or not.

What is handed out points into the stream's buffer. Nothing in a file is believed before it has been
checked against the bytes that are there; a file that cannot be read further ends in a
`CaptureError` that names the packet and the byte.
"""

import os

from classifier.errors import CaptureError
from classifier.replay.archives import Archive, kind_of

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf

from classifier.replay.pcap cimport begin_pcap, is_pcap, next_record
from classifier.replay.pcapng cimport free_pcapng, is_pcapng, next_block
from classifier.replay.stream cimport (
    READ_END, READ_FAILED, READ_INTERRUPTED, READ_NOTHING, READ_ONE, fail, free_stream, head_of,
    need, offset_of, open_stream, unpack,
)


cdef class CaptureReader:
    """The packets of one capture, in file order.

    `path` names a pcap or pcapng file, which may be packed; "-" is standard input. Raises `CaptureError` when it cannot
    be opened.
    """

    def __cinit__(self, str path):
        self.path = path
        if not open_stream(&self.stream):
            raise MemoryError

    def __init__(self, str path):
        if path == "-":
            self.stream.descriptor = 0
            return
        try:
            self.stream.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise CaptureError(f"{path}: {reason}") from None
        self.owned = True

    def __dealloc__(self):
        free_stream(&self.stream)
        free_pcapng(&self.pcapng)

    def __del__(self):
        self.close()

    def __enter__(self):
        return self

    def __exit__(self, *_exception):
        self.close()

    def close(self):
        """Close the file; reading on ends in a `CaptureError`."""
        descriptor, self.stream.descriptor = self.stream.descriptor, -1
        if self.owned and descriptor >= 0:
            self.owned = False
            os.close(descriptor)

    @property
    def offset(self):
        """How many bytes of the file were used so far; of a packed one, read so far."""
        return offset_of(&self.stream) if self.archive is None else self.archive.position

    def first_time(self):
        """When the first packet was captured, in nanoseconds since 1970; None: there is none.

        For a reader that is not read otherwise. CaptureError when it cannot be read so far.
        """
        cdef Frame frame
        cdef int got = self.read(&frame, 1)
        while got == READ_INTERRUPTED:
            got = self.read(&frame, 1)
        if got == READ_FAILED:
            raise self.failure()
        return frame.time if got > 0 else None

    def failure(self):
        """Why reading ended, as an error to raise."""
        place = f"{self.path}: packet {self.packets_read + 1}"
        if self.archive is not None:
            if isinstance(self.archive.error, CaptureError):
                return CaptureError(f"{place}, {self.archive.error}")
            if isinstance(self.archive.error, OSError):
                return CaptureError(f"{self.path}: {self.archive.error.strerror}")
            if self.archive.error is not None:
                return self.archive.error
        failed = self.stream.os_error
        reason = os.strerror(failed) if failed else self.stream.reason.decode()
        if failed and self.stream.failed_at == 0:  # a folder, say: no byte of it is wrong
            return CaptureError(f"{self.path}: {reason}")
        if self.archive is not None:
            reason += " (counted in what the archive unpacks to)"
        return CaptureError(f"{place}, byte {self.stream.failed_at}: {reason}")

    cdef int read(self, Frame* frames, int count) noexcept nogil:
        cdef int filled = 0, status
        self.stream.in_use = False
        if self.format == UNKNOWN:
            status = self._recognise()
            if status != READ_ONE:
                return status
        while filled < count:
            if self.format == PCAPNG:
                status = next_block(&self.stream, &self.pcapng, &frames[filled])
            else:
                status = next_record(&self.stream, &self.pcap, &frames[filled])
            if status == READ_ONE:
                filled += 1
                self.stream.in_use = True
                self.packets_read += 1
            elif status != READ_NOTHING:
                # Whatever stopped us leaves the position before it, so that it comes up again in
                # the next call, after these packets.
                return filled if filled else status
        return filled

    # Tells the format by the first bytes, and reads the header of a pcap file.
    cdef int _recognise(self) noexcept nogil:
        cdef Stream* stream = &self.stream
        cdef const uint8_t* head
        cdef int status = need(stream, 4)
        if status == READ_ONE and stream.archive is NULL:
            if not self._unpack():
                return READ_FAILED
            status = need(stream, 4)
        if status == READ_END:
            return fail(stream, 0, "the file is empty" if stream.end == 0 else "not a capture file")
        if status != READ_ONE:
            return status
        head = head_of(stream)
        if is_pcapng(head):
            self.format = PCAPNG
            return READ_ONE
        if not is_pcap(head):
            snprintf(
                stream.reason, sizeof(stream.reason),
                "not a capture file: it begins with %02x %02x %02x %02x, which is neither pcap nor "
                "pcapng", head[0], head[1], head[2], head[3],
            )
            return fail(stream, 0, stream.reason)
        status = begin_pcap(stream, &self.pcap)
        if status == READ_ONE:
            self.format = PCAP
        return status

    cdef bint _unpack(self) noexcept nogil:
        cdef Stream* stream = &self.stream
        cdef size_t size = stream.end - stream.begin
        with gil:
            try:
                kind = kind_of(PyBytes_FromStringAndSize(<const char*>head_of(stream), 4))
                if kind is None:
                    return True
                head = PyBytes_FromStringAndSize(<const char*>head_of(stream), size)
                self.archive = Archive(kind, head, stream.descriptor)
            except CaptureError as error:
                reason = str(error).encode()
                fail(stream, 0, reason)
                return False
            unpack(stream, <void*>self.archive)
        return True
