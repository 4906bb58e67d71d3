"""Replays captures through the engine: which packets start flows, and where those flows go.

Packets come in batches. A first pass parses them and asks for the memory of their flows' slots, a
second one asks for the flows, a third takes the packets in their order. Only a packet that starts a
flow reaches the engine, as only such a packet reaches the queue of a gateway; the engine's time is
that of the capture.
"""

import os
import socket
import struct

from classifier.engine.decision import REASONS

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcpy, memset

from classifier.engine.engine cimport DROP_PACKET, Decision, Engine
from classifier.replay.capture cimport READ_END, READ_FAILED, CaptureReader, Frame
from classifier.replay.conntrack cimport (
    ICMP_PEER,
    IGNORED,
    INVALID,
    KILLED,
    TRACKED,
    Flow,
    Segment,
    Standing,
    Tail,
    advance,
)
from classifier.replay.flows cimport (
    ABSENT,
    REPLY,
    Direction,
    Key,
    fetch_flow,
    fetch_slot,
    find,
    hash_key,
    insert,
    release,
    remove,
    resize,
)
from classifier.replay.fragments cimport HELD, REFUSED, Datagram, FragmentTable, Outcome
from classifier.replay.keys cimport (
    IN_FRAGMENTS,
    MALFORMED_PACKET,
    RELATED,
    TRACK,
    UNTRACKED,
    WITHOUT_IP,
    make_key,
    quoted_key,
)
from classifier.replay.networks cimport left_alone, set_network, within
from classifier.engine.wire cimport WHOLE, Packet, parse

cdef enum:
    # Parsed packets, keys and frames of one batch fit in the first-level cache.
    BATCH = 64
    FIRST_ROOM = 4096
    # What Python hears of between two batches: signals, progress.
    BATCHES_PER_TURN = 512
    # Index into classifier.engine.decision.REASONS of what is left alone before the queue.
    REASON_DIRECT = 7

assert REASONS[REASON_DIRECT] == "direct"


