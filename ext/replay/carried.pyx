"""What each uplink has carried so far, counted packet by packet where a method goes by it."""


cdef class Carried:
    """Bytes by placement and direction."""

    def of(self, uint8_t placement):
        return self.bytes[0][placement], self.bytes[1][placement]

    cdef void add(self, uint8_t placement, bint reply, uint64_t bytes) noexcept nogil:
        self.bytes[0 if reply else 1][placement] += bytes
