# Capture files, read as a stream of IP packets.
from libc.stdint cimport uint64_t

from classifier.replay.link cimport Frame
from classifier.replay.pcap cimport PcapFile
from classifier.replay.pcapng cimport PcapngFile
from classifier.replay.stream cimport Stream

cdef enum Format:
    UNKNOWN = 0
    PCAP = 1
    PCAPNG = 2

cdef class CaptureReader:
    cdef readonly str path
    cdef object archive            # an `Archive`; None: the file is not packed
    cdef bint owned                # the descriptor is ours to close
    cdef int format                # a Format
    cdef Stream stream
    cdef PcapFile pcap
    cdef PcapngFile pcapng
    cdef uint64_t packets_read

    # Fill up to `count` frames. Their data stays where it is until the next call. Returns how many,
    # or READ_END, READ_FAILED or READ_INTERRUPTED; packets before a failure are returned first.
    cdef int read(self, Frame* frames, int count) noexcept nogil

    cdef int _recognise(self) noexcept nogil

    # Goes on with what a packed file unpacks to; False where that cannot be.
    cdef bint _unpack(self) noexcept nogil
