"""Replays captures through the engine: which packets start flows, and where those flows go.

Packets come in batches. A first pass parses them and asks for the memory of their flows' slots, a
second one asks for the flows, a third takes the packets in their order. Only a packet that starts a
flow reaches the engine, as only such a packet reaches the queue of a gateway; the engine's time is
that of the capture.
"""

from classifier.replay.reasons import REASONS, RELATED

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from classifier.engine.engine cimport DROP_PACKET, Decision, Engine
from classifier.engine.hashing cimport splitmix
from classifier.engine.protocols cimport TCP
from classifier.engine.wire cimport Packet
from classifier.replay.arrival cimport Arrival, classify, set_packet
from classifier.replay.carried cimport Carried
from classifier.replay.expectations cimport (
    FTP_PORT, begin_control, end_control, free_helpers, read_control, reserve_controls,
    take_expected,
)
from classifier.replay.flow_log cimport (
    PLACED_DIRECT, PLACED_DROPPED, PLACED_INBOUND, DecidedFlow, FlowLog,
)
from classifier.replay.flows cimport (
    ABSENT,
    ORIGINAL,
    REPLY,
    Direction,
    fetch_flow,
    fetch_slot,
    find,
    hash_tuple,
    insert,
    release,
    remove,
    resize,
)
from classifier.replay.fragments cimport HELD, REFUSED, Datagram, FragmentTable, Outcome
from classifier.replay.link cimport Frame
from classifier.replay.networks cimport left_alone, set_network, within
from classifier.replay.observer cimport NO_PARENT, Event, Observer
from classifier.replay.reader cimport CaptureReader
from classifier.replay.states cimport (
    FLUSHED,
    HELPED,
    IGNORED,
    INVALID,
    KILLED,
    SEEN_REPLY,
    TRACKED,
    Flow,
    FlowExtra,
    FlowPacket,
    TrackResult,
    advance,
)
from classifier.replay.stream cimport READ_END, READ_FAILED
from classifier.replay.tuples cimport (
    FRAGMENT_PACKET,
    ICMP_ERROR,
    ICMP_PEER,
    MALFORMED_PACKET,
    TRACKED_PACKET,
    UNTRACKED_PACKET,
    Tuple,
    make_tuple,
    quoted_tuple,
)

cdef enum:
    # Parsed packets, tuples and frames of one batch fit in the first-level cache.
    BATCH = 64
    FIRST_ROOM = 4096
    # What Python hears of between two batches: signals, progress.
    BATCHES_PER_TURN = 512
    # Index into classifier.engine.decision.REASONS of what is left alone before the queue.
    REASON_DIRECT = 7
    SYN = 0x02
    ACK = 0x10

cdef uint64_t NEVER = 0xFFFFFFFFFFFFFFFF
cdef uint8_t REASON_RELATED = REASONS.index(RELATED)

assert REASONS[REASON_DIRECT] == "direct"


