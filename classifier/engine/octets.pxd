# Unaligned reads from bytes that came from outside. The caller has checked the bounds.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    /* `swap` is true when the bytes are in the other order than this machine's. */
    static inline uint16_t nfqc_load16(const uint8_t* p, int swap) {
        uint16_t v; memcpy(&v, p, 2); return swap ? __builtin_bswap16(v) : v;
    }
    static inline uint32_t nfqc_load32(const uint8_t* p, int swap) {
        uint32_t v; memcpy(&v, p, 4); return swap ? __builtin_bswap32(v) : v;
    }
    static inline uint64_t nfqc_load64(const uint8_t* p, int swap) {
        uint64_t v; memcpy(&v, p, 8); return swap ? __builtin_bswap64(v) : v;
    }
    #define NFQC_LITTLE (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__)
    static inline uint16_t nfqc_big16(const uint8_t* p) { return nfqc_load16(p, NFQC_LITTLE); }
    static inline uint32_t nfqc_big32(const uint8_t* p) { return nfqc_load32(p, NFQC_LITTLE); }
    static inline uint64_t nfqc_big64(const uint8_t* p) { return nfqc_load64(p, NFQC_LITTLE); }
    """
    uint16_t load16 "nfqc_load16"(const uint8_t* p, bint swap) noexcept nogil
    uint32_t load32 "nfqc_load32"(const uint8_t* p, bint swap) noexcept nogil
    uint64_t load64 "nfqc_load64"(const uint8_t* p, bint swap) noexcept nogil
    # Big-endian, as all headers of IP are.
    uint16_t big16 "nfqc_big16"(const uint8_t* p) noexcept nogil
    uint32_t big32 "nfqc_big32"(const uint8_t* p) noexcept nogil
    uint64_t big64 "nfqc_big64"(const uint8_t* p) noexcept nogil
