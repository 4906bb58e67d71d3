"""Capture files, read as a stream: pcap and pcapng, from a file or a pipe.

What is handed out points into the stream's buffer. Nothing in a file is believed before it has been
checked against the bytes that are there; a file that cannot be read further ends in a
`CaptureError` that names the packet and the byte.
"""

import os

from classifier.errors import CaptureError

from libc.stdint cimport uint8_t
from libc.stdio cimport snprintf

from classifier.replay.pcap cimport begin_pcap, is_pcap, next_record
from classifier.replay.pcapng cimport free_pcapng, is_pcapng, next_block
from classifier.replay.stream cimport (
    READ_END, READ_NOTHING, READ_ONE, fail, free_stream, head_of, need, offset_of, open_stream,
)


cdef class CaptureReader:
    """The packets of one capture, in file order.

    `path` names a pcap or pcapng file; "-" is standard input. Raises `CaptureError` when it cannot
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
        """How many bytes of the file were used so far."""
        return offset_of(&self.stream)

    def failure(self):
        """Why reading ended, as an error to raise."""
        failed = self.stream.os_error
        reason = os.strerror(failed) if failed else self.stream.reason.decode()
        if failed and self.stream.failed_at == 0:  # a folder, say: no byte of it is wrong
            return CaptureError(f"{self.path}: {reason}")
        return CaptureError(
            f"{self.path}: packet {self.packets_read + 1}, byte {self.stream.failed_at}: {reason}"
        )

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
        if status == READ_END:
            return fail(stream, 0, "the file is empty" if stream.end == 0 else "not a capture file")
        if status != READ_ONE:
            return status
        head = head_of(stream)
        if is_pcapng(head):
            self.format = PCAPNG
            return READ_ONE
        if not is_pcap(head):
            if head[0] == 0x1F and head[1] == 0x8B:
                return fail(
                    stream, 0, "not a capture file (gzip: zcat F | nfq-classifier replay G -)"
                )
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
