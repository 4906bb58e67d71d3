"""What control connections announce, kept until it comes or is too old."""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from classifier.engine.hashing cimport fold
from classifier.engine.octets cimport big32
from classifier.replay.ftp cimport ANNOUNCES, NOTHING, PARTIAL, FtpMessage, read_ftp

cdef enum:
    FIRST_ROOM = 256


cdef void free_helpers(Helpers* helpers) noexcept nogil:
    free(helpers.controls)
    free(helpers.unused)
    helpers.controls = NULL
    helpers.unused = NULL


cdef bint reserve_controls(Helpers* helpers, uint32_t count) noexcept nogil:
    cdef uint32_t room, number
    cdef void* grown
    if helpers.unused_count >= count:
        return True
    room = helpers.room * 2 if helpers.room else FIRST_ROOM
    grown = realloc(helpers.controls, room * sizeof(Control))
    if grown is NULL:
        return False
    helpers.controls = <Control*>grown
    grown = realloc(helpers.unused, room * sizeof(uint32_t))
    if grown is NULL:
        return False
    helpers.unused = <uint32_t*>grown
    for number in range(helpers.room, room):
        helpers.unused[helpers.unused_count] = number
        helpers.unused_count += 1
    helpers.room = room
    return True


cdef uint32_t begin_control(Helpers* helpers, uint32_t flow) noexcept nogil:
    cdef uint32_t number
    helpers.unused_count -= 1
    number = helpers.unused[helpers.unused_count]
    memset(&helpers.controls[number], 0, sizeof(Control))
    helpers.controls[number].flow = flow
    return number


cdef void end_control(Helpers* helpers, uint32_t control) noexcept nogil:
    forget(helpers, control)
    helpers.unused[helpers.unused_count] = control
    helpers.unused_count += 1


cdef void read_control(
    Helpers* helpers, uint32_t control, const Packet* packet, const FlowPacket* moving
) noexcept nogil:
    cdef Control* read = &helpers.controls[control]
    cdef uint32_t header, length, captured, sequence
    cdef uint16_t port = 0
    cdef const uint8_t* data
    cdef FtpMessage found = NOTHING
    if moving.size < 20:
        return
    header = (moving.header[12] >> 4) * 4
    if header < 20 or moving.length <= header:
        return
    length = moving.length - header
    captured = moving.size - header if moving.size > header else 0
    data = moving.header + header
    sequence = big32(moving.header + 4)
    if line_begins(read, moving.reply, sequence):
        found = read_ftp(data, captured, moving.reply, packet.family, packet.src, &port)
        if found == ANNOUNCES:
            expect(helpers, control, packet, port, moving.now)
        elif found == PARTIAL and captured == length:
            # The kernel drops it, and waits for it to come once more.
            return
    # Where the end was not captured, it is one of a line, as it nearly always is.
    if captured < length or data[length - 1] == 10:
        note_line(read, moving.reply, sequence + length)


cdef bint line_begins(const Control* read, bint reply, uint32_t sequence) noexcept nogil:
    cdef int i
    for i in range(read.line_count[reply]):
        if read.lines[reply][i] == sequence:
            return True
    return False


cdef void note_line(Control* read, bint reply, uint32_t sequence) noexcept nogil:
    cdef uint32_t* lines = read.lines[reply]
    cdef int oldest
    if line_begins(read, reply, sequence):
        return
    if read.line_count[reply] < 2:
        lines[read.line_count[reply]] = sequence
        read.line_count[reply] += 1
        return
    oldest = 0 if <int32_t>(lines[0] - lines[1]) < 0 else 1
    if <int32_t>(sequence - lines[oldest]) > 0:
        lines[oldest] = sequence


# Who gets the line will open a connection to who sent it.
cdef void expect(
    Helpers* helpers, uint32_t control, const Packet* packet, uint16_t port, uint64_t now
) noexcept nogil:
    cdef Control* read = &helpers.controls[control]
    cdef uint32_t* found = find(helpers, packet.dst, packet.src, port)
    if found[0] and found[0] != control + 1:
        if helpers.controls[found[0] - 1].expires > now:
            # Two cannot wait at one place: the kernel drops the second line.
            return
        forget(helpers, found[0] - 1)
    forget(helpers, control)
    if helpers.expected == MOST_EXPECTED:
        return
    memcpy(read.src, packet.dst, sizeof(read.src))
    memcpy(read.dst, packet.src, sizeof(read.dst))
    read.port = port
    read.expires = now + EXPECTED_FOR
    found = bucket(helpers, read.dst, port)
    read.next = found[0]
    found[0] = control + 1
    helpers.expected += 1


cdef bint take_expected(
    Helpers* helpers, const Packet* packet, uint64_t now, uint32_t* flow
) noexcept nogil:
    cdef uint32_t* found = find(helpers, packet.src, packet.dst, packet.dport)
    cdef Control* read
    cdef bint in_time
    if not found[0]:
        return False
    read = &helpers.controls[found[0] - 1]
    in_time = read.expires > now
    flow[0] = read.flow
    forget(helpers, found[0] - 1)
    return in_time


# What points to the control that expects this connection, or to 0 at the end of its bucket.
cdef uint32_t* find(
    Helpers* helpers, const uint64_t* src, const uint64_t* dst, uint16_t port
) noexcept nogil:
    cdef uint32_t* found = bucket(helpers, dst, port)
    cdef Control* read
    while found[0]:
        read = &helpers.controls[found[0] - 1]
        if (
            read.port == port and read.dst[1] == dst[1] and read.dst[0] == dst[0]
            and read.src[1] == src[1] and read.src[0] == src[0]
        ):
            break
        found = &read.next
    return found


cdef uint32_t* bucket(Helpers* helpers, const uint64_t* dst, uint16_t port) noexcept nogil:
    return &helpers.buckets[
        fold(dst[1] ^ helpers.secret, dst[0] + port) >> 20 & (MOST_EXPECTED - 1)
    ]


cdef void forget(Helpers* helpers, uint32_t control) noexcept nogil:
    cdef Control* read = &helpers.controls[control]
    cdef uint32_t* found
    if not read.expires:
        return
    found = bucket(helpers, read.dst, read.port)
    while found[0] != control + 1:
        found = &helpers.controls[found[0] - 1].next
    found[0] = read.next
    read.expires = 0
    helpers.expected -= 1
