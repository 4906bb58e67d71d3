"""FTP's ways to announce a data connection, read as the kernel's helper reads them.

Source: RFC 959 (PORT, 227), RFC 1123 4.1.2.6 (227 without parentheses), RFC 2428 (EPRT, 229), and
what net/netfilter/nf_conntrack_ftp.c makes of them. Every byte may be any byte.
"""


from classifier.engine.octets cimport big64

cdef extern from "<arpa/inet.h>" nogil:
    int inet_pton(int family, const char* text, void* address)
    enum: AF_INET6

cdef enum:
    LONGEST_ADDRESS = 45    # INET6_ADDRSTRLEN without its NUL


cdef FtpMessage read_ftp(
    const uint8_t* data, uint32_t size, bint from_server, uint8_t family, const uint64_t* sender,
    uint16_t* port,
) noexcept nogil:
    cdef FtpMessage found
    if from_server:
        found = read_numbers(data, size, b"227 ", 0, family, sender, port)
        return found if found != NOTHING else read_extended(
            data, size, b"229 ", b"(", family, sender, port
        )
    found = read_numbers(data, size, b"PORT", b" ", family, sender, port)
    return found if found != NOTHING else read_extended(
        data, size, b"EPRT", b" ", family, sender, port
    )


# h1,h2,h3,h4,p1,p2 behind `word` and, unless that is 0, the next `skipped`; without it from the first
# digit on, to any end.
cdef FtpMessage read_numbers(
    const uint8_t* data, uint32_t size, const char* word, uint8_t skipped, uint8_t family,
    const uint64_t* sender, uint16_t* port,
) noexcept nogil:
    cdef uint32_t[6] numbers
    cdef uint32_t at
    cdef FtpMessage begun = begins_with(data, size, word)
    if begun != ANNOUNCES:
        return begun
    at = 4
    if skipped:
        at = behind(data, size, at, skipped)
    else:
        while at < size and not is_digit(data[at]):
            at += 1
    if not read_list(data + at, size - at, numbers, 6, b",", 13 if skipped else 0):
        return PARTIAL
    port[0] = <uint16_t>(numbers[4] << 8 | numbers[5])
    return ANNOUNCES if family == 4 and is_sender(numbers, sender) else NOTHING


# |1|h1.h2.h3.h4|port| or |2|IPv6 address|port| of a client, |||port| of a server; `|` may be any
# other printable character but a digit.
cdef FtpMessage read_extended(
    const uint8_t* data, uint32_t size, const char* word, uint8_t skipped, uint8_t family,
    const uint64_t* sender, uint16_t* port,
) noexcept nogil:
    cdef uint32_t[4] numbers
    cdef uint64_t[2] address
    cdef uint32_t at, length
    cdef uint8_t mark
    cdef bint to_sender = True
    cdef FtpMessage begun = begins_with(data, size, word)
    if begun != ANNOUNCES:
        return begun
    at = behind(data, size, 4, skipped)
    if size - at <= 3:
        return PARTIAL
    mark = data[at]
    if is_digit(mark) or mark < 33 or mark > 126 or data[at + 2] != mark:
        return PARTIAL
    if skipped == c"(":
        if data[at + 1] != mark:
            return PARTIAL
        at += 3
    else:
        if data[at + 1] != (c"1" if family == 4 else c"2"):
            return PARTIAL
        at += 3
        if family == 4:
            length = read_list(data + at, size - at, numbers, 4, b".", mark)
            to_sender = is_sender(numbers, sender)
        else:
            length = read_ipv6(data + at, size - at, mark, address)
            to_sender = address[0] == sender[0] and address[1] == sender[1]
        if not length:
            return PARTIAL
        at += length + 1
    if not read_port(data, at, size, mark, port):
        return PARTIAL
    return ANNOUNCES if to_sender else NOTHING


# Whether a line begins with a word of four letters, whatever their case; PARTIAL where nothing else
# could follow any more.
cdef FtpMessage begins_with(const uint8_t* data, uint32_t size, const char* word) noexcept nogil:
    cdef uint32_t i
    for i in range(min(size, 4)):
        if upper(data[i]) != <uint8_t>word[i]:
            return NOTHING
    return ANNOUNCES if size > 4 else PARTIAL


cdef inline uint8_t upper(uint8_t letter) noexcept nogil:
    return letter - 32 if c"a" <= letter <= c"z" else letter


cdef inline bint is_digit(uint8_t letter) noexcept nogil:
    return c"0" <= letter <= c"9"


# The place behind the next `letter`; `size` if there is none.
cdef inline uint32_t behind(
    const uint8_t* data, uint32_t size, uint32_t at, uint8_t letter
) noexcept nogil:
    while at < size and data[at] != letter:
        at += 1
    return at + 1 if at < size else size


# Numbers up to 255, `between` each other, with `end` behind them (0: whatever ends them). Their
# length in bytes; 0: it is something else.
cdef uint32_t read_list(
    const uint8_t* data, uint32_t size, uint32_t* numbers, uint32_t count, uint8_t between,
    uint8_t end,
) noexcept nogil:
    cdef uint32_t i, at = 0
    for i in range(count):
        numbers[i] = 0
    i = 0
    while at < size and i < count:
        if is_digit(data[at]):
            numbers[i] = numbers[i] * 10 + data[at] - c"0"
            if numbers[i] > 255:
                return 0
        elif data[at] == between:
            i += 1
        else:
            return at if i == count - 1 and (end == 0 or data[at] == end) else 0
        at += 1
    return 0


cdef bint read_port(
    const uint8_t* data, uint32_t at, uint32_t size, uint8_t end, uint16_t* port
) noexcept nogil:
    cdef uint32_t number = 0
    while at < size and is_digit(data[at]):
        number = number * 10 + data[at] - c"0"
        if number > 65535:
            return False
        at += 1
    port[0] = <uint16_t>number
    return at < size and data[at] == end and number != 0


# The length of an IPv6 address that `end` follows; 0: there is none.
cdef uint32_t read_ipv6(
    const uint8_t* data, uint32_t size, uint8_t end, uint64_t* address
) noexcept nogil:
    cdef char[LONGEST_ADDRESS + 1] text
    cdef uint8_t[16] bytes
    cdef uint32_t length = 0
    address[0] = address[1] = 0
    while length < size and data[length] != end:
        if length == LONGEST_ADDRESS:
            return 0
        text[length] = <char>data[length]
        length += 1
    text[length] = 0
    if length == size or inet_pton(AF_INET6, text, bytes) != 1:
        return 0
    address[0] = big64(bytes)
    address[1] = big64(bytes + 8)
    return length


cdef bint is_sender(const uint32_t* numbers, const uint64_t* sender) noexcept nogil:
    return <uint32_t>sender[1] == (
        numbers[0] << 24 | numbers[1] << 16 | numbers[2] << 8 | numbers[3]
    )