cdef class Tracker:
    """Takes the packets of captures, in order, to `engine`.

    `lan` are networks (of `ipaddress`) that are inside; with none, every flow is taken for an
    outbound one. `in_interface` is where the flows are said to come in. With `keep` the log has
    each flow. Helpers are those of the engine's policy; of these, only FTP's is known. `observer`
    watches what the sums do not tell.
    """

    def __cinit__(
        self, Engine engine not None, lan=(), in_interface=None, bint keep=True,
        Observer observer=None
    ):
        cdef uint32_t i
        cdef uint64_t key
        self.engine = engine
        self.observer = observer
        self.watched = observer is not None
        self.fragments4 = FragmentTable(30000)
        self.fragments6 = FragmentTable(60000)
        self.interface = 0 if in_interface is None else engine.interface_number(in_interface)
        self.log = FlowLog(len(engine.policy.rules), keep)
        # From the engine's seed: the order in which flows end at last goes by the table.
        key = engine.state.hash_key.k0
        for i in range(4):
            self.table.secret[i] = splitmix(&key)
        self.script_at = NEVER
        self.reads_ftp = "ftp" in engine.policy.gateway.helpers
        self.helpers.secret = self.table.secret[0]
        self.lan = <Network*>calloc(len(lan) + 1, sizeof(Network))
        if self.lan is NULL or not resize(&self.table, FIRST_ROOM):
            raise MemoryError
        for network in lan:
            set_network(&self.lan[self.lan_count], network)
            self.lan_count += 1

    def __dealloc__(self):
        release(&self.table)
        free_helpers(&self.helpers)
        free(self.lan)

    def measure(self):
        """What uplinks carry from now on. Before the first packet."""
        self.carried = Carried()
        self.watched = True
        return self.carried

    def follow(self, script):
        """Run `script`, a `Script`, as the capture's time goes on. Before the first packet."""
        self.script = script
        self.script_at = NEVER if script.next_at is None else script.next_at

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
                if outcome <= 0 or self.error is not None:
                    break
        if self.error is not None:
            raise self.error
        if outcome == READ_FAILED:
            raise reader.failure()
        return outcome != READ_END

    def finish(self):
        """Close every flow, so that the log is complete."""
        cdef uint32_t at
        for at in range(self.table.mask + 1):
            while self.table.slots[at].number:
                self._end(self.table.slots[at].number - 1)
        self.fragments4.drain()
        self.fragments6.drain()
        if self.observer is not None:
            self.observer.finish()

    def span(self):
        """When the capture began, in nanoseconds since 1970, and the milliseconds it took."""
        return self.first_time, self.now

    def counts(self):
        """All packets; of these: malformed, of no flow, without IP."""
        untracked = self.untracked + self.fragments4.lost + self.fragments6.lost
        return self.packets, self.malformed, untracked, self.without_ip

    cdef int _batch(self, CaptureReader reader) noexcept nogil:
        cdef Frame[BATCH] frames
        cdef Packet[BATCH] packets
        cdef Tuple[BATCH] tuples
        cdef uint8_t[BATCH] classes
        cdef Arrival arrival
        cdef int i, count = reader.read(frames, BATCH)
        for i in range(count):
            classes[i] = classify(&frames[i], &packets[i], &tuples[i])
            if classes[i] == TRACKED_PACKET:
                hash_tuple(&self.table, &packets[i], &tuples[i])
                fetch_slot(&self.table, tuples[i].hash)
        for i in range(count):
            if classes[i] == TRACKED_PACKET:
                fetch_flow(&self.table, tuples[i].hash)
        for i in range(count):
            self._set_clock(frames[i].time)
            if classes[i] == TRACKED_PACKET:
                arrival.packet = &packets[i]
                arrival.tuple = &tuples[i]
                arrival.data = frames[i].data
                arrival.size = frames[i].size
                arrival.time = frames[i].time
                arrival.packets = 1
                arrival.bytes = packets[i].length
                self._track(&arrival)
            elif classes[i] == FRAGMENT_PACKET:
                self._fragment(&packets[i], &frames[i])
            elif classes[i] == ICMP_ERROR:
                self._icmp_error(&packets[i], &frames[i])
            elif classes[i] == UNTRACKED_PACKET:
                self.untracked += 1
            elif classes[i] == MALFORMED_PACKET:
                self.malformed += 1
            else:
                self.without_ip += 1
            self.packets += 1
        return count

    # Room for whatever one batch may bring.
    cdef bint _reserve(self) noexcept nogil:
        if self.table.room - self.table.count < BATCH:
            self._sweep()
            if self.table.count > self.table.room // 2:
                if not resize(&self.table, self.table.room * 2):
                    return False
        if self.observer is not None and not self.observer.reserve(self.table.room, BATCH):
            return False
        if self.reads_ftp and not reserve_controls(&self.helpers, BATCH):
            return False
        return self.log.reserve(BATCH)

    cdef void _sweep(self) noexcept nogil:
        cdef uint32_t at
        for at in range(self.table.mask + 1):
            # Taking one out may move the next one here.
            while self.table.slots[at].number and self._expired(self.table.slots[at].number - 1):
                self._end(self.table.slots[at].number - 1)

    cdef bint _expired(self, uint32_t number) noexcept nogil:
        cdef uint64_t expires = self.table.flows[number].expires
        if expires == FLUSHED:
            expires = self.table.extras[number].own.forgotten_at
        return expires <= self.now

    cdef void _set_clock(self, int64_t time) noexcept nogil:
        cdef uint64_t now
        if not self.started:
            self.started = True
            self.first_time = time
            # Methods of users are told the time of the capture.
            self.engine.state.epoch = time // 1000000
            if self.script_at == 0:
                self._run_script()
        if time > self.first_time:
            now = (<uint64_t>time - <uint64_t>self.first_time) // 1000000
            if now > self.now:
                self.now = now
                if now >= self.script_at:
                    self._run_script()

    cdef void _fragment(self, const Packet* packet, const Frame* frame) noexcept nogil:
        cdef Datagram* whole
        cdef Tuple tuple
        cdef Arrival arrival
        cdef Outcome outcome
        if packet.family == 4:
            outcome = self.fragments4.add(packet, frame.data, frame.size, self.now, &whole)
        else:
            outcome = self.fragments6.add(packet, frame.data, frame.size, self.now, &whole)
        if outcome == REFUSED:
            self.untracked += 1
        if outcome == REFUSED or outcome == HELD:
            return
        if make_tuple(&whole.packet, whole.header, whole.size, &tuple) == TRACKED_PACKET:
            hash_tuple(&self.table, &whole.packet, &tuple)
            arrival.packet = &whole.packet
            arrival.tuple = &tuple
            arrival.data = whole.header
            arrival.size = whole.size
            arrival.time = frame.time
            arrival.packets = whole.fragments
            arrival.bytes = whole.bytes
            self._track(&arrival)
        else:
            self.untracked += whole.fragments

    # An ICMP error goes with the flow of the packet that it quotes, if it is sent to whoever sent
    # that one (nf_conntrack_inet_error in nf_conntrack_proto_icmp.c).
    cdef void _icmp_error(self, const Packet* packet, const Frame* frame) noexcept nogil:
        cdef uint32_t at = packet.transport + 8, size = frame.size, number
        cdef Packet quoted
        cdef Tuple tuple
        cdef Direction direction = ABSENT
        if size > packet.length:
            size = packet.length
        if at < size and quoted_tuple(frame.data + at, size - at, &quoted, &tuple):
            if quoted.src[0] == packet.dst[0] and quoted.src[1] == packet.dst[1]:
                hash_tuple(&self.table, &quoted, &tuple)
                direction = find(&self.table, &quoted, &tuple, &number)
        if direction == ABSENT or self.table.flows[number].expires <= self.now:
            self.untracked += 1
        else:
            self.table.flows[number].packets += 1
            self.table.flows[number].bytes += packet.length
            if self.watched:
                self._show_carried(number, direction == ORIGINAL, packet.length)

    cdef void _track(self, const Arrival* arrival) noexcept nogil:
        cdef uint32_t number
        cdef Flow* flow
        cdef FlowPacket moving
        cdef TrackResult result
        cdef Direction direction = find(&self.table, arrival.packet, arrival.tuple, &number)
        if direction == ABSENT:
            self._start(arrival)
            return
        flow = &self.table.flows[number]
        if flow.expires <= self.now:
            if direction == REPLY and not self._expired(number) and not (
                arrival.packet.protocol == TCP and arrival.packet.tcp_flags & (SYN | ACK) == SYN
            ):
                # An answer to a connection that was ended reaches nobody.
                self.untracked += arrival.packets
                return
            self._end(number)
            self._start(arrival)
            return
        set_packet(&moving, arrival, direction == REPLY, self.now)
        result = advance(flow, &self.table.extras[number], &moving)
        if result == INVALID:
            self.untracked += arrival.packets
            return
        if result == TRACKED or result == IGNORED or result == KILLED:
            if flow.packets > 0xF0000000u:
                # One packet stays: none would mean a new flow.
                self.table.extras[number].more_packets += flow.packets - 1
                flow.packets = 1
            flow.packets += arrival.packets
            flow.bytes += arrival.bytes
            if self.watched:
                self._show_carried(number, direction == REPLY, arrival.bytes)
            if flow.flags & HELPED:
                self._read(number, arrival, &moving)
            if result == KILLED:
                self._end(number)
            return
        self._end(number)
        self._start(arrival)

    # Until there were packets both ways, the helper does not look.
    cdef void _read(
        self, uint32_t number, const Arrival* arrival, const FlowPacket* moving
    ) noexcept nogil:
        if self.table.flows[number].flags & SEEN_REPLY:
            read_control(
                &self.helpers, <uint32_t>self.table.extras[number].own.control, arrival.packet,
                moving,
            )

    cdef void _start(self, const Arrival* arrival) noexcept nogil:
        cdef Flow flow
        cdef FlowExtra extra
        cdef FlowPacket moving
        cdef DecidedFlow decided
        cdef Event event
        cdef bint asked
        memset(&flow, 0, sizeof(Flow))
        memset(&extra, 0, sizeof(FlowExtra))
        memcpy(flow.src, arrival.packet.src, sizeof(flow.src))
        memcpy(flow.dst, arrival.packet.dst, sizeof(flow.dst))
        flow.sport = arrival.tuple.sport
        flow.dport = arrival.tuple.dport
        flow.protocols = arrival.tuple.protocols
        set_packet(&moving, arrival, False, self.now)
        # A reply without its request starts nothing.
        if flow.sport & ICMP_PEER or advance(&flow, &extra, &moving) != TRACKED:
            self.untracked += arrival.packets
            return
        flow.packets = arrival.packets
        flow.bytes = arrival.bytes
        extra.hash = arrival.tuple.hash
        event.parent = NO_PARENT
        asked = False
        if not self._related(arrival.packet, &decided, &event.parent):
            asked = self._decide(arrival.packet, &decided)
        extra.placement = decided.placement
        extra.record = self.log.begin(arrival.packet, arrival.time, &decided)
        number = insert(&self.table, &flow, &extra)
        if self.carried is not None:
            self.carried.add(decided.placement, False, arrival.bytes)
        if self.observer is not None:
            event.number = number
            event.now = self.now
            event.packets = arrival.packets
            event.bytes = arrival.bytes
            self.observer.start(
                &event, arrival.packet, arrival.time, self.packets, &decided, asked
            )
            self.observer.carry(&event, False)
        if (
            self.reads_ftp and arrival.packet.protocol == TCP and arrival.tuple.dport == FTP_PORT
            and decided.placement < PLACED_DROPPED
        ):
            self.table.flows[number].flags |= HELPED
            self.table.extras[number].own.control = begin_control(&self.helpers, number)

    # Where a new flow goes: by the engine, unless a gateway would not have asked it; then False.
    cdef bint _decide(self, const Packet* packet, DecidedFlow* decided) noexcept nogil:
        cdef Decision decision
        decided.rule = -1
        decided.reason = REASON_DIRECT
        if self.lan_count and not within(self.lan, self.lan_count, packet.src, packet.family):
            decided.placement = PLACED_INBOUND
        elif left_alone(packet):
            decided.placement = PLACED_DIRECT
        elif self.lan_count and within(self.lan, self.lan_count, packet.dst, packet.family):
            decided.placement = PLACED_INBOUND
        else:
            self.engine.decide_parsed(packet, self.interface, -1, self.now, &decision)
            decided.rule = decision.rule
            decided.reason = decision.reason
            decided.placement = decision.uplink
            if decision.action == DROP_PACKET:
                decided.placement = PLACED_DROPPED
            return True
        return False

    cdef void _show_carried(self, uint32_t number, bint reply, uint64_t bytes) noexcept nogil:
        cdef Event event
        if self.carried is not None:
            self.carried.add(self.table.extras[number].placement, reply, bytes)
        if self.observer is not None:
            event.number = number
            event.now = self.now
            event.packets = 1
            event.bytes = bytes
            self.observer.carry(&event, reply)

    # Whether a flow was announced on another one: the kernel then gives it that one's mark.
    # `parent` becomes the number of that one.
    cdef bint _related(
        self, const Packet* packet, DecidedFlow* decided, int64_t* parent
    ) noexcept nogil:
        cdef uint32_t control
        if (
            not self.helpers.expected or packet.protocol != TCP
            or not take_expected(&self.helpers, packet, self.now, &control)
            or self._expired(control)
        ):
            return False
        decided.rule = -1
        decided.reason = REASON_RELATED
        decided.placement = self.table.extras[control].placement
        parent[0] = control
        return True

    # Log a flow's end and forget it.
    cdef void _end(self, uint32_t number) noexcept nogil:
        if self.table.flows[number].expires != FLUSHED:
            self._close(number)
        remove(&self.table, number)

    cdef void _close(self, uint32_t number) noexcept nogil:
        cdef Flow* flow = &self.table.flows[number]
        cdef FlowExtra* extra = &self.table.extras[number]
        cdef Event event
        self.log.end(
            extra.record, extra.placement, flow.packets + extra.more_packets, flow.bytes
        )
        if self.observer is not None:
            event.number = number
            event.now = self.now
            event.packets = flow.packets + extra.more_packets
            event.bytes = flow.bytes
            self.observer.end(&event, flow.dst, <uint8_t>(flow.protocols & 0xFF))
        if flow.flags & HELPED:
            end_control(&self.helpers, <uint32_t>extra.own.control)

    # The gateway ends the connections of an uplink, for one family; with 0, those on no uplink that
    # have had no answer. What is left of a flow says only that answers to it are late.
    cdef void _flush(self, uint8_t uplink, uint8_t family) noexcept nogil:
        cdef uint32_t at, number
        cdef Flow* flow
        for at in range(self.table.mask + 1):
            if not self.table.slots[at].number:
                continue
            number = self.table.slots[at].number - 1
            flow = &self.table.flows[number]
            if (
                self.table.extras[number].placement == uplink and flow.expires > self.now
                and flow.protocols & 0xFF == family
                and (uplink or not flow.flags & SEEN_REPLY)
            ):
                self._close(number)
                self.table.extras[number].own.forgotten_at = flow.expires
                flow.expires = FLUSHED

    cdef void _run_script(self) noexcept nogil:
        with gil:
            try:
                for uplink, family in self.script.run(self.now):
                    self._flush(uplink, family)
                self.script_at = NEVER if self.script.next_at is None else self.script.next_at
            except BaseException as error:
                self.error = error
                self.script_at = NEVER
