"""Simulates flows: makes them, has the engine decide them, and lets the links carry them.

Time goes from event to event: a flow begins, or the flow that is first to end on a link does. The
engine is asked as `Tracker` asks it, with the packet that starts the flow and with the simulated
time.
"""
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from classifier.engine.engine cimport DROP_PACKET, Decision, Engine
from classifier.engine.hashing cimport draw, mix
from classifier.engine.wire cimport WHOLE, Packet
from classifier.replay.flow_log cimport PLACED_DIRECT, PLACED_DROPPED, DecidedFlow, FlowLog
from classifier.replay.remotes cimport Remotes
from classifier.replay.tally cimport Tally
from classifier.simulate.draws cimport drawn, prepare
from classifier.simulate.link cimport (
    STEPS, Durations, Link, Transfer, begin_transfer, carried_by, catch_up, clear_link, create_link,
    destroy_link, end_transfer, middle, reserve_transfer,
)
from classifier.simulate.remotes cimport public_address

from classifier.simulate.distributions import Distribution

cdef enum:
    EVENTS_PER_TURN = 1 << 17
    TCP = 6
    SYN = 2
    FIRST_PORT = 1024
    FIRST_BYTES = 40         # TCP header and options of a SYN
    PACKET_BYTES = 1500

cdef enum Outcome:
    GOES_ON
    REACHED
    NO_MEMORY

cdef uint64_t MAPPED_IPV4 = 0xFFFF00000000u     # as `Packet` has it
cdef uint64_t REMOTES_IPV6 = 0x2A00000000000000u
# Seconds that a client waits after a drop: the first retransmission of a SYN (RFC 6298).
cdef double PATIENCE = 1.0


