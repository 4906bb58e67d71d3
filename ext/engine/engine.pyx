"""The engine: parse -> in-flight table -> rules -> sticky table -> method -> mark."""
cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.string cimport memcpy, memset

from classifier.engine.balancers cimport CUSTOM, CYTHON, Balancer, name_digest
from classifier.engine.compiled cimport begin, compile_policy, destroy_compiled, refresh_all
from classifier.engine.custom cimport CustomMethod, MethodInUse
from classifier.engine.cython_method cimport CythonMethod, pick_of
from classifier.engine.deciding cimport (
    BATCH, decide_packet, decide_packets, digest_flow, holds_answer, look_up_packets,
)
from classifier.engine.hashing cimport splitmix
from classifier.engine.loads cimport DOWN, UP, Loads, Measured, forget_load, take_measured
from classifier.engine.mutex cimport (
    pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_lock, pthread_mutex_unlock,
)
from classifier.engine.questions cimport (
    ASKED_TOGETHER, Question, answer_in_cython, find_questions,
)
from classifier.engine.succession cimport Succession, destroy_succession, prepare, succeed
from classifier.engine.tables cimport create, destroy, latest

import threading

from classifier.engine.counters import BalancerCounters, EngineCounters
from classifier.engine.decision import REASONS
from classifier.engine.decision import Decision as DecisionValue
from classifier.engine.interfaces import named, numbered
from classifier.errors import UsageError

cdef enum:
    # How often methods of users are asked anew, when policy or uplinks changed while they were asked.
    MOST_TURNS = 3


