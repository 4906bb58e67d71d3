"""pcap files (draft-ietf-opsawg-pcap), and the odd ones that libpcap's sf-pcap.c reads.

These are files in the other byte order, with nanoseconds, with the longer record header of Alexey
Kuznetsov's patched libpcap, and old versions that had the two lengths swapped.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdio cimport snprintf
from libc.string cimport memset

from classifier.engine.octets cimport load16, load32
from classifier.replay.link cimport fail_link, link_known, set_frame
from classifier.replay.stream cimport READ_END, READ_ONE, fail, head_of, need, offset_of

cdef enum:
    FILE_HEADER = 24
    # libpcap's MAXIMUM_SNAPLEN: no capture program writes a longer packet.
    MAX_PACKET = 262144

cdef extern from *:
    """
    enum { NFQC_MICRO = 0xa1b2c3d4u, NFQC_NANO = 0xa1b23c4du, NFQC_LONG = 0xa1b2cd34u };
    """
    const uint32_t MICROSECONDS "NFQC_MICRO"
    const uint32_t NANOSECONDS "NFQC_NANO"
    const uint32_t LONG_RECORDS "NFQC_LONG"   # Kuznetsov's: interface, protocol and type follow


cdef bint known_magic(uint32_t magic) noexcept nogil:
    return magic == MICROSECONDS or magic == NANOSECONDS or magic == LONG_RECORDS


cdef bint is_pcap(const uint8_t* head) noexcept nogil:
    return known_magic(load32(head, False)) or known_magic(load32(head, True))


cdef int begin_pcap(Stream* stream, PcapFile* file) noexcept nogil:
    cdef const uint8_t* head
    cdef uint32_t magic
    cdef uint16_t major, minor
    cdef int status = need(stream, FILE_HEADER)
    if status == READ_END:
        snprintf(
            stream.reason, sizeof(stream.reason), "the file header is cut after %zu of %d bytes",
            stream.end - stream.begin, <int>FILE_HEADER,
        )
        return fail(stream, 0, stream.reason)
    if status != READ_ONE:
        return status
    head = head_of(stream)
    memset(file, 0, sizeof(PcapFile))
    file.swap = not known_magic(load32(head, False))
    magic = load32(head, file.swap)
    file.nanoseconds = magic == NANOSECONDS
    file.record_header = 24 if magic == LONG_RECORDS else 16
    major = load16(head + 4, file.swap)
    minor = load16(head + 6, file.swap)
    if major != 2 and major != 543:
        snprintf(stream.reason, sizeof(stream.reason), "pcap version %u.%u is not known",
                 <unsigned int>major, <unsigned int>minor)
        return fail(stream, 4, stream.reason)
    # The upper bits say how long the Ethernet checksum is, which the IP length cuts off anyway.
    file.link = load32(head + 20, file.swap) & 0x03FFFFFF
    if not link_known(file.link):
        return fail_link(stream, 20, file.link)
    if major == 543 or minor < 3:
        file.lengths = ORIGINAL_FIRST
    else:
        file.lengths = EITHER_FIRST if minor == 3 else CAPTURED_FIRST
    stream.begin += FILE_HEADER
    return READ_ONE


cdef int next_record(Stream* stream, const PcapFile* file, Frame* frame) noexcept nogil:
    cdef const uint8_t* head
    cdef uint32_t captured, original, other
    cdef int64_t fraction
    cdef int status = need(stream, file.record_header)
    if status != READ_ONE:
        if status != READ_END or stream.end == stream.begin:
            return status
        snprintf(
            stream.reason, sizeof(stream.reason), "the record header is cut after %zu of %u bytes",
            stream.end - stream.begin, file.record_header,
        )
        return fail(stream, offset_of(stream), stream.reason)
    head = head_of(stream)
    captured = load32(head + 8, file.swap)
    original = load32(head + 12, file.swap)
    if file.lengths != CAPTURED_FIRST and (
        file.lengths == ORIGINAL_FIRST or captured > original
    ):
        other = captured
        captured = original
        original = other
    if captured > MAX_PACKET:
        snprintf(
            stream.reason, sizeof(stream.reason),
            "a captured length of %u bytes; no capture has packets of more than %u",
            captured, <unsigned int>MAX_PACKET,
        )
        return fail(stream, offset_of(stream) + 8, stream.reason)
    status = need(stream, file.record_header + captured)
    if status != READ_ONE:
        if status != READ_END:
            return status
        snprintf(
            stream.reason, sizeof(stream.reason), "the packet is cut after %zu of %u bytes",
            stream.end - stream.begin - file.record_header, captured,
        )
        return fail(stream, offset_of(stream) + file.record_header, stream.reason)
    head = head_of(stream)
    fraction = load32(head + 4, file.swap)
    if not file.nanoseconds:
        fraction *= 1000
    frame.time = <int64_t>load32(head, file.swap) * 1000000000 + fraction
    set_frame(frame, file.link, head + file.record_header, captured, original)
    stream.begin += file.record_header + captured
    return READ_ONE
