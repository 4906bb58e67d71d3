# cython: language_level=3
"""What the compiled code reads and writes, for tests that look at one step of it alone; methods in Cython."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stddef cimport size_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from posix.unistd cimport usleep

from classifier.engine.cython_method cimport CythonMethod
from classifier.engine.method_values cimport NewFlow, UplinkFigures
from classifier.engine.tables cimport (
    USED_AGAIN, Slot, Table, create, destroy, expires, find, holder, insert, new_tag, remove,
    slot_at, use_again,
)
from classifier.engine.wire cimport Packet, parse
from classifier.queue.nfnetlink cimport (
    KERNEL_ERROR, OVERRUN, PACKET, VERDICT_BYTES, MessageKind, QueuedPacket, Verdict, read_message,
    write_verdict,
)
from classifier.replay.link cimport Frame
from classifier.replay.reader cimport CaptureReader
from classifier.replay.stream cimport READ_INTERRUPTED


def headers(packet):
    """What the parser reads from a packet, any buffer, from its IP header on.

    Returns the fields of `Packet` in wire.pxd by name, addresses as [high, low] words, and
    `malformed`: 0, or the offset at which the packet stopped making sense plus one.
    """
    cdef Py_buffer view
    cdef Packet parsed
    PyObject_GetBuffer(packet, &view, PyBUF_SIMPLE)
    try:
        fault = parse(<const uint8_t*>view.buf, <size_t>view.len, &parsed)
    finally:
        PyBuffer_Release(&view)
    return {**parsed, "malformed": fault}


def message_read(const uint8_t[::1] data not None):
    """One netlink message as the queue reads it.

    ("packet", fields) with the keys id, mark, interface_index, uid, payload, broken; ("error",
    errno), where 0 is an acknowledgement; ("overrun", None); ("unreadable", None).
    """
    cdef QueuedPacket packet
    cdef int error
    cdef const uint8_t* first = &data[0] if data.shape[0] else NULL
    cdef MessageKind kind = read_message(first, data.shape[0], &packet, &error)
    if kind == PACKET:
        return "packet", {
            "id": packet.id,
            "mark": packet.mark,
            "interface_index": packet.interface_index,
            "uid": packet.uid,
            "payload": packet.payload[: packet.size],
            "broken": bool(packet.broken),
        }
    if kind == KERNEL_ERROR:
        return "error", error
    return ("overrun", None) if kind == OVERRUN else ("unreadable", None)


def verdict_written(uint16_t queue, uint32_t id, bint accept, mark=None, bint all_up_to=False):
    """A verdict message as the queue writes it; mark None leaves the packet's mark alone."""
    cdef uint8_t out[VERDICT_BYTES]
    cdef Verdict verdict
    verdict.id = id
    verdict.accept = accept
    verdict.has_mark = mark is not None
    verdict.mark = mark or 0
    cdef size_t size = write_verdict(out, queue, &verdict, all_up_to)
    return out[:size]


def take(CaptureReader reader not None):
    """The next packets of a capture; an empty list at the end.

    Each is (nanoseconds since 1970, bytes from the IP header on or None for a frame without IP,
    length in bytes before the capture cut it).
    """
    cdef Frame[64] frames
    cdef int i, count = READ_INTERRUPTED
    while count == READ_INTERRUPTED:
        with nogil:
            count = reader.read(frames, 64)
    if count < 0:
        raise reader.failure()
    return [
        (
            frames[i].time,
            None if frames[i].data is NULL else frames[i].data[: frames[i].size],
            frames[i].length,
        )
        for i in range(count)
    ]


def packets_read(CaptureReader reader not None):
    """How many packets of a capture were read so far."""
    return reader.packets_read


cdef class StickyTable:
    """A table of sticky entries by itself: keys and hosts are 64-bit digests, times milliseconds."""

    cdef Table table
    cdef uint32_t tag

    def __cinit__(self, size_t capacity):
        create(&self.table, capacity, False)
        self.tag = new_tag(&self.table, 1)

    def __dealloc__(self):
        destroy(&self.table)

    def visit(self, uint64_t key, uint64_t host, uint64_t now, uint64_t timeout):
        """Whether `key` was remembered; now it is, from `host`."""
        cdef Slot* slot = find(&self.table, key)
        if slot.life and expires(slot) <= now:
            remove(&self.table, slot)
            slot = find(&self.table, key)
        if slot.life:
            use_again(&self.table, slot, now + timeout, host)
            return True
        insert(&self.table, slot, key, now + timeout, self.tag, host, now)
        return False

    def entries(self):
        """By key: the time from which it is not valid, the host that holds it (None: no room to
        tell hosts apart), and whether it was used again."""
        cdef Slot* slot
        cdef size_t i
        found = {}
        for i in range(self.table.slot_count):
            slot = slot_at(&self.table, i)
            if slot.life:
                host = self.table.holders.holders[holder(slot)].digest if holder(slot) else None
                found[slot.digest] = expires(slot), host, bool(slot.life & USED_AGAIN)
        return found

    def counted(self):
        """How many entries each host is said to hold, and how many hosts hold some."""
        cdef uint32_t i
        counts = {}
        for i in range(self.table.holders.mask + 1):
            if self.table.holders.holders[i].entries:
                counts[self.table.holders.holders[i].digest if i else None] = (
                    self.table.holders.holders[i].entries
                )
        return counts, self.table.holders.count


cdef class ByAddressInCython(CythonMethod):
    """As `ByAddress` of the model."""

    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        cdef uint64_t high = flow.packet.dst[0], low = flow.packet.dst[1]
        if flow.packet.sport == 22:
            return -1
        if flow.packet.family == 4:
            high = 0
            low = <uint32_t>low
        # 2 to the 64th is 1 more than the largest number.
        high = (high % count) * (<uint64_t>0xFFFFFFFFFFFFFFFF % count + 1)
        return <int32_t>((high + low % count + flow.packet.sport) % count)


cdef class WaitingInCython(CythonMethod):
    """The first uplink, at once; for port 99 not before `go_on` is 1."""

    cdef readonly int waiting
    cdef public int go_on
    cdef object __weakref__

    cdef int32_t pick(
        self, const NewFlow* flow, const UplinkFigures* uplinks, uint32_t count, double now
    ) noexcept nogil:
        cdef int milliseconds
        if flow.packet.dport == 99:
            self.waiting = 1
            for milliseconds in range(30000):
                if self.go_on:
                    break
                usleep(1000)
            self.waiting = 0
        return 0
