"""pcapng files (draft-ietf-opsawg-pcapng): how their blocks follow each other.

What stands inside a block is read by pcapng_blocks.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport free, realloc

from classifier.engine.octets cimport load16, load32
from classifier.replay.link cimport fail_link, link_known, set_frame
from classifier.replay.pcapng_blocks cimport (
    ENHANCED_PACKET_BLOCK,
    INTERFACE_BLOCK,
    OLD_PACKET_BLOCK,
    SECTION_BLOCK,
    SIMPLE_PACKET_BLOCK,
    BlockKind,
    Fault,
    PacketBlock,
    describe_interface,
    open_packet,
)
from classifier.replay.stream cimport (
    MAX_BLOCK, READ_END, READ_NOTHING, READ_ONE, fail, head_of, need, offset_of,
)

cdef enum:
    MAX_INTERFACES = 65536
    BYTE_ORDER_MAGIC = 0x1A2B3C4D


cdef bint is_pcapng(const uint8_t* head) noexcept nogil:
    return load32(head, False) == SECTION_BLOCK    # it reads the same in both byte orders


cdef void free_pcapng(PcapngFile* file) noexcept nogil:
    free(file.interfaces)
    file.interfaces = NULL


cdef int next_block(Stream* stream, PcapngFile* file, Frame* frame) noexcept nogil:
    cdef const uint8_t* head
    cdef uint32_t kind, length
    cdef int status
    if file.trailer:
        return pass_over(stream, file)
    status = need(stream, 12)
    if status != READ_ONE:
        if status != READ_END or stream.end == stream.begin:
            return status
        snprintf(stream.reason, sizeof(stream.reason), "the block is cut after %zu bytes",
                 stream.end - stream.begin)
        return fail(stream, offset_of(stream), stream.reason)
    head = head_of(stream)
    if is_pcapng(head):
        status = need(stream, 16)
        if status == READ_END:
            return fail(stream, offset_of(stream), "the section header is cut")
        return begin_section(stream, file) if status == READ_ONE else status
    kind = load32(head, file.swap)
    length = load32(head + 4, file.swap)
    if length < 12 or length & 3:
        snprintf(
            stream.reason, sizeof(stream.reason),
            "a block length of %u bytes; it has to be a multiple of 4, and 12 or more", length,
        )
        return fail(stream, offset_of(stream) + 4, stream.reason)
    if kind not in (
        INTERFACE_BLOCK, OLD_PACKET_BLOCK, SIMPLE_PACKET_BLOCK, ENHANCED_PACKET_BLOCK
    ):
        file.skip_from = offset_of(stream)
        file.skip = length - 12
        file.trailer = length
        stream.begin += 8
        return pass_over(stream, file)
    return whole_block(stream, file, <BlockKind>kind, length, frame)


# A block that is wanted, and so has to be in the buffer as a whole.
cdef int whole_block(
    Stream* stream, PcapngFile* file, BlockKind kind, uint32_t length, Frame* frame
) noexcept nogil:
    cdef const uint8_t* head
    cdef int status
    if length > MAX_BLOCK:
        snprintf(
            stream.reason, sizeof(stream.reason),
            "a block length of %u bytes; packets and interfaces take no more than %u",
            length, <unsigned int>MAX_BLOCK,
        )
        return fail(stream, offset_of(stream) + 4, stream.reason)
    status = need(stream, length)
    if status != READ_ONE:
        if status != READ_END:
            return status
        snprintf(stream.reason, sizeof(stream.reason), "the block is cut after %zu of %u bytes",
                 stream.end - stream.begin, length)
        return fail(stream, offset_of(stream), stream.reason)
    head = head_of(stream)
    if load32(head + length - 4, file.swap) != length:
        return fail(
            stream, offset_of(stream) + length - 4, "the two lengths of the block are not the same"
        )
    if kind == INTERFACE_BLOCK:
        status = add_interface(stream, file, head + 8, length - 12)
    else:
        status = packet_block(stream, file, kind, head + 8, length - 12, frame)
    if status > 0:
        stream.begin += length
    return status


# Drop the rest of a block that is of no interest, however long it is.
cdef int pass_over(Stream* stream, PcapngFile* file) noexcept nogil:
    cdef uint64_t here
    cdef int status
    while file.skip:
        here = stream.end - stream.begin
        if here > file.skip:
            here = file.skip
        stream.begin += <size_t>here
        file.skip -= here
        if file.skip:
            status = need(stream, 1)
            if status == READ_END:
                return fail(stream, file.skip_from, "the block is cut")
            if status != READ_ONE:
                return status
    status = need(stream, 4)
    if status == READ_END:
        return fail(stream, file.skip_from, "the block is cut")
    if status != READ_ONE:
        return status
    if load32(head_of(stream), file.swap) != file.trailer:
        return fail(stream, offset_of(stream), "the two lengths of the block are not the same")
    stream.begin += 4
    file.trailer = 0
    return READ_NOTHING


# The first 16 bytes of a section header. Sections may differ in byte order.
cdef int begin_section(Stream* stream, PcapngFile* file) noexcept nogil:
    cdef const uint8_t* head = head_of(stream)
    cdef uint64_t at = offset_of(stream)
    cdef uint32_t length
    cdef uint16_t major
    cdef bint swap
    if load32(head + 8, False) == BYTE_ORDER_MAGIC:
        swap = False
    elif load32(head + 8, True) == BYTE_ORDER_MAGIC:
        swap = True
    else:
        return fail(stream, at + 8, "the section does not say its byte order")
    length = load32(head + 4, swap)
    major = load16(head + 12, swap)
    if length < 28 or length & 3:
        snprintf(
            stream.reason, sizeof(stream.reason),
            "a section header of %u bytes; it has to be a multiple of 4, and 28 or more", length,
        )
        return fail(stream, at + 4, stream.reason)
    if major != 1:
        snprintf(stream.reason, sizeof(stream.reason), "pcapng version %u is not known",
                 <unsigned int>major)
        return fail(stream, at + 12, stream.reason)
    file.swap = swap
    file.interface_count = 0
    file.skip_from = at
    file.skip = length - 20
    file.trailer = length
    stream.begin += 16
    return READ_NOTHING


cdef int add_interface(
    Stream* stream, PcapngFile* file, const uint8_t* body, uint32_t size
) noexcept nogil:
    cdef uint64_t at = stream.base + <uint64_t>(body - stream.buffer)
    cdef Interface* grown
    cdef Fault fault
    cdef uint32_t room
    if file.interface_count == file.interface_room:
        if file.interface_room >= MAX_INTERFACES:
            return fail(stream, at, "the section has more than 65536 interfaces")
        room = file.interface_room * 2 if file.interface_room else 4
        grown = <Interface*>realloc(file.interfaces, room * sizeof(Interface))
        if grown is NULL:
            return fail(stream, at, "out of memory")
        file.interfaces = grown
        file.interface_room = room
    if not describe_interface(
        &file.interfaces[file.interface_count], body, size, file.swap, &fault
    ):
        return fail(stream, at + fault.at, fault.reason)
    file.interface_count += 1
    return READ_NOTHING


cdef int packet_block(
    Stream* stream, PcapngFile* file, BlockKind kind, const uint8_t* body, uint32_t size,
    Frame* frame
) noexcept nogil:
    cdef uint64_t at = stream.base + <uint64_t>(body - stream.buffer)
    cdef PacketBlock packet
    cdef Fault fault
    if not open_packet(
        &packet, kind, body, size, file.swap, file.interfaces, file.interface_count, &fault
    ):
        return fail(stream, at + fault.at, fault.reason)
    if not link_known(packet.link):
        return fail_link(stream, at, packet.link)
    if packet.has_time:
        file.last_time = packet.time
    frame.time = file.last_time
    set_frame(frame, packet.link, packet.data, packet.size, packet.length)
    return READ_ONE
