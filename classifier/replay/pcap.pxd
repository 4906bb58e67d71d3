# pcap files: a header, then records.
from libc.stdint cimport uint8_t, uint32_t

from classifier.replay.link cimport Frame
from classifier.replay.stream cimport Stream

cdef enum LengthOrder:
    CAPTURED_FIRST
    ORIGINAL_FIRST     # libpcap before version 2.3, and DG/UX
    EITHER_FIRST       # version 2.3: the smaller one is what was captured

cdef struct PcapFile:
    bint swap                # the file's byte order is not this machine's
    bint nanoseconds         # instead of microseconds
    int lengths              # a LengthOrder
    uint32_t record_header   # bytes before each packet
    uint32_t link

# Whether a file that begins with these 4 bytes is one.
cdef bint is_pcap(const uint8_t* head) noexcept nogil

# Reads the file's header: READ_ONE, or as `need`.
cdef int begin_pcap(Stream* stream, PcapFile* file) noexcept nogil

# The next packet: READ_ONE, READ_END, or as `need`; nothing is used up but by READ_ONE.
cdef int next_record(Stream* stream, const PcapFile* file, Frame* frame) noexcept nogil
