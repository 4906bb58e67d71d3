"""What one policy does with the flows of a replay: over time, by rule, and with its remotes."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from classifier.replay.flow_log cimport PLACED_DIRECT, PLACED_DROPPED


cdef class Tally:
    def __cinit__(self, policy, seed):
        cdef uint32_t ways = len(policy.uplinks) + 2
        self.rules = len(policy.rules)
        memset(self.columns, NO_COLUMN, sizeof(self.columns))
        for column, uplink in enumerate(policy.uplinks):
            self.columns[<uint8_t>uplink.id] = column
        self.columns[<uint32_t>PLACED_DIRECT] = ways - 2
        self.columns[<uint32_t>PLACED_DROPPED] = ways - 1
        self.timeline = Timeline(ways)
        self.sticky = StickyBreaks(policy, seed)
        self.uses = <Sum*>calloc((self.rules + 1) * ways, sizeof(Sum))
        if self.uses is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.uses)

    def rule(self, int index):
        """Flows, packets and bytes of a rule, by column; of flows without any for -1."""
        cdef uint32_t column, row = <uint32_t>index if index >= 0 else self.rules
        cdef Sum* found
        if row > self.rules:
            raise IndexError(index)
        uses = []
        for column in range(self.timeline.columns):
            found = &self.uses[row * self.timeline.columns + column]
            uses.append((found.flows, found.packets, found.bytes))
        return uses

    cdef uint8_t begin(
        self, const Packet* packet, const DecidedFlow* decided, const Memory* other, uint64_t now
    ) noexcept nogil:
        cdef uint8_t column = self.columns[decided.placement]
        if column != NO_COLUMN:
            self.timeline.begin(column, now)
            self.sticky.place(packet, decided, other, now)
        return column

    cdef void end(
        self, int32_t rule, uint8_t column, uint64_t packets, uint64_t bytes
    ) noexcept nogil:
        # As for the log: the engine may have another policy by now.
        cdef uint32_t row = <uint32_t>rule if 0 <= rule < <int64_t>self.rules else self.rules
        cdef Sum* use
        if column != NO_COLUMN:
            use = &self.uses[row * self.timeline.columns + column]
            use.flows += 1
            use.packets += packets
            use.bytes += bytes
