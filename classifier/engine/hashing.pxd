# Keyed hashing and random numbers, small enough that the tests' model repeats them.
#
# SipHash-1-3 (Aumasson & Bernstein, "SipHash: a fast short-input PRF", 2012; one round per word and
# three to finish, as the Rust and CPython dictionaries use it): who sends packets must not be able
# to choose addresses that collide in our tables. splitmix64 is Steele, Lea & Flood 2014.
from libc.stddef cimport size_t
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    typedef unsigned __int128 nfqc_uint128;
    """
    ctypedef unsigned long long uint128_t "nfqc_uint128"

cdef struct HashKey:
    uint64_t k0
    uint64_t k1


cdef inline uint64_t rotate(uint64_t x, int bits) noexcept nogil:
    return (x << bits) | (x >> (64 - bits))


cdef inline void sip_round(uint64_t* v) noexcept nogil:
    v[0] += v[1]
    v[2] += v[3]
    v[1] = rotate(v[1], 13) ^ v[0]
    v[3] = rotate(v[3], 16) ^ v[2]
    v[0] = rotate(v[0], 32)
    v[2] += v[1]
    v[0] += v[3]
    v[1] = rotate(v[1], 17) ^ v[2]
    v[3] = rotate(v[3], 21) ^ v[0]
    v[2] = rotate(v[2], 32)


cdef inline uint64_t siphash(const HashKey* key, const uint64_t* words, size_t count) noexcept nogil:
    # Of the bytes of `count` words, each with its lowest byte first.
    cdef uint64_t v[4]
    cdef uint64_t last = <uint64_t>(count * 8) << 56
    cdef size_t i
    v[0] = key.k0 ^ 0x736f6d6570736575ULL
    v[1] = key.k1 ^ 0x646f72616e646f6dULL
    v[2] = key.k0 ^ 0x6c7967656e657261ULL
    v[3] = key.k1 ^ 0x7465646279746573ULL
    for i in range(count):
        v[3] ^= words[i]
        sip_round(v)
        v[0] ^= words[i]
    v[3] ^= last
    sip_round(v)
    v[0] ^= last
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef inline uint64_t address_pair(const uint64_t* dst, const uint64_t* src) noexcept nogil:
    # Two IPv4 addresses in one word, which saves half of the time that hashing them takes. No IPv6
    # key has the same hash but by chance: it has more words, and their number is hashed with them.
    return (dst[1] << 32) | <uint32_t>src[1]


cdef inline uint64_t mix(uint64_t z) noexcept nogil:
    # The output function of splitmix64.
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL
    return z ^ (z >> 31)


cdef inline uint64_t fold(uint64_t a, uint64_t b) noexcept nogil:
    # Both halves of the 128-bit product, as wyhash and others mix: cheap, and with secret factors
    # nobody can choose addresses that collide.
    cdef uint128_t product = <uint128_t>a * b
    return <uint64_t>product ^ <uint64_t>(product >> 64)


cdef inline uint64_t address_digest(const HashKey* key, const uint64_t* address) noexcept nogil:
    # Of one address, where it need not be as strong as SipHash.
    return fold(address[1] ^ key.k0, address[0] ^ key.k1)


cdef inline uint64_t splitmix(uint64_t* state) noexcept nogil:
    state[0] += 0x9E3779B97F4A7C15ULL
    return mix(state[0])


cdef inline uint64_t reduce(uint64_t x, uint64_t bound) noexcept nogil:
    # Maps a random word to 0 .. bound - 1 by its high bits.
    return <uint64_t>((<uint128_t>x * bound) >> 64)


cdef inline uint64_t draw(uint64_t* state, uint64_t bound) noexcept nogil:
    # An unbiased number from 0 to bound - 1: Lemire, "Fast random integer generation in an
    # interval", 2019. Draws again with a probability below bound / 2^64.
    cdef uint128_t product = <uint128_t>splitmix(state) * bound
    cdef uint64_t threshold
    if <uint64_t>product < bound:
        threshold = (0 - bound) % bound
        while <uint64_t>product < threshold:
            product = <uint128_t>splitmix(state) * bound
    return <uint64_t>(product >> 64)
