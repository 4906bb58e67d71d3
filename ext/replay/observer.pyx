"""What is watched in a replay besides the sums: load over time, rules, remotes, another policy.

The other policy sees the very flows that the first one sees, in the same pass: it is asked when a flow
starts, and carries what that flow carries.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc

from classifier.engine.engine cimport DROP_PACKET, Decision, Engine
from classifier.replay.flow_log cimport PLACED_DROPPED, PLACED_INBOUND
from classifier.replay.sticky_breaks cimport Memory
from classifier.replay.tally cimport NO_COLUMN

cdef enum:
    FIRST_ROOM = 4096


cdef class Observer:
    """Watches what `policy` does with the flows of a replay.

    The same packets with the same `seed` give the same figures. With `number_packets` it is remembered which packet started each flow.
    """

    def __cinit__(self, policy, seed, bint number_packets=False):
        self.seed = seed
        self.tally = Tally(policy, seed)
        self.remotes = Remotes()
        self.numbers_packets = number_packets

    def compare(self, policy, Engine engine not None, interface, bint keep):
        """Watch also what `engine` does with them, by another policy. Before the first packet.

        `interface` is where flows are said to come in. With `keep` the log of it has each flow.
        """
        self.other = engine
        self.other_interface = 0 if interface is None else engine.interface_number(interface)
        self.other_log = FlowLog(len(policy.rules), keep)
        self.other_tally = Tally(policy, self.seed)
        self.moves = <Sum*>calloc(
            self.tally.timeline.columns * self.other_tally.timeline.columns, sizeof(Sum)
        )
        if self.moves is NULL:
            raise MemoryError

    def measure_other(self):
        """What the uplinks of the other policy carry from now on."""
        self.other_carried = Carried()
        return self.other_carried

    def __dealloc__(self):
        free(self.moves)
        free(self.flows)
        free(self.first_packets)

    def move(self, uint32_t column, uint32_t other_column):
        """Flows, packets and bytes that go one way by the policy and another way by the other."""
        cdef Sum* found
        if self.moves is NULL or column >= self.tally.timeline.columns or (
            other_column >= self.other_tally.timeline.columns
        ):
            raise IndexError(column, other_column)
        found = &self.moves[column * self.other_tally.timeline.columns + other_column]
        return found.flows, found.packets, found.bytes

    def first_packet(self, uint32_t record):
        """The number of the packet that started a flow, from 0 over all captures."""
        if record >= self.first_packet_count:
            raise IndexError(record)
        return self.first_packets[record]

    cdef bint reserve(self, uint32_t flows, uint32_t more) noexcept nogil:
        cdef Watched* grown
        cdef uint64_t* numbers
        cdef uint32_t room
        if flows > self.room:
            grown = <Watched*>realloc(self.flows, flows * sizeof(Watched))
            if grown is NULL:
                return False
            self.flows = grown
            self.room = flows
        if self.numbers_packets and self.first_packet_room - self.first_packet_count < more:
            room = self.first_packet_room * 2 if self.first_packet_room else FIRST_ROOM
            numbers = <uint64_t*>realloc(self.first_packets, room * sizeof(uint64_t))
            if numbers is NULL:
                return False
            self.first_packets = numbers
            self.first_packet_room = room
        return self.other is None or self.other_log.reserve(more)

    cdef void start(
        self, const Event* event, const Packet* packet, int64_t time, uint64_t packet_number,
        const DecidedFlow* decided, bint asked
    ) noexcept nogil:
        cdef Watched* flow = &self.flows[event.number]
        cdef const Memory* memory = NULL
        cdef DecidedFlow others
        cdef Decision decision
        if self.numbers_packets and decided.placement != PLACED_INBOUND:
            self.first_packets[self.first_packet_count] = packet_number
            self.first_packet_count += 1
        flow.rule = decided.rule
        if self.other is not None:
            others = decided[0]
            if asked:
                self.other.decide_parsed(packet, self.other_interface, -1, event.now, &decision)
                others.rule = decision.rule
                others.reason = decision.reason
                others.placement = decision.uplink
                if decision.action == DROP_PACKET:
                    others.placement = PLACED_DROPPED
            elif event.parent != NO_PARENT:
                others.placement = self.flows[event.parent].other_placement
            flow.other_rule = others.rule
            flow.other_placement = others.placement
            flow.other_record = self.other_log.begin(packet, time, &others)
            flow.other_column = self.other_tally.begin(
                packet, &others, self.tally.sticky.memory(decided.rule), event.now
            )
            memory = self.other_tally.sticky.memory(others.rule)
        flow.column = self.tally.begin(packet, decided, memory, event.now)

    cdef void carry(self, const Event* event, bint reply) noexcept nogil:
        cdef const Watched* flow = &self.flows[event.number]
        if flow.column == NO_COLUMN:
            return
        self.tally.timeline.carry(flow.column, reply, event.now, event.bytes)
        if self.other is not None:
            self.other_tally.timeline.carry(flow.other_column, reply, event.now, event.bytes)
            if self.other_carried is not None:
                self.other_carried.add(flow.other_placement, reply, event.bytes)

    cdef void end(self, const Event* event, const uint64_t* remote, uint8_t family) noexcept nogil:
        cdef const Watched* flow = &self.flows[event.number]
        cdef Sum* move
        if self.other is not None:
            self.other_log.end(flow.other_record, flow.other_placement, event.packets, event.bytes)
        if flow.column == NO_COLUMN:
            return
        self.tally.end(flow.rule, flow.column, event.packets, event.bytes)
        self.remotes.add(remote, family, flow.column, event.bytes)
        if self.other is None:
            return
        self.other_tally.end(flow.other_rule, flow.other_column, event.packets, event.bytes)
        move = &self.moves[flow.column * self.other_tally.timeline.columns + flow.other_column]
        move.flows += 1
        move.packets += event.packets
        move.bytes += event.bytes

    cdef void finish(self) noexcept nogil:
        self.tally.timeline.finish()
        if self.other is not None:
            self.other_tally.timeline.finish()
