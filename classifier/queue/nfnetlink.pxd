# Messages of nfnetlink_queue, one packet each: read with every bound checked, verdicts written.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t

cdef enum:
    VERDICT_BYTES = 40

cdef enum MessageKind:
    PACKET = 0        # `packet` holds what could be read; its id at least
    KERNEL_ERROR = 1  # `error` is an errno, 0 for an acknowledgement
    OVERRUN = 2
    UNREADABLE = 3    # no packet id in it, so nothing that could be answered

cdef struct QueuedPacket:
    uint32_t id
    uint32_t mark
    uint32_t interface_index  # where it came in; 0 for the gateway's own flows
    uint32_t size             # bytes at payload
    int64_t uid               # -1 where the kernel tells none
    const uint8_t* payload    # inside the message; from the IP header on
    bint broken               # an attribute did not fit: payload empty, mark perhaps not read

# `size` is how many bytes are there; nothing beyond them is read, whatever the message claims.
cdef MessageKind read_message(
    const uint8_t* data, size_t size, QueuedPacket* packet, int* error
) noexcept nogil

cdef struct Verdict:
    uint32_t id
    bint accept
    bint has_mark    # without it the packet's mark is left alone
    uint32_t mark    # becomes the whole mark of the packet

# Write a verdict at `out`, which has room for VERDICT_BYTES; returns the bytes written. With
# `all_up_to` it answers every packet that waits and is not younger than this one.
cdef size_t write_verdict(
    uint8_t* out, uint16_t queue, const Verdict* verdict, bint all_up_to
) noexcept nogil