cdef class Simulator:
    """See simulator.pyi."""

    def __cinit__(
        self, Engine engine not None, traffic, uint64_t seed, in_interface, bint keep, bint watch
    ):
        self.engine = engine
        if watch:
            self.tally = Tally(engine.policy, seed)
            self.remotes = Remotes()
        self.log = FlowLog(len(engine.policy.rules), keep)
        self.interface = 0 if in_interface is None else engine.interface_number(in_interface)
        self.flows = traffic.flows
        self.closed = traffic.parallel is not None
        self.waiting = traffic.parallel or 0
        self.needed = self.waiting if traffic.together else 1
        set_source(&self.source, traffic, seed)
        self.set_links(engine.policy, traffic.flow_rate)

    def __dealloc__(self):
        cdef int place
        for place in range(PLACES):
            destroy_link(&self.links[place])
        free(self.source.services)

    cdef int set_links(self, policy, double limit) except -1:
        places = {PLACED_DIRECT: None, PLACED_DROPPED: None}
        places.update({uplink.id: uplink.capacity for uplink in policy.uplinks})
        for place, capacity in places.items():
            create_link(
                &self.links[<int>place], INFINITY if capacity is None else capacity.down, limit
            )
            self.used[self.used_count] = place
            self.used_count += 1
        return 0

    @property
    def begun(self):
        return self.flows_begun

    @property
    def over(self):
        return self.next_event() == INFINITY

    @property
    def next_time(self):
        return self.next_event()

    @property
    def ended_at(self):
        return self.last_end

    def run(self, double until):
        cdef int outcome
        with nogil:
            outcome = self.run_on(until)
        if outcome == NO_MEMORY:
            raise MemoryError
        return outcome == REACHED

    def carried(self, double now):
        cdef int i
        sums = {}
        for i in range(self.used_count):
            catch_up(&self.links[self.used[i]], now)
            sums[self.used[i]] = self.links[self.used[i]].carried
        return sums

    def tally_until(self, double now):
        cdef uint64_t[PLACES] gained
        cdef uint64_t until = <uint64_t>(now * 1e3 + 0.5), total
        cdef uint8_t place
        cdef int i
        if until <= self.tallied_at:
            return
        memset(gained, 0, sizeof(gained))
        for i in range(self.used_count):
            place = self.used[i]
            if place != PLACED_DROPPED:  # the flows there only wait
                # Rounding can make it less than it was.
                total = max(
                    <uint64_t>carried_by(&self.links[place], now), self.tallied[place]
                )
                gained[self.tally.columns[place]] = total - self.tallied[place]
                self.tallied[place] = total
        self.tally.timeline.carry_evenly(gained, self.tallied_at, until)
        self.tallied_at = until

    def finish_tally(self):
        self.tally.timeline.finish()

    def measure(self, double now, double seconds):
        cdef Link* link
        cdef int i
        for i in range(self.used_count):
            link = &self.links[self.used[i]]
            catch_up(link, now)
            link.peak = max(link.peak, (link.carried - link.measured) / seconds)
            link.measured = link.carried

    def cut(self, uint8_t place, double now):
        cdef Link* link = &self.links[place]
        cdef Transfer* transfer
        cdef uint32_t i
        catch_up(link, now)
        for i in range(link.count):
            transfer = &link.heap[i]
            self.close_flow(
                transfer, place, transfer.bytes - <uint64_t>max(transfer.ends - link.level, 0.0)
            )
        link.cut += link.count
        if link.count:
            self.last_end = now
        clear_link(link)
        self.go_on(now)

    def window(self):
        return self.last_begin, self.bytes_begun

    def load(self, uint8_t place):
        return (
            self.carried_then[place], self.links[place].peak, self.links[place].most,
            self.links[place].cut,
        )

    def durations(self, uint8_t place):
        cdef Durations* found = self.links[place].durations
        cdef int step
        return found.count, found.sum, {
            middle(step): found.steps[step]
            for step in range(STEPS) if found.steps[step]
        }

    cdef int run_on(self, double until) noexcept nogil:
        cdef Link* link
        cdef int event
        for event in range(EVENTS_PER_TURN):
            link = self.next_to_end()
            if min(self.next_begin, link.next_end) > until:
                return REACHED
            if link.next_end <= self.next_begin:
                self.end_flow(link)
            elif not self.begin_flow():
                return NO_MEMORY
        return GOES_ON

    cdef double next_event(self) noexcept nogil:
        return min(self.next_begin, self.next_to_end().next_end)

    cdef Link* next_to_end(self) noexcept nogil:
        cdef Link* first = &self.links[self.used[0]]
        cdef int i
        for i in range(1, self.used_count):
            if self.links[self.used[i]].next_end < first.next_end:
                first = &self.links[self.used[i]]
        return first

    cdef bint begin_flow(self) noexcept nogil:
        cdef Packet packet
        cdef Decision decision
        cdef DecidedFlow decided
        cdef Transfer transfer
        cdef Link* link
        cdef double now = self.next_begin
        if not self.log.reserve(1):
            return False
        self.make_packet(&packet)
        self.engine.decide_parsed(&packet, self.interface, -1, <uint64_t>(now * 1e3), &decision)
        decided.rule = decision.rule
        decided.reason = decision.reason
        decided.placement = PLACED_DROPPED if decision.action == DROP_PACKET else decision.uplink
        link = &self.links[decided.placement]
        if not reserve_transfer(link):
            return False
        catch_up(link, now)
        transfer.bytes = <uint64_t>max(drawn(&self.source.sizes), 1.0)
        transfer.ends = link.level + (
            link.limit * PATIENCE if decided.placement == PLACED_DROPPED else transfer.bytes
        )
        transfer.began = now
        transfer.number = self.flows_begun
        transfer.record = self.log.begin(&packet, <int64_t>(now * 1e9), &decided)
        transfer.rule = decided.rule
        transfer.remote[0] = packet.dst[0]
        transfer.remote[1] = packet.dst[1]
        if self.tally is not None:
            self.tally.begin(&packet, &decided, NULL, <uint64_t>(now * 1e3))
        begin_transfer(link, &transfer)
        self.bytes_begun += transfer.bytes
        self.flows_begun += 1
        self.last_begin = now
        if self.flows_begun == self.flows:
            self.note_carried()
        self.foresee_begin(now)
        return True

    cdef void end_flow(self, Link* link) noexcept nogil:
        cdef Transfer ended
        cdef double now = link.next_end
        ended = end_transfer(link)
        self.last_end = now
        self.close_flow(&ended, <uint8_t>(link - self.links), ended.bytes)
        self.go_on(now)

    cdef void close_flow(
        self, const Transfer* transfer, uint8_t place, uint64_t size
    ) noexcept nogil:
        cdef uint64_t packets = (size + PACKET_BYTES - 1) // PACKET_BYTES
        cdef uint8_t column
        self.log.end(transfer.record, place, packets, size)
        if self.tally is not None:
            column = self.tally.columns[place]
            if place == PLACED_DROPPED:
                packets = size = 0  # it only waited
            self.tally.end(transfer.rule, column, packets, size)
            self.remotes.add(transfer.remote, self.source.family, column, size)
        if self.closed:
            self.waiting += 1

    # Clients whose flows have ended begin the next ones.
    cdef void go_on(self, double now) noexcept nogil:
        if self.waiting >= self.needed and self.flows_begun < self.flows:
            self.next_begin = min(self.next_begin, now)

    # When the flow after one that began now begins.
    cdef void foresee_begin(self, double now) noexcept nogil:
        if self.flows_begun == self.flows:
            self.next_begin = INFINITY
        elif not self.closed:
            self.next_begin = now + drawn(&self.source.gaps)
        else:
            self.waiting -= 1
            self.next_begin = now if self.waiting else INFINITY

    cdef void note_carried(self) noexcept nogil:
        cdef int i
        for i in range(self.used_count):
            catch_up(&self.links[self.used[i]], self.last_begin)
            self.carried_then[self.used[i]] = self.links[self.used[i]].carried

    # The first packet of a flow, as it would come to the queue.
    cdef void make_packet(self, Packet* packet) noexcept nogil:
        cdef Source* source = &self.source
        cdef Service* service = source.services
        cdef uint64_t left = draw(&source.services_state, source.total_weight)
        cdef uint64_t host = <uint64_t>drawn(&source.hosts)
        cdef uint32_t rank = <uint32_t>drawn(&source.remotes) - 1
        cdef uint32_t address = public_address(rank, source.address_key)
        while left >= service.up_to:
            service += 1
        memset(packet, 0, sizeof(Packet))
        packet.family = source.family
        packet.protocol = service.protocol
        packet.dport = service.port
        # In turns, so that no flow has the ports of one that began just before.
        packet.sport = <uint16_t>(FIRST_PORT + self.flows_begun % (65536 - FIRST_PORT))
        packet.has_ports = 1
        packet.fragment = WHOLE
        packet.tcp_flags = SYN if service.protocol == TCP else 0
        packet.src[0] = source.network[0]
        packet.src[1] = source.network[1] + host
        if source.family == 4:
            packet.transport = 20
            packet.dst[1] = MAPPED_IPV4 | address
        else:
            packet.transport = 40
            packet.dst[0] = REMOTES_IPV6 | (<uint64_t>address << 16)
            packet.dst[1] = 1
        packet.length = packet.transport + FIRST_BYTES


cdef int set_source(Source* source, traffic, uint64_t seed) except -1:
    cdef size_t i
    prepare(&source.remotes, traffic.remotes, seed, 1)
    prepare(&source.hosts, Distribution("uniform", (traffic.hosts,)), seed, 2)
    prepare(&source.sizes, traffic.sizes, seed, 3)
    prepare(&source.gaps, traffic.gaps, seed, 4)
    source.services_state = mix(mix(seed) + 5)
    source.address_key = mix(mix(seed) + 6)
    source.family = traffic.lan.version
    network = int(traffic.lan.network_address)
    source.network[0] = network >> 64
    source.network[1] = network & 0xFFFFFFFFFFFFFFFF
    if source.family == 4:
        source.network[1] |= MAPPED_IPV4
    source.services = <Service*>calloc(len(traffic.services), sizeof(Service))
    if source.services is NULL:
        raise MemoryError
    for i, service in enumerate(traffic.services):
        source.total_weight += service.weight
        source.services[i].protocol = service.protocol
        source.services[i].port = service.port
        source.services[i].up_to = source.total_weight
    return 0
