# Addresses of remotes: to each rank an address of its own, spread over the whole internet, without
# a table.
from libc.stdint cimport uint32_t, uint64_t

from classifier.engine.hashing cimport mix

cdef enum:
    ROUNDS = 4


cdef inline bint special(uint32_t a) noexcept nogil:
    # IPv4 that is nobody's public address: RFC 6890, and what is above 224.0.0.0.
    return (
        a >> 24 == 0 or a >> 24 == 10 or a >> 24 == 127 or a >= 0xE0000000u
        or a >> 22 == 0x191       # 100.64.0.0/10
        or a >> 16 == 0xA9FE      # 169.254.0.0/16
        or a >> 20 == 0xAC1       # 172.16.0.0/12
        or a >> 8 == 0xC00000 or a >> 8 == 0xC00002    # 192.0.0.0/24, 192.0.2.0/24
        or a >> 16 == 0xC0A8      # 192.168.0.0/16
        or a >> 17 == 0x6309      # 198.18.0.0/15
        or a >> 8 == 0xC63364 or a >> 8 == 0xCB0071    # 198.51.100.0/24, 203.0.113.0/24
    )


cdef inline uint32_t shuffled(uint32_t number, uint64_t key) noexcept nogil:
    # A Feistel network (Luby & Rackoff, "How to construct pseudorandom permutations", 1988), so
    # that no two numbers come to the same.
    cdef uint32_t left = number >> 16, right = number & 0xFFFF, before
    cdef int i
    for i in range(ROUNDS):
        before = right
        right = left ^ <uint32_t>(mix(key + (<uint64_t>i << 16) + right) & 0xFFFF)
        left = before
    return (left << 16) | right


cdef inline uint32_t public_address(uint32_t rank, uint64_t key) noexcept nogil:
    # Shuffled until it is public again. That keeps them distinct as long as they were public before
    # (Black & Rogaway, "Ciphers with arbitrary finite domains", 2002), as all from 11.0.0.0 to
    # 100.63.255.255 are: `LARGEST_COUNT` of distributions.py fits in there.
    cdef uint32_t address = shuffled(0x0B000000u + rank, key)
    while special(address):
        address = shuffled(address, key)
    return address
