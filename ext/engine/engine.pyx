"""The engine: parse -> in-flight table -> rules -> sticky table -> method -> mark."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memset

from classifier.engine.balancers cimport (
    HASH, TO_BALANCER, TO_DROP, TO_UPLINK, Balancer, Target, choose, forget_uplink, remember,
    remembered, sticky_key,
)
from classifier.engine.compiled cimport begin, compile_policy, destroy_compiled, refresh_all
from classifier.engine.hashing cimport address_pair, siphash, splitmix
from classifier.engine.matching cimport Candidates, look_up, next_rule
from classifier.engine.mutex cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)
from classifier.engine.succession cimport Succession, destroy_succession, prepare, succeed
from classifier.engine.tables cimport (
    Slot, create, destroy, expires, find, insert, latest, prefetch, remove, value,
)
from classifier.engine.wire cimport parse

import threading

from classifier.engine.counters import EngineCounters
from classifier.engine.decision import REASONS
from classifier.engine.decision import Decision as DecisionValue
from classifier.engine.interfaces import named, numbered
from classifier.errors import UsageError

# Indices into classifier.engine.decision.REASONS.
cdef enum Reason:
    PINNED = 0
    BY_NTH = 1
    BY_WEIGHTED = 2
    BY_HASH = 3
    STICKY = 5
    IN_FLIGHT = 6
    DIRECT = 7
    DROP = 8
    FALLBACK = 9
    MALFORMED = 10

cdef enum:
    # Packets looked at together, so that their memory accesses overlap.
    BATCH = 64
    # Milliseconds in which more packets of a flow may be on their way to us. Until the first one
    # has left the host, the kernel takes each for the first of a new flow.
    FLIGHT_TIME = 5000
    # The longest key of a flow: ports and protocol, addresses.
    FLOW_WORDS = 5


cdef class Engine:
    """Decides flows by one policy; shared by all threads that have packets.

    `seed` is any integer; its low 64 bits key the hashes and begin the random numbers, so that the
    same packets at the same times come to the same decisions. `in_flight` is the most flows
    remembered while they are new.
    """

    def __cinit__(self, policy, seed, size_t in_flight=65536):
        cdef uint64_t state = seed & 0xFFFFFFFFFFFFFFFF
        pthread_mutex_init(&self.lock, NULL)
        self.policy = policy
        self.hash_key.k0 = splitmix(&state)
        self.hash_key.k1 = splitmix(&state)
        self.random = state
        self.naming = threading.Lock()
        self.replacing = threading.Lock()
        create(&self.in_flight, in_flight, True)
        self.interfaces = numbered(policy, {})
        self.numbered_interfaces = self.interfaces
        compile_policy(&self.compiled, policy, self.interfaces, &self.hash_key)
        begin(&self.compiled, policy)
        self.names = names_by_id(policy)

    def __dealloc__(self):
        destroy_compiled(&self.compiled)
        destroy(&self.in_flight)
        pthread_mutex_destroy(&self.lock)

    def interface_number(self, name):
        """The number by which an item says its interface; 0 for one that the policy does not name."""
        return self.interfaces.get(name, 0)

    def replace_policy(self, policy, usable=None):
        """Goes on with another policy; flows are decided all the while, each by one or the other.

        `usable` maps names of uplinks to whether they can take IPv4 flows, and whether IPv6 flows.
        An uplink of both policies that it does not name stays as it is; a new one is not usable. An
        uplink is of both when its name and its id are.

        Kept are: flows in flight, as long as their uplink is there, whatever the new rules say;
        sticky entries, where a balancer of the same name has the same key (`by`, prefixes) and
        size, those of uplinks that left it excepted; the turns of nth, where the usable uplinks of a
        balancer and their weights are the same; counters of uplinks and, by their names, of rules;
        numbers of interfaces. A new `timeout` counts from an entry's next use. A table of another
        size begins empty.

        UsageError, MemoryError: nothing has changed.
        """
        cdef Compiled next
        cdef Succession succession
        memset(&next, 0, sizeof(next))
        memset(&succession, 0, sizeof(succession))
        usable = usable or {}
        with self.replacing:
            try:
                unknown = usable.keys() - {uplink.name for uplink in policy.uplinks}
                if unknown:
                    raise UsageError(f"the policy has no uplink {min(unknown)!r}")
                all_interfaces = numbered(policy, self.numbered_interfaces)
                interfaces = {name: all_interfaces[name] for name in named(policy)}
                names = names_by_id(policy)
                compile_policy(&next, policy, interfaces, &self.hash_key)
                prepare(&succession, &next, &self.compiled, policy, self.policy, usable)
                with self.naming:
                    with nogil:
                        pthread_mutex_lock(&self.lock)
                        succeed(&succession, &next, &self.compiled, self.counts.uplinks)
                        self.compiled, next = next, self.compiled
                        pthread_mutex_unlock(&self.lock)
                    self.policy = policy
                    self.names = names
                    self.interfaces = interfaces
                    self.numbered_interfaces = all_interfaces
            finally:
                destroy_compiled(&next)
                destroy_succession(&succession)

    def set_usable(self, name, bint ipv4, bint ipv6):
        """Says for which families an uplink can take flows now; those it cannot, it forgets."""
        cdef uint32_t i
        cdef int family
        cdef uint8_t id
        cdef bint wanted[2]
        with self.naming:
            id = self._uplink(name).id
            wanted[0] = ipv4
            wanted[1] = ipv6 and self.compiled.has_ipv6[id]
            with nogil:
                pthread_mutex_lock(&self.lock)
                for family in range(2):
                    self.compiled.usable[family][id] = wanted[family]
                    for i in range(self.compiled.balancer_count):
                        if not wanted[family]:
                            forget_uplink(&self.compiled.balancers[i], family, id)
                refresh_all(&self.compiled)
                pthread_mutex_unlock(&self.lock)

    def forget_in_flight(self, name):
        """Flows in flight on an uplink are decided anew with their next packet."""
        cdef uint8_t id
        with self.replacing, self.naming:
            id = self._uplink(name).id
            with nogil:
                pthread_mutex_lock(&self.lock)
                # As if the id had been another uplink's before: see carry_over.
                self.compiled.generation += 1
                self.compiled.since[id] = self.compiled.generation
                pthread_mutex_unlock(&self.lock)

    def usable_families(self, name):
        """Whether an uplink can take IPv4 flows, and whether IPv6 flows."""
        cdef uint8_t id
        with self.naming:
            id = self._uplink(name).id
            return bool(self.compiled.usable[0][id]), bool(self.compiled.usable[1][id])

    def _uplink(self, name):
        try:
            return self.policy.uplink(name)
        except KeyError:
            raise UsageError(f"the policy has no uplink {name!r}") from None

    def counters(self):
        cdef uint32_t i
        cdef int32_t rule
        with self.naming:
            entries = size = 0
            for i in range(self.compiled.balancer_count):
                entries += self.compiled.balancers[i].sticky.entries
                entries -= self.compiled.balancers[i].sticky.forgotten
                size += self.compiled.balancers[i].sticky.capacity
            return EngineCounters(
                packets=self.counts.packets,
                malformed=self.counts.malformed,
                in_flight=self.counts.in_flight,
                uplinks={u.name: self.counts.uplinks[<uint8_t>u.id] for u in self.policy.uplinks},
                rules=tuple(
                    [self.compiled.rule_flows[rule] for rule in range(self.compiled.rule_count)]
                ),
                direct=self.counts.direct,
                dropped=self.counts.dropped,
                sticky_entries=entries,
                sticky_size=size,
            )

    def classify(self, packet, uint64_t now, in_interface=None, user=None):
        """Decides one packet at `now` milliseconds; see `Classifier.classify`."""
        cdef Py_buffer view
        cdef Item item
        item.uid = -1 if user is None else user
        PyObject_GetBuffer(packet, &view, PyBUF_SIMPLE)
        item.data = <const uint8_t*>view.buf
        item.size = <size_t>view.len
        try:
            with self.naming:
                item.interface = self.interfaces.get(in_interface, 0)
                with nogil:
                    self.decide(&item, 1, now)
                return self.decision_value(&item.decision)
        finally:
            PyBuffer_Release(&view)

    def classify_many(self, packets, uint64_t now, in_interface=None):
        """Decides packets in order, as one batch; see `Classifier.classify_many`."""
        cdef Py_buffer views[BATCH]
        cdef Item items[BATCH]
        cdef size_t count, i
        decisions = []
        packets = list(packets)
        for first in range(0, len(packets), BATCH):
            count = 0
            try:
                for packet in packets[first : first + BATCH]:
                    PyObject_GetBuffer(packet, &views[count], PyBUF_SIMPLE)
                    items[count].data = <const uint8_t*>views[count].buf
                    items[count].size = <size_t>views[count].len
                    items[count].uid = -1
                    count += 1
                with self.naming:
                    for i in range(count):
                        items[i].interface = self.interfaces.get(in_interface, 0)
                    with nogil:
                        self.decide(items, count, now)
                    for i in range(count):
                        decisions.append(self.decision_value(&items[i].decision))
            finally:
                for i in range(count):
                    PyBuffer_Release(&views[i])
        return decisions

    def decide_one(self, const uint8_t[::1] packet, uint16_t interface, int64_t uid, uint64_t now):
        """Decides one packet as `decide` does; its `Action` and mark. For queues read in Python."""
        cdef Item item
        item.data = &packet[0] if packet.shape[0] else NULL
        item.size = <uint32_t>packet.shape[0]
        item.interface = interface
        item.uid = uid
        with nogil:
            self.decide(&item, 1, now)
        return item.decision.action, item.decision.mark

    cdef object decision_value(self, const Decision* decision):
        return DecisionValue(
            self.names[decision.uplink],
            None if decision.rule < 0 else self.policy.rules[decision.rule].name,
            REASONS[decision.reason],
            decision.mark,
        )

    cdef void decide(self, Item* items, size_t count, uint64_t now) noexcept nogil:
        # Three passes over a batch: each has asked for the memory that the next one reads.
        cdef Lookup lookups[BATCH]
        cdef size_t part, i
        pthread_mutex_lock(&self.lock)
        self.now = max(self.now, min(now, latest()))
        self.counts.packets += count
        while count:
            part = min(count, <size_t>BATCH)
            for i in range(part):
                lookups[i].fault = parse(items[i].data, items[i].size, &lookups[i].packet)
                if not lookups[i].fault:
                    self.digest_flow(&lookups[i])
            for i in range(part):
                if lookups[i].fault:
                    continue
                if find(&self.in_flight, lookups[i].flow_digest).life == 0:
                    self.find_rule(&lookups[i], items[i].interface, items[i].uid)
            for i in range(part):
                self.decide_packet(
                    &lookups[i], items[i].interface, items[i].uid, &items[i].decision
                )
            items += part
            count -= part
        pthread_mutex_unlock(&self.lock)

    cdef void decide_parsed(
        self, const Packet* packet, uint16_t interface, int64_t uid, uint64_t now, Decision* decision
    ) noexcept nogil:
        cdef Lookup lookup
        lookup.packet = packet[0]
        lookup.fault = 0
        pthread_mutex_lock(&self.lock)
        self.now = max(self.now, min(now, latest()))
        self.counts.packets += 1
        self.digest_flow(&lookup)
        self.decide_packet(&lookup, interface, uid, decision)
        pthread_mutex_unlock(&self.lock)

    cdef void digest_flow(self, Lookup* lookup) noexcept nogil:
        cdef Packet* packet = &lookup.packet
        cdef uint64_t key[FLOW_WORDS]
        lookup.has_rule = False
        key[0] = (
            (<uint64_t>packet.sport << 32) | (<uint64_t>packet.dport << 16) | packet.protocol
        )
        if packet.family == 4:
            key[1] = address_pair(packet.dst, packet.src)
            lookup.flow_digest = siphash(&self.hash_key, key, 2)
        else:
            key[1] = packet.dst[0]
            key[2] = packet.dst[1]
            key[3] = packet.src[0]
            key[4] = packet.src[1]
            lookup.flow_digest = siphash(&self.hash_key, key, FLOW_WORDS)
        prefetch(&self.in_flight, lookup.flow_digest)

    cdef void find_rule(self, Lookup* lookup, uint16_t interface, int64_t uid) noexcept nogil:
        # The rule that takes the flow. One that names an uplink which is down does not, unless it
        # is strict.
        cdef const uint8_t* usable = self.compiled.usable[lookup.packet.family == 6]
        cdef Candidates found
        cdef Target* target = NULL
        cdef Balancer* balancer
        look_up(&self.compiled.matcher, &lookup.packet, interface, uid, &found)
        lookup.has_rule = True
        lookup.rule = next_rule(&found)
        while lookup.rule >= 0:
            target = &self.compiled.targets[lookup.rule]
            if target.kind != TO_UPLINK or usable[target.index] or target.strict:
                break
            lookup.rule = next_rule(&found)
        if lookup.rule >= 0 and target.kind == TO_BALANCER:
            balancer = &self.compiled.balancers[target.index]
            if balancer.remembers or balancer.method == HASH:
                lookup.sticky = sticky_key(balancer, &self.hash_key, &lookup.packet)
            if balancer.remembers:
                prefetch(&balancer.sticky, lookup.sticky.digest)

    cdef void decide_packet(
        self, Lookup* lookup, uint16_t interface, int64_t uid, Decision* decision
    ) noexcept nogil:
        cdef Slot* slot
        if lookup.fault:
            self.counts.malformed += 1
            decision.mark = 0
            decision.rule = -1
            decision.uplink = 0
            decision.reason = MALFORMED
            decision.action = UNTOUCHED
            return
        if self.find_in_flight(lookup, decision, &slot):
            self.counts.in_flight += 1
            return
        if not lookup.has_rule:
            self.find_rule(lookup, interface, uid)
        decision.rule = lookup.rule
        if lookup.rule >= 0:
            self.compiled.rule_flows[lookup.rule] += 1
        self.use_target(lookup, decision)
        slot = insert(
            &self.in_flight, slot, lookup.flow_digest, self.now + FLIGHT_TIME, 0, 0, self.now
        )
        # The rule's number is good for this policy only, its name's digest for the next ones.
        value(slot)[0] = (
            (self.compiled.generation << 48) | (<uint64_t><uint32_t>decision.rule << 16)
            | (<uint64_t>decision.uplink << 8) | decision.action
        )
        value(slot)[1] = (
            self.compiled.rule_digests[decision.rule] if decision.rule >= 0 else 0
        )

    cdef bint find_in_flight(self, Lookup* lookup, Decision* decision, Slot** slot) noexcept nogil:
        # The decision of a flow that is in flight, unless its uplink has gone down since. If it is
        # not, `slot` is where in the table it belongs.
        cdef Slot* entry = find(&self.in_flight, lookup.flow_digest)
        cdef uint64_t decided
        cdef bint gone = False
        slot[0] = entry
        if entry.life == 0:
            return False
        if (value(entry)[0] >> 48) != (self.compiled.generation & 0xFFFF):
            gone = not self.carry_over(entry)
        decided = value(entry)[0]
        decision.rule = <int32_t>(decided >> 16)
        decision.uplink = <uint8_t>(decided >> 8)
        decision.action = <uint8_t>decided
        decision.reason = IN_FLIGHT
        if gone or expires(entry) <= self.now or (
            decision.uplink and not self.compiled.usable[lookup.packet.family == 6][decision.uplink]
        ):
            remove(&self.in_flight, entry)
            slot[0] = find(&self.in_flight, lookup.flow_digest)
            return False
        decision.mark = 0
        if decision.action == ACCEPT:
            decision.mark = self.compiled.marks[decision.uplink]
        return True

    cdef bint carry_over(self, Slot* entry) noexcept nogil:
        # Takes a flow in flight to this policy from the one that decided it, which is fewer than
        # 65536 policies ago. False: its uplink is gone, and its id may be another's by now, or its
        # flows were forgotten.
        cdef uint64_t* decided = value(entry)
        cdef uint8_t uplink = <uint8_t>(decided[0] >> 8)
        cdef uint64_t ago = (self.compiled.generation - (decided[0] >> 48)) & 0xFFFF
        cdef int32_t rule = -1, i
        if uplink and self.compiled.since[uplink] + ago > self.compiled.generation:
            return False
        if decided[1]:
            for i in range(self.compiled.rule_count):
                if self.compiled.rule_digests[i] == decided[1]:
                    rule = i
                    break
        decided[0] = (
            (self.compiled.generation << 48) | (<uint64_t><uint32_t>rule << 16)
            | (decided[0] & 0xFFFF)
        )
        return True

    cdef void use_target(self, Lookup* lookup, Decision* decision) noexcept nogil:
        # From the rule's target along the fallbacks to a decision. The configuration has no cycle
        # of fallbacks; counting them makes sure that the engine comes to an end.
        cdef const uint8_t* usable = self.compiled.usable[lookup.packet.family == 6]
        cdef Target* target
        cdef uint8_t uplink, reason = FALLBACK
        cdef uint32_t step
        if lookup.rule < 0:
            self.use_direct(DIRECT, decision)
            return
        target = &self.compiled.targets[lookup.rule]
        for step in range(self.compiled.balancer_count + 1):
            if target.kind == TO_BALANCER:
                if step:
                    lookup.has_rule = False
                uplink = self.pick_uplink(&self.compiled.balancers[target.index], lookup, &reason)
                if uplink:
                    self.use_uplink(uplink, FALLBACK if step else reason, decision)
                    return
                target = &self.compiled.balancers[target.index].fallback
                continue
            if target.kind == TO_UPLINK and usable[target.index]:
                self.use_uplink(<uint8_t>target.index, FALLBACK if step else PINNED, decision)
            elif target.kind == TO_DROP or (target.kind == TO_UPLINK and target.strict):
                self.use_drop(decision)
            else:
                self.use_direct(FALLBACK if step else DIRECT, decision)
            return
        self.use_direct(FALLBACK, decision)

    cdef uint8_t pick_uplink(
        self, Balancer* balancer, Lookup* lookup, uint8_t* reason
    ) noexcept nogil:
        # An uplink by sticky entry or by method, 0 if none can take the flow. The sticky key that
        # `find_rule` made is that of the rule's own balancer.
        cdef int family = lookup.packet.family == 6
        cdef const uint8_t* usable = self.compiled.usable[family]
        cdef Slot* slot = NULL
        cdef uint8_t uplink
        if not lookup.has_rule and (balancer.remembers or balancer.method == HASH):
            lookup.sticky = sticky_key(balancer, &self.hash_key, &lookup.packet)
        if balancer.remembers:
            uplink = remembered(balancer, &lookup.sticky, usable, self.now, &slot)
            if uplink:
                reason[0] = STICKY
                return uplink
        uplink = choose(balancer, family, &lookup.sticky, &self.random)
        if uplink and balancer.remembers:
            remember(balancer, &lookup.sticky, family, uplink, self.now, slot)
        reason[0] = BY_NTH + balancer.method
        return uplink

    cdef void use_uplink(self, uint8_t uplink, uint8_t reason, Decision* decision) noexcept nogil:
        self.counts.uplinks[uplink] += 1
        decision.uplink = uplink
        decision.reason = reason
        decision.action = ACCEPT
        decision.mark = self.compiled.marks[uplink]

    cdef void use_direct(self, uint8_t reason, Decision* decision) noexcept nogil:
        self.counts.direct += 1
        decision.uplink = 0
        decision.reason = reason
        decision.action = ACCEPT
        decision.mark = self.compiled.marks[0]

    cdef void use_drop(self, Decision* decision) noexcept nogil:
        self.counts.dropped += 1
        decision.uplink = 0
        decision.reason = DROP
        decision.action = DROP_PACKET
        decision.mark = 0


def names_by_id(policy):
    names = {uplink.id: uplink.name for uplink in policy.uplinks}
    return tuple([names.get(id) for id in range(256)])
