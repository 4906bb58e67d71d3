"""Where the flows of a replay went, counted as they start and end."""

import socket
import struct

from classifier.replay.reasons import REASONS

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy

cdef enum:
    FIRST_ROOM = 4096


cdef class FlowLog:
    """The sums of `rules` rules and all placements; with `keep` every flow but the inbound ones."""

    def __cinit__(self, uint32_t rules, bint keep):
        self.keeps_records = keep
        self.rule_count = rules
        self.rule_flows = <uint64_t*>calloc(rules + 1, sizeof(uint64_t))
        if self.rule_flows is NULL:
            raise MemoryError

    def __dealloc__(self):
        free(self.records)
        free(self.rule_flows)

    def total(self, uint8_t placement):
        cdef Sum* found = &self.sums[placement]
        return found.flows, found.packets, found.bytes

    def rules(self):
        cdef uint32_t i
        return [self.rule_flows[i] for i in range(self.rule_count)]

    def __len__(self):
        return self.record_count

    def record(self, Py_ssize_t index):
        cdef Record* found
        if not 0 <= index < self.record_count:
            raise IndexError(index)
        found = &self.records[index]
        return (
            found.time,
            found.protocol,
            address_text(found.src, found.family),
            found.sport if found.has_ports else None,
            address_text(found.dst, found.family),
            found.dport if found.has_ports else None,
            found.placement,
            found.rule,
            REASONS[found.reason],
            found.packets,
            found.bytes,
        )

    cdef bint reserve(self, uint32_t count) noexcept nogil:
        cdef uint32_t room
        cdef Record* grown
        if self.keeps_records and self.record_room - self.record_count < count:
            room = self.record_room * 2 if self.record_room else FIRST_ROOM
            grown = <Record*>realloc(self.records, room * sizeof(Record))
            if grown is NULL:
                return False
            self.records = grown
            self.record_room = room
        return True

    cdef uint32_t begin(
        self, const Packet* packet, int64_t time, const DecidedFlow* decision
    ) noexcept nogil:
        cdef Record* record
        self.sums[decision.placement].flows += 1
        # The engine may have another policy by now than the one that the log was made for.
        if 0 <= decision.rule < <int64_t>self.rule_count:
            self.rule_flows[decision.rule] += 1
        if not self.keeps_records or decision.placement == PLACED_INBOUND:
            return 0
        record = &self.records[self.record_count]
        self.record_count += 1
        memcpy(record.src, packet.src, sizeof(record.src))
        memcpy(record.dst, packet.dst, sizeof(record.dst))
        record.time = time
        record.rule = decision.rule if decision.rule < <int64_t>self.rule_count else -1
        record.sport = packet.sport
        record.dport = packet.dport
        record.protocol = packet.protocol
        record.family = packet.family
        record.has_ports = packet.has_ports
        record.placement = decision.placement
        record.reason = decision.reason
        record.packets = record.bytes = 0
        return self.record_count - 1

    cdef void end(
        self, uint32_t number, uint8_t placement, uint64_t packets, uint64_t bytes
    ) noexcept nogil:
        self.sums[placement].packets += packets
        self.sums[placement].bytes += bytes
        if self.keeps_records and placement != PLACED_INBOUND:
            self.records[number].packets = packets
            self.records[number].bytes = bytes


cdef str address_text(const uint64_t* words, uint8_t family):
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, struct.pack(">I", <uint32_t>words[1]))
    return socket.inet_ntop(socket.AF_INET6, struct.pack(">QQ", words[0], words[1]))
