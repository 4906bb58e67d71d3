# pcapng files: sections of blocks.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from classifier.replay.link cimport Frame
from classifier.replay.pcapng_blocks cimport Interface
from classifier.replay.stream cimport Stream

cdef struct PcapngFile:
    bint swap              # the section's byte order is not this machine's
    Interface* interfaces  # of the section
    uint32_t interface_count, interface_room
    int64_t last_time      # of a packet, for those that have none
    uint64_t skip          # bytes of a block still to be passed over
    uint64_t skip_from     # file offset of that block
    uint32_t trailer       # the length that the passed-over block has to end with

# Whether a file that begins with these 4 bytes is one.
cdef bint is_pcapng(const uint8_t* head) noexcept nogil

# The next block: READ_ONE with a packet, READ_NOTHING without, READ_END, or as `need`.
cdef int next_block(Stream* stream, PcapngFile* file, Frame* frame) noexcept nogil
cdef void free_pcapng(PcapngFile* file) noexcept nogil