cdef class Tracker:
    """Takes the packets of captures, in order, to `engine`.

    `lan` are networks (of `ipaddress`) that are inside; with none, every flow is taken for an
    outbound one. `in_interface` is where the flows are said to come in. With `keep` each flow is
    remembered for `record`.
    """

    def __cinit__(self, Engine engine not None, lan=(), in_interface=None, bint keep=True):
        cdef uint32_t i
        self.engine = engine
        self.fragments4 = FragmentTable(30000)
        self.fragments6 = FragmentTable(60000)
        self.interface = 0 if in_interface is None else engine.interface_number(in_interface)
        self.keeps_records = keep
        for i, word in enumerate(struct.unpack("4Q", os.urandom(32))):
            self.table.secret[i] = word
        self.rule_flows = <uint64_t*>calloc(len(engine.policy.rules) + 1, sizeof(uint64_t))
        self.lan = <Network*>calloc(len(lan) + 1, sizeof(Network))
        if (
            self.rule_flows is NULL or self.lan is NULL or not resize(&self.table, FIRST_ROOM)
        ):
            raise MemoryError
        for network in lan:
            set_network(&self.lan[self.lan_count], network)
            self.lan_count += 1

    def __dealloc__(self):
        release(&self.table)
        free(self.lan)
        free(self.records)
        free(self.rule_flows)

    def read(self, CaptureReader reader not None):
        """Take some ten thousand packets; False when the capture has no more. CaptureError when it
        cannot be read further; what came before counts."""
        cdef int i, outcome = 1
        with nogil:
            for i in range(BATCHES_PER_TURN):
                if not self._reserve():
                    with gil:
                        raise MemoryError
                outcome = self._batch(reader)
                if outcome <= 0:
                    break
        if outcome == READ_FAILED:
            raise reader.failure()
        return outcome != READ_END

    def finish(self):
        """Close every flow, so that the sums and records are complete."""
        cdef uint32_t at
        for at in range(self.table.mask + 1):
            while self.table.slots[at].number:
                self._end(self.table.slots[at].number - 1)
        self.fragments4.drain()
        self.fragments6.drain()

    def total(self, int target):
        """Flows, packets and bytes of an uplink's id, of 0 (direct), 254 (dropped) or 255
        (inbound)."""
        cdef Sum* found = &self.sums[target & 255]
        return found.flows, found.packets, found.bytes

    def rules(self):
        """How many flows each rule of the policy took."""
        cdef Py_ssize_t i
        return [self.rule_flows[i] for i in range(len(self.engine.policy.rules))]

    def counts(self):
        """All packets; of these: malformed, of no flow, without IP."""
        untracked = self.untracked + self.fragments4.lost + self.fragments6.lost
        return self.packets, self.malformed, untracked, self.without_ip

    def __len__(self):
        return self.record_count

    def record(self, Py_ssize_t index):
        """A flow, in order of start: nanoseconds since 1970, protocol number, source, source port or
        None, destination, destination port or None, target as in `total`, index of the rule or -1,
        reason, packets, bytes; these two are 0 until `finish`, or until the flow has ended."""
        cdef Record* found
        if not 0 <= index < self.record_count:
            raise IndexError(index)
        found = &self.records[index]
        return (
            found.time,
            found.protocol,
            _address(found.src, found.family),
            found.sport if found.has_ports else None,
            _address(found.dst, found.family),
            found.dport if found.has_ports else None,
            found.target,
            found.rule,
            REASONS[found.reason],
            found.packets,
            found.bytes,
        )

    cdef int _batch(self, CaptureReader reader) noexcept nogil:
        cdef Frame[BATCH] frames
        cdef Packet[BATCH] packets
        cdef Key[BATCH] keys
        cdef uint8_t[BATCH] fates
        cdef int i, count = reader.read(frames, BATCH)
        for i in range(count):
            fates[i] = self._look(&frames[i], &packets[i], &keys[i])
            if fates[i] == TRACK:
                hash_key(&self.table, &packets[i], &keys[i])
                fetch_slot(&self.table, keys[i].hash)
        for i in range(count):
            if fates[i] == TRACK:
                fetch_flow(&self.table, keys[i].hash)
        for i in range(count):
            self._set_clock(frames[i].time)
            if fates[i] == TRACK:
                self._track(
                    &packets[i], &keys[i], frames[i].data, frames[i].size, frames[i].time, 1,
                    packets[i].length,
                )
            elif fates[i] == IN_FRAGMENTS:
                self._fragment(&packets[i], &frames[i])
            elif fates[i] == RELATED:
                self._related(&packets[i], &frames[i])
            elif fates[i] == UNTRACKED:
                self.untracked += 1
            elif fates[i] == MALFORMED_PACKET:
                self.malformed += 1
            else:
                self.without_ip += 1
        if count > 0:
            self.packets += <uint64_t>count
        return count

    # Room for whatever one batch may bring.
    cdef bint _reserve(self) noexcept nogil:
        cdef uint32_t room
        cdef Record* grown
        if self.table.room - self.table.living < BATCH:
            self._sweep()
            if self.table.living > self.table.room // 2:
                if not resize(&self.table, self.table.room * 2):
                    return False
        if self.keeps_records and self.record_room - self.record_count < BATCH:
            room = self.record_room * 2 if self.record_room else FIRST_ROOM
            grown = <Record*>realloc(self.records, room * sizeof(Record))
            if grown is NULL:
                return False
            self.records = grown
            self.record_room = room
        return True

    cdef void _sweep(self) noexcept nogil:
        cdef uint32_t at
        for at in range(self.table.mask + 1):
            # Taking one out may move the next one here.
            while self.table.slots[at].number and (
                self.table.flows[self.table.slots[at].number - 1].expires <= self.now
            ):
                self._end(self.table.slots[at].number - 1)

    # Parse a packet and see what is to be done with it.
    cdef uint8_t _look(self, const Frame* frame, Packet* packet, Key* key) noexcept nogil:
        cdef const uint8_t* data = frame.data
        if data is NULL:
            return WITHOUT_IP
        if parse(data, frame.size, packet):
            return MALFORMED_PACKET
        if frame.version and packet.family != frame.version:
            return MALFORMED_PACKET
        # No length in the header: a packet that the network card was to cut, or that it had put
        # together. The parser had to take what was captured of it for its length.
        if packet.length == frame.size and frame.size < frame.length and (
            data[2] | data[3] if packet.family == 4 else data[4] | data[5]
        ) == 0:
            packet.length = frame.length
        # The kernel drops what is shorter than it says.
        if packet.length > frame.length:
            return MALFORMED_PACKET
        if packet.fragment != WHOLE:
            return IN_FRAGMENTS
        return make_key(packet, data, frame.size, key)

    cdef void _set_clock(self, int64_t time) noexcept nogil:
        cdef uint64_t now
        if not self.started:
            self.started = True
            self.first_time = time
        if time > self.first_time:
            now = (<uint64_t>time - <uint64_t>self.first_time) // 1000000
            if now > self.now:
                self.now = now

    cdef void _fragment(self, const Packet* packet, const Frame* frame) noexcept nogil:
        cdef Datagram* whole
        cdef Key key
        cdef Outcome outcome
        if packet.family == 4:
            outcome = self.fragments4.add(packet, frame.data, frame.size, self.now, &whole)
        else:
            outcome = self.fragments6.add(packet, frame.data, frame.size, self.now, &whole)
        if outcome == REFUSED:
            self.untracked += 1
        if outcome == REFUSED or outcome == HELD:
            return
        if make_key(&whole.packet, whole.header, whole.size, &key) == TRACK:
            hash_key(&self.table, &whole.packet, &key)
            self._track(
                &whole.packet, &key, whole.header, whole.size, frame.time, whole.fragments,
                whole.bytes,
            )
        else:
            self.untracked += whole.fragments

    # An ICMP error goes with the flow of the packet that it quotes, if it is sent to whoever sent
    # that one (nf_conntrack_inet_error in nf_conntrack_proto_icmp.c).
    cdef void _related(self, const Packet* packet, const Frame* frame) noexcept nogil:
        cdef uint32_t at = packet.transport + 8, size = frame.size, number
        cdef Packet quoted
        cdef Key key
        cdef Direction direction = ABSENT
        if size > packet.length:
            size = packet.length
        if at < size and quoted_key(frame.data + at, size - at, &quoted, &key):
            if quoted.src[0] == packet.dst[0] and quoted.src[1] == packet.dst[1]:
                hash_key(&self.table, &quoted, &key)
                direction = find(&self.table, &quoted, &key, &number)
        if direction == ABSENT or self.table.flows[number].expires <= self.now:
            self.untracked += 1
        else:
            self.table.flows[number].packets += 1
            self.table.flows[number].bytes += packet.length

    cdef void _track(
        self, const Packet* packet, const Key* key, const uint8_t* data, uint32_t size,
        int64_t time, uint32_t packets, uint64_t bytes
    ) noexcept nogil:
        cdef uint32_t number
        cdef Flow* flow
        cdef Segment segment
        cdef Standing standing
        cdef Direction direction = find(&self.table, packet, key, &number)
        if direction == ABSENT:
            self._start(packet, key, data, size, time, packets, bytes)
            return
        flow = &self.table.flows[number]
        if flow.expires <= self.now:
            self._end(number)
            self._start(packet, key, data, size, time, packets, bytes)
            return
        _segment(&segment, packet, data, size, direction == REPLY, self.now)
        standing = advance(flow, &self.table.tails[number], &segment)
        if standing == INVALID:
            self.untracked += packets
            return
        if standing == TRACKED or standing == IGNORED or standing == KILLED:
            if flow.packets > 0xF0000000u:
                # One packet stays: none would mean a new flow.
                self.table.tails[number].more_packets += flow.packets - 1
                flow.packets = 1
            flow.packets += packets
            flow.bytes += bytes
            if standing == KILLED:
                self._end(number)
            return
        self._end(number)
        self._start(packet, key, data, size, time, packets, bytes)

    cdef void _start(
        self, const Packet* packet, const Key* key, const uint8_t* data, uint32_t size,
        int64_t time, uint32_t packets, uint64_t bytes
    ) noexcept nogil:
        cdef Flow flow
        cdef Tail tail
        cdef Segment segment
        cdef Record* record
        cdef int32_t rule = -1
        cdef uint8_t reason = REASON_DIRECT
        memset(&flow, 0, sizeof(Flow))
        memset(&tail, 0, sizeof(Tail))
        memcpy(flow.src, packet.src, sizeof(flow.src))
        memcpy(flow.dst, packet.dst, sizeof(flow.dst))
        flow.sport = key.sport
        flow.dport = key.dport
        flow.kind = key.kind
        _segment(&segment, packet, data, size, False, self.now)
        # A reply without its request starts nothing.
        if key.sport & ICMP_PEER or advance(&flow, &tail, &segment) != TRACKED:
            self.untracked += packets
            return
        flow.packets = packets
        flow.bytes = bytes
        tail.hash = key.hash
        tail.target = self._place(packet, &rule, &reason)
        self.sums[tail.target].flows += 1
        if rule >= 0:
            self.rule_flows[rule] += 1
        if self.keeps_records and tail.target != TARGET_INBOUND:
            record = &self.records[self.record_count]
            tail.record = self.record_count
            self.record_count += 1
            memcpy(record.src, packet.src, sizeof(record.src))
            memcpy(record.dst, packet.dst, sizeof(record.dst))
            record.time = time
            record.rule = rule
            record.sport = packet.sport
            record.dport = packet.dport
            record.protocol = packet.protocol
            record.family = packet.family
            record.has_ports = packet.has_ports
            record.target = tail.target
            record.reason = reason
            # Told when the flow ends.
            record.packets = record.bytes = 0
        insert(&self.table, &flow, &tail)

    # Where a new flow goes: by the engine, unless a gateway would not have asked it.
    cdef uint8_t _place(self, const Packet* packet, int32_t* rule, uint8_t* reason) noexcept nogil:
        cdef Decision decision
        if self.lan_count and not within(self.lan, self.lan_count, packet.src, packet.family):
            return TARGET_INBOUND
        if left_alone(packet):
            return TARGET_DIRECT
        if self.lan_count and within(self.lan, self.lan_count, packet.dst, packet.family):
            return TARGET_INBOUND
        self.engine.decide_parsed(packet, self.interface, -1, self.now, &decision)
        rule[0] = decision.rule
        reason[0] = decision.reason
        if decision.verdict == DROP_PACKET:
            return TARGET_DROPPED
        return decision.uplink

    # Sum up a flow and forget it.
    cdef void _end(self, uint32_t number) noexcept nogil:
        cdef Flow* flow = &self.table.flows[number]
        cdef Tail* tail = &self.table.tails[number]
        cdef uint64_t packets = flow.packets + tail.more_packets
        self.sums[tail.target].packets += packets
        self.sums[tail.target].bytes += flow.bytes
        if self.keeps_records and tail.target != TARGET_INBOUND:
            self.records[tail.record].packets = packets
            self.records[tail.record].bytes = flow.bytes
        remove(&self.table, number)


cdef inline void _segment(
    Segment* segment, const Packet* packet, const uint8_t* data, uint32_t size, bint reply,
    uint64_t now
) noexcept nogil:
    if size > packet.length:
        size = packet.length
    segment.header = data + packet.transport
    segment.size = size - packet.transport if size > packet.transport else 0
    segment.length = (
        packet.length - packet.transport if packet.length > packet.transport else 0
    )
    segment.now = now
    segment.reply = reply
    segment.tcp_flags = packet.tcp_flags


cdef str _address(const uint64_t* words, uint8_t family):
    if family == 4:
        return socket.inet_ntop(socket.AF_INET, struct.pack(">I", <uint32_t>words[1]))
    return socket.inet_ntop(socket.AF_INET6, struct.pack(">QQ", words[0], words[1]))