cdef class Engine:
    """Decides flows by one policy; shared by all threads that have packets.

    `seed` is any integer; its low 64 bits key the hashes and begin the random numbers, so that the
    same packets at the same times come to the same decisions. `in_flight` is the most flows
    remembered while they are new.
    """

    def __cinit__(self, policy, seed, size_t in_flight=65536):
        cdef uint64_t state = seed & 0xFFFFFFFFFFFFFFFF
        cdef int id
        pthread_mutex_init(&self.state.lock, NULL)
        self.policy = policy
        self.state.hash_key.k0 = splitmix(&state)
        self.state.hash_key.k1 = splitmix(&state)
        self.state.random = state
        self.naming = threading.Lock()
        self.replacing = threading.Lock()
        create(&self.state.in_flight, in_flight, True)
        self.interfaces = numbered(policy, {})
        self.numbered_interfaces = self.interfaces
        compile_policy(&self.state.compiled, policy, self.interfaces, &self.state.hash_key)
        begin(&self.state.compiled, policy)
        for id in range(256):
            forget_load(&self.state.loads, id)
        take_capacities(&self.state)
        self.names = names_by_id(policy)
        self.interface_names = {number: name for name, number in self.interfaces.items()}
        self.in_use = self.methods_in_use(&self.state.compiled, policy, ())
        self.in_use_by_policy = {self.state.compiled.generation: self.in_use}
        self.retired = []
        tell_uplinks(&self.state.compiled, policy, self.in_use)

    def __dealloc__(self):
        destroy_compiled(&self.state.compiled)
        destroy(&self.state.in_flight)
        pthread_mutex_destroy(&self.state.lock)

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
        numbers of interfaces; methods of users, where balancer, class and options are the same. A
        new `timeout` counts from an entry's next use. A table of another size begins empty.

        UsageError, MemoryError: nothing has changed.
        """
        cdef Compiled next
        cdef Succession succession
        cdef uint32_t asking
        cdef int id
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
                compile_policy(&next, policy, interfaces, &self.state.hash_key)
                in_use = self.methods_in_use(&next, policy, self.in_use)
                prepare(&succession, &next, &self.state.compiled, policy, self.policy, usable)
                with self.naming:
                    # Before the policy is: nothing may be asked that is not there.
                    self.in_use_by_policy[next.generation] = in_use
                    tell_uplinks(&next, policy, in_use)
                    with nogil:
                        pthread_mutex_lock(&self.state.lock)
                        succeed(&succession, &next, &self.state.compiled, self.state.counts.uplinks)
                        self.state.compiled, next = next, self.state.compiled
                        for id in range(256):
                            if not succession.kept[id]:
                                forget_load(&self.state.loads, id)
                        take_capacities(&self.state)
                        self.state.changes += 1
                        asking = self.state.asking
                        pthread_mutex_unlock(&self.state.lock)
                    self.in_use_by_policy = {self.state.compiled.generation: in_use}
                    self.retired = [*self.retired, self.in_use] if asking else []
                    self.in_use = in_use
                    tell_uplinks(&self.state.compiled, policy, in_use)
                    self.interface_names = {number: name for name, number in interfaces.items()}
                    self.policy = policy
                    self.names = names
                    self.interfaces = interfaces
                    self.numbered_interfaces = all_interfaces
            finally:
                destroy_compiled(&next)
                destroy_succession(&succession)

    def set_usable(self, name, bint ipv4, bint ipv6):
        """Says for which families an uplink can take flows now; see `set_usable_families`."""
        self.set_usable_families({name: (ipv4, ipv6)})

    def set_usable_families(self, usable):
        """Says of several uplinks at once for which families they can take flows now: `usable` maps
        names to a pair, IPv4 and IPv6; others stay as they are.

        A balancer uses the lowest tiers that are enough, for each family by itself, and forgets the
        sticky entries of uplinks that it uses no more. UsageError: the policy has no such uplink;
        nothing has changed.
        """
        cdef uint8_t[2][256] wanted
        cdef uint8_t id
        with self.naming:
            memcpy(wanted, self.state.compiled.usable, sizeof(wanted))
            for name, (ipv4, ipv6) in usable.items():
                id = self._uplink(name).id
                wanted[0][id] = bool(ipv4)
                wanted[1][id] = bool(ipv6) and self.state.compiled.has_ipv6[id]
            with nogil:
                pthread_mutex_lock(&self.state.lock)
                memcpy(self.state.compiled.usable, wanted, sizeof(wanted))
                refresh_all(&self.state.compiled)
                self.state.changes += 1
                pthread_mutex_unlock(&self.state.lock)
            tell_uplinks(&self.state.compiled, self.policy, self.in_use)

    def set_loads(self, loads, expected=(0.0, 0.0), double fading=0.0):
        """Says how uplinks are doing: `loads` maps names to `UplinkLoad`; others stay as they are.

        Between two calls each flow that is placed adds `expected` (bytes per second, down and up) to
        the rate of its uplink. At a call, the part `fading` (0 to 1) of what was added so stays, less
        what the new rates show of it (`UplinkLoad.shown_down`, `.shown_up`), since these are
        smoothed and late. See `classifier.engine.load_meter`.

        UsageError: the policy has no such uplink; nothing has changed.
        """
        cdef Loads* mine = &self.state.loads
        cdef Measured measured[256]
        cdef double expected_down = expected[DOWN], expected_up = expected[UP]
        cdef size_t i, count = 0
        with self.naming:
            for name, load in loads.items():
                measured[count].id = self._uplink(name).id
                measured[count].rate[DOWN] = load.down
                measured[count].rate[UP] = load.up
                measured[count].shown[DOWN] = load.shown_down
                measured[count].shown[UP] = load.shown_up
                measured[count].latency = -1 if load.latency is None else load.latency
                count += 1
            with nogil:
                pthread_mutex_lock(&self.state.lock)
                for i in range(count):
                    take_measured(mine, self.state.counts.uplinks, &measured[i], fading)
                mine.expected[DOWN] = expected_down
                mine.expected[UP] = expected_up
                pthread_mutex_unlock(&self.state.lock)

    @property
    def epoch(self):
        """Milliseconds that are added to the engine's time for methods of users, so that these are
        told Unix time where the engine's own began elsewhere."""
        return self.state.epoch

    @epoch.setter
    def epoch(self, int64_t milliseconds):
        self.state.epoch = milliseconds

    def methods_of_users(self):
        """The `CustomMethod` of each balancer that has one."""
        return [one.method for one in self.in_use if one is not None]

    def forget_in_flight(self, name):
        """Flows in flight on an uplink are decided anew with their next packet; with None, those on
        no uplink."""
        cdef uint8_t id
        cdef uint64_t now
        with self.replacing, self.naming:
            id = 0 if name is None else self._uplink(name).id
            now = self.state.compiled.generation
            self.in_use_by_policy = {now: self.in_use, now + 1: self.in_use}
            with nogil:
                pthread_mutex_lock(&self.state.lock)
                # As if the id had been another uplink's before: see carry_over.
                self.state.compiled.generation = now + 1
                self.state.compiled.since[id] = now + 1
                pthread_mutex_unlock(&self.state.lock)

    def usable_families(self, name):
        """Whether an uplink can take IPv4 flows, and whether IPv6 flows."""
        cdef uint8_t id
        with self.naming:
            id = self._uplink(name).id
            return bool(self.state.compiled.usable[0][id]), bool(self.state.compiled.usable[1][id])

    def _uplink(self, name):
        try:
            return self.policy.uplink(name)
        except KeyError:
            raise UsageError(f"the policy has no uplink {name!r}") from None

    def counters(self):
        cdef const uint64_t* rules
        cdef uint32_t i
        cdef int32_t rule
        with self.naming:
            entries = size = 0
            rules = self.state.compiled.rule_flows
            in_order = range(self.state.compiled.rule_count)
            for i in range(self.state.compiled.balancer_count):
                entries += self.state.compiled.balancers[i].sticky.entries
                entries -= self.state.compiled.balancers[i].sticky.forgotten
                size += self.state.compiled.balancers[i].sticky.capacity
            return EngineCounters(
                packets=self.state.counts.packets,
                malformed=self.state.counts.malformed,
                in_flight=self.state.counts.in_flight,
                uplinks={u.name: self.state.counts.uplinks[<uint8_t>u.id] for u in self.policy.uplinks},
                rules=tuple([rules[2 * rule] + rules[2 * rule + 1] for rule in in_order]),
                rules_ipv6=tuple([rules[2 * rule + 1] for rule in in_order]),
                direct=self.state.counts.direct,
                dropped=self.state.counts.dropped,
                sticky_entries=entries,
                sticky_size=size,
                balancers=self._balancers(),
            )

    def _balancers(self):
        cdef Balancer* balancer
        cdef uint32_t i
        counted = {}
        for i, known in enumerate(self.policy.balancers):
            balancer = &self.state.compiled.balancers[i]
            custom = self.in_use[i].method if self.in_use[i] is not None else None
            why = custom.last_error if custom is not None else None
            if why is None and balancer.errors:
                why = "it picked none of the uplinks that it was given"
            counted[known.name] = BalancerCounters(
                method=known.method,
                entries=balancer.sticky.entries - balancer.sticky.forgotten,
                evictions=balancer.sticky.evictions,
                errors=balancer.errors + (custom.errors if custom is not None else 0),
                last_error=why,
            )
        return counted

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
        cdef Py_buffer views[ASKED_TOGETHER]
        cdef Item items[ASKED_TOGETHER]
        cdef size_t count, i
        decisions = []
        packets = list(packets)
        for first in range(0, len(packets), ASKED_TOGETHER):
            count = 0
            try:
                for packet in packets[first : first + ASKED_TOGETHER]:
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
        cdef Lookup lookups[ASKED_TOGETHER]
        cdef size_t part
        pthread_mutex_lock(&self.state.lock)
        self.state.now = max(self.state.now, min(now, latest()))
        self.state.counts.packets += count
        while count:
            part = min(count, <size_t>(ASKED_TOGETHER if self.state.compiled.asks else BATCH))
            look_up_packets(&self.state, items, lookups, part)
            if self.state.compiled.asks:
                self.ask_methods(lookups, part)
            decide_packets(&self.state, items, lookups, part)
            items += part
            count -= part
        pthread_mutex_unlock(&self.state.lock)

    cdef void decide_parsed(
        self, const Packet* packet, uint16_t interface, int64_t uid, uint64_t now, Decision* decision
    ) noexcept nogil:
        cdef Lookup lookup
        lookup.packet = packet[0]
        lookup.interface = interface
        lookup.uid = uid
        lookup.fault = 0
        pthread_mutex_lock(&self.state.lock)
        self.state.now = max(self.state.now, min(now, latest()))
        self.state.counts.packets += 1
        digest_flow(&self.state, &lookup)
        if self.state.compiled.asks:
            self.ask_methods(&lookup, 1)
        decide_packet(&self.state, &lookup, decision)
        pthread_mutex_unlock(&self.state.lock)

    cdef void ask_methods(self, Lookup* lookups, size_t count) noexcept nogil:
        cdef Question questions[ASKED_TOGETHER]
        cdef uint64_t changes, generation
        cdef size_t i, found
        cdef int turn
        for turn in range(MOST_TURNS):
            found = find_questions(&self.state, lookups, count, questions)
            if found == 0:
                return
            changes = self.state.changes
            generation = self.state.compiled.generation
            found = answer_in_cython(&self.state, questions, found)
            if found:
                pthread_mutex_unlock(&self.state.lock)
                self.ask(questions, found, generation)
                pthread_mutex_lock(&self.state.lock)
            if self.state.changes == changes:
                return
            # Another policy, or an uplink went down meanwhile: rules are looked up again, and where
            # the answer is of no use any more, the method is asked again.
            for i in range(count):
                lookups[i].has_rule = False
                if generation != self.state.compiled.generation or not holds_answer(
                    &self.state, &lookups[i]
                ):
                    lookups[i].asked = False

    cdef void ask(self, Question* questions, size_t count, uint64_t generation) noexcept nogil:
        with gil:
            try:
                # None: the policy has been replaced before the interpreter was free.
                in_use = self.in_use_by_policy.get(generation)
                if in_use is not None:
                    self.answer(questions, count, in_use)
            except BaseException:
                # Only where memory or time is at its end. Flows without an answer go by the weights.
                pass

    cdef object answer(self, Question* questions, size_t count, tuple in_use):
        cdef MethodInUse asked
        cdef Question same[ASKED_TOGETHER]
        cdef size_t i, found
        cdef uint16_t number
        for number in sorted({questions[i].balancer for i in range(count)}):
            found = 0
            for i in range(count):
                if questions[i].balancer == number:
                    same[found] = questions[i]
                    same[found].lookup.asked = True
                    same[found].lookup.asked_for = number
                    same[found].lookup.answer = 0
                    found += 1
            asked = in_use[number]
            asked.answer(&self.state, same, found, self.interface_names, self.clock)

    cdef tuple methods_in_use(self, Compiled* compiled, object policy, tuple before):
        """Makes the methods of users for a policy; those of `before` go on where they can."""
        cdef CythonMethod in_c
        cdef CustomMethod method
        cdef Balancer* balancer
        cdef uint32_t i
        in_use = []
        for i, wanted in enumerate(policy.balancers):
            balancer = &compiled.balancers[i]
            if balancer.method != CUSTOM:
                in_use.append(None)
                continue
            kept = [one.method for one in before if one is not None and one.method.is_for(wanted)]
            seed = name_digest(&self.state.hash_key, wanted.name)
            method = kept[0] if kept else CustomMethod(wanted, seed)
            in_use.append(MethodInUse(method))
            compiled.asks = True
            if isinstance(method.made, CythonMethod):
                in_c = method.made
                balancer.method = CYTHON
                balancer.custom = <void*>in_c
                balancer.pick = pick_of(in_c)
        return tuple(in_use)


cdef object tell_uplinks(const Compiled* compiled, object policy, object methods):
    """Tells methods of users which uplinks can take flows."""
    cdef uint32_t i
    for i, (balancer, one) in enumerate(zip(policy.balancers, methods, strict=True)):
        for family in range(2):
            if one is not None:
                one.set_uplinks(family, [
                    (share, policy.uplink(share.uplink).id) for share in balancer.members
                    if compiled.balancers[i].in_use[family][<uint8_t>policy.uplink(share.uplink).id]
                ])


cdef void take_capacities(State* state) noexcept nogil:
    memcpy(state.loads.capacity, state.compiled.capacity, sizeof(state.compiled.capacity))


def names_by_id(policy):
    names = {uplink.id: uplink.name for uplink in policy.uplinks}
    return tuple([names.get(id) for id in range(256)])
