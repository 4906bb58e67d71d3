"""Rules compiled for matching: one search per field, then the first rule that all fields allow."""
from libc.stdlib cimport free, malloc
from libc.string cimport memset

cdef enum Kind:
    FROM = 0
    TO = 1
    FROM_PORT = 2
    TO_PORT = 3
    PROTOCOL = 4
    DSCP = 5
    INTERFACE = 6
    USER = 7

cdef enum:
    # Beyond every range of ports.
    NO_PORT = 0x10000

cdef extern from *:
    int trailing_zeros "__builtin_ctzll"(uint64_t bits) noexcept nogil


cdef void* allocate(size_t count, size_t size) except NULL:
    cdef void* memory = malloc(max(count, <size_t>1) * size)
    if memory == NULL:
        raise MemoryError("no memory for the policy's rules")
    return memory


cdef int compile_matcher(Matcher* matcher, object fields, size_t rules) except -1:
    # Many intervals allow the same rules: each different row is stored once.
    cdef dict offsets = {}
    cdef size_t i
    memset(matcher, 0, sizeof(Matcher))
    matcher.words = <uint32_t>max((rules + 63) // 64, <size_t>1)
    shared = [
        (FROM_PORT, fields.from_ports), (TO_PORT, fields.to_ports), (PROTOCOL, fields.protocols),
        (DSCP, fields.dscp), (INTERFACE, fields.interfaces), (USER, fields.users),
    ]
    families = (
        [(TO, fields.to4), (FROM, fields.from4), *shared],
        [(TO, fields.to6), (FROM, fields.from6), *shared],
    )
    for row in fields.families:
        offsets.setdefault(row, len(offsets))
    for _, field in (*families[0], *families[1]):
        for row in field.rules if field is not None else ():
            offsets.setdefault(row, len(offsets))
    matcher.bits = <uint64_t*>allocate(len(offsets) * matcher.words, sizeof(uint64_t))
    for row, offset in offsets.items():
        for i in range(matcher.words):
            matcher.bits[<size_t>offset * matcher.words + i] = (row >> (64 * i)) & 0xFFFFFFFFFFFFFFFF
    for family in range(2):
        matcher.possible[<int>family] = row_at(matcher, offsets[fields.families[family]])
        for kind, field in families[family]:
            if field is not None:
                compile_field(matcher, family, kind, field, offsets)
    return 0


cdef inline uint64_t* row_at(const Matcher* matcher, size_t offset) noexcept nogil:
    return matcher.bits + offset * matcher.words


cdef int compile_field(
    Matcher* matcher, int family, int kind, object intervals, dict offsets
) except -1:
    cdef Field* field = &matcher.fields[family][matcher.field_count[family]]
    cdef size_t i
    matcher.field_count[family] += 1
    field.kind = kind
    field.count = <uint32_t>len(intervals.starts)
    field.rows = <uint64_t**>allocate(field.count, sizeof(uint64_t*))
    if family == 1 and (kind == FROM or kind == TO):
        # 2**128, the end of the last network, ends nothing: no address comes after it.
        if max(intervals.starts) >> 128:
            field.count -= 1
        field.wide_starts = <uint128_t*>allocate(field.count, sizeof(uint128_t))
    else:
        field.starts = <uint64_t*>allocate(field.count, sizeof(uint64_t))
    for i in range(field.count):
        field.rows[i] = row_at(matcher, offsets[intervals.rules[i]])
        start = intervals.starts[i]
        if field.wide_starts != NULL:
            field.wide_starts[i] = wide(start >> 64, start & 0xFFFFFFFFFFFFFFFF)
        else:
            field.starts[i] = start
    return 0


cdef inline uint128_t wide(uint64_t high, uint64_t low) noexcept nogil:
    return (<uint128_t>high << 64) | low


cdef void destroy_matcher(Matcher* matcher) noexcept nogil:
    cdef int family, i
    for family in range(2):
        for i in range(matcher.field_count[family]):
            free(matcher.fields[family][i].starts)
            free(matcher.fields[family][i].wide_starts)
            free(matcher.fields[family][i].rows)
    free(matcher.bits)
    memset(matcher, 0, sizeof(Matcher))


cdef inline const uint64_t* row_of(const Field* field, uint64_t value) noexcept nogil:
    # The last interval that starts at or before `value`, found without branches that depend on it.
    cdef const uint64_t* base = field.starts
    cdef size_t left = field.count
    cdef size_t half
    while left > 1:
        half = left >> 1
        base += half if base[half] <= value else 0
        left -= half
    return field.rows[base - field.starts]


cdef inline const uint64_t* wide_row_of(const Field* field, uint128_t value) noexcept nogil:
    cdef const uint128_t* base = field.wide_starts
    cdef size_t left = field.count
    cdef size_t half
    while left > 1:
        half = left >> 1
        base += half if base[half] <= value else 0
        left -= half
    return field.rows[base - field.wide_starts]


cdef inline const uint64_t* row_of_address(
    const Field* field, const uint64_t* address
) noexcept nogil:
    if field.wide_starts != NULL:
        return wide_row_of(field, wide(address[0], address[1]))
    return row_of(field, <uint32_t>address[1])


cdef inline const uint64_t* select(
    const Field* field, const Packet* packet, uint16_t interface, int64_t uid
) noexcept nogil:
    if field.kind == TO:
        return row_of_address(field, packet.dst)
    if field.kind == FROM:
        return row_of_address(field, packet.src)
    if field.kind == TO_PORT:
        return row_of(field, <uint64_t>packet.dport if packet.has_ports else <uint64_t>NO_PORT)
    if field.kind == FROM_PORT:
        return row_of(field, <uint64_t>packet.sport if packet.has_ports else <uint64_t>NO_PORT)
    if field.kind == PROTOCOL:
        return row_of(field, packet.protocol)
    if field.kind == DSCP:
        return row_of(field, packet.dscp)
    if field.kind == INTERFACE:
        return row_of(field, interface)
    # An unknown user, -1, becomes the largest value, which is beyond every range.
    return row_of(field, <uint64_t>uid)


cdef inline uint64_t intersection(const Candidates* found, uint32_t word) noexcept nogil:
    cdef uint64_t bits = found.rows[0][word]
    cdef int i
    for i in range(1, found.count):
        bits &= found.rows[i][word]
    return bits


cdef void look_up(
    const Matcher* matcher, const Packet* packet, uint16_t interface, int64_t uid, Candidates* found
) noexcept nogil:
    cdef int family = packet.family == 6
    cdef int i
    found.rows[0] = matcher.possible[family]
    for i in range(matcher.field_count[family]):
        found.rows[1 + i] = select(&matcher.fields[family][i], packet, interface, uid)
    found.count = 1 + matcher.field_count[family]
    found.words = matcher.words
    found.word = 0
    found.left = intersection(found, 0)


cdef int32_t next_rule(Candidates* found) noexcept nogil:
    cdef int32_t rule
    while found.left == 0:
        found.word += 1
        if found.word >= found.words:
            return -1
        found.left = intersection(found, found.word)
    rule = <int32_t>(found.word * 64) + trailing_zeros(found.left)
    found.left &= found.left - 1
    return rule
