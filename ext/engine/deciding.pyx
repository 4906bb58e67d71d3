"""The decision of flows; deciding.pxd says in which steps."""
from classifier.engine.balancers cimport (
    CUSTOM, CYTHON, HASH, TO_BALANCER, TO_DROP, TO_UPLINK, Balancer, StickyKey, Target, choose,
    is_remembered, remember, remembered, sticky_key, turns_of,
)
from classifier.engine.hashing cimport address_pair, siphash
from classifier.engine.loads cimport fuller, rate_with
from classifier.engine.matching cimport Candidates, look_up, next_rule
from classifier.engine.method_values cimport NewFlow, UplinkFigures
from classifier.engine.methods cimport Choice, WeightedUplink, drawn
from classifier.engine.tables cimport Slot, expires, find, insert, prefetch, remove, value
from classifier.engine.wire cimport parse

# Indices into classifier.engine.decision.REASONS.
cdef enum Reason:
    PINNED = 0
    BY_NTH = 1
    BY_WEIGHTED = 2
    BY_HASH = 3
    BY_CUSTOM = 4    # and so on, by the numbers of the methods
    STICKY = 5
    IN_FLIGHT = 6
    DIRECT = 7
    DROP = 8
    FALLBACK = 9
    MALFORMED = 10

cdef enum:
    # Milliseconds in which more packets of a flow may be on their way to us. Until the first one
    # has left the host, the kernel takes each for the first of a new flow.
    FLIGHT_TIME = 5000
    # The longest key of a flow: ports and protocol, addresses.
    FLOW_WORDS = 5


cdef void look_up_packets(
    State* state, const Item* items, Lookup* lookups, size_t count
) noexcept nogil:
    # Two passes: the first has asked for the memory that the second reads.
    cdef size_t i
    for i in range(count):
        lookups[i].interface = items[i].interface
        lookups[i].uid = items[i].uid
        lookups[i].fault = parse(items[i].data, items[i].size, &lookups[i].packet)
        if not lookups[i].fault:
            digest_flow(state, &lookups[i])
    for i in range(count):
        if not lookups[i].fault and find(&state.in_flight, lookups[i].flow_digest).life == 0:
            find_rule(state, &lookups[i])


cdef void decide_packets(
    State* state, Item* items, Lookup* lookups, size_t count
) noexcept nogil:
    cdef size_t i
    for i in range(count):
        decide_packet(state, &lookups[i], &items[i].decision)


cdef void digest_flow(State* state, Lookup* lookup) noexcept nogil:
    cdef Packet* packet = &lookup.packet
    cdef uint64_t key[FLOW_WORDS]
    lookup.has_rule = False
    lookup.asked = False
    key[0] = (
        (<uint64_t>packet.sport << 32) | (<uint64_t>packet.dport << 16) | packet.protocol
    )
    if packet.family == 4:
        key[1] = address_pair(packet.dst, packet.src)
        lookup.flow_digest = siphash(&state.hash_key, key, 2)
    else:
        key[1] = packet.dst[0]
        key[2] = packet.dst[1]
        key[3] = packet.src[0]
        key[4] = packet.src[1]
        lookup.flow_digest = siphash(&state.hash_key, key, FLOW_WORDS)
    prefetch(&state.in_flight, lookup.flow_digest)


cdef void find_rule(State* state, Lookup* lookup) noexcept nogil:
    # The rule that takes the flow. One that names an uplink which is down does not, unless it
    # is strict.
    cdef const uint8_t* usable = state.compiled.usable[lookup.packet.family == 6]
    cdef Candidates found
    cdef Target* target = NULL
    cdef Balancer* balancer
    look_up(
        &state.compiled.matcher, &lookup.packet, lookup.interface, lookup.uid, &found
    )
    lookup.has_rule = True
    lookup.rule = next_rule(&found)
    while lookup.rule >= 0:
        target = &state.compiled.targets[lookup.rule]
        if target.kind != TO_UPLINK or usable[target.index] or target.strict:
            break
        lookup.rule = next_rule(&found)
    if lookup.rule >= 0 and target.kind == TO_BALANCER:
        balancer = &state.compiled.balancers[target.index]
        if balancer.remembers or balancer.method == HASH:
            lookup.sticky = sticky_key(balancer, &state.hash_key, &lookup.packet)
        if balancer.remembers:
            prefetch(&balancer.sticky, lookup.sticky.digest)


cdef void decide_packet(State* state, Lookup* lookup, Decision* decision) noexcept nogil:
    cdef Slot* slot
    if lookup.fault:
        state.counts.malformed += 1
        decision.mark = 0
        decision.rule = -1
        decision.uplink = 0
        decision.reason = MALFORMED
        decision.action = UNTOUCHED
        return
    if find_in_flight(state, lookup, decision, &slot):
        state.counts.in_flight += 1
        return
    if not lookup.has_rule:
        find_rule(state, lookup)
    decision.rule = lookup.rule
    if lookup.rule >= 0:
        state.compiled.rule_flows[2 * lookup.rule + (lookup.packet.family == 6)] += 1
    use_target(state, lookup, decision)
    slot = insert(
        &state.in_flight, slot, lookup.flow_digest, state.now + FLIGHT_TIME, 0, 0, state.now
    )
    # The rule's number is good for this policy only, its name's digest for the next ones.
    value(slot)[0] = (
        (state.compiled.generation << 48) | (<uint64_t><uint32_t>decision.rule << 16)
        | (<uint64_t>decision.uplink << 8) | decision.action
    )
    value(slot)[1] = (
        state.compiled.rule_digests[decision.rule] if decision.rule >= 0 else 0
    )


cdef bint find_in_flight(
    State* state, Lookup* lookup, Decision* decision, Slot** slot
) noexcept nogil:
    # The decision of a flow that is in flight, unless its uplink has gone down or has let it go
    # since. If it is not, `slot` is where in the table it belongs.
    cdef Slot* entry = find(&state.in_flight, lookup.flow_digest)
    cdef uint64_t decided
    cdef bint gone = False
    slot[0] = entry
    if entry.life == 0:
        return False
    if (value(entry)[0] >> 48) != (state.compiled.generation & 0xFFFF):
        gone = not carry_over(state, entry)
    decided = value(entry)[0]
    decision.rule = <int32_t>(decided >> 16)
    decision.uplink = <uint8_t>(decided >> 8)
    decision.action = <uint8_t>decided
    decision.reason = IN_FLIGHT
    if gone or expires(entry) <= state.now or (
        decision.uplink and not state.compiled.usable[lookup.packet.family == 6][decision.uplink]
    ):
        remove(&state.in_flight, entry)
        slot[0] = find(&state.in_flight, lookup.flow_digest)
        return False
    decision.mark = 0
    if decision.action == ACCEPT:
        decision.mark = state.compiled.marks[decision.uplink]
    return True


cdef bint carry_over(State* state, Slot* entry) noexcept nogil:
    # Takes a flow in flight to this policy from the one that decided it, which is fewer than
    # 65536 policies ago. False: its uplink is gone, and its id may be another's by now, or
    # such flows were forgotten.
    cdef uint64_t* decided = value(entry)
    cdef uint8_t uplink = <uint8_t>(decided[0] >> 8)
    cdef uint64_t ago = (state.compiled.generation - (decided[0] >> 48)) & 0xFFFF
    cdef int32_t rule = -1, i
    if state.compiled.since[uplink] + ago > state.compiled.generation:
        return False
    if decided[1]:
        for i in range(state.compiled.rule_count):
            if state.compiled.rule_digests[i] == decided[1]:
                rule = i
                break
    decided[0] = (
        (state.compiled.generation << 48) | (<uint64_t><uint32_t>rule << 16)
        | (decided[0] & 0xFFFF)
    )
    return True


cdef void use_target(State* state, Lookup* lookup, Decision* decision) noexcept nogil:
    # From the rule's target along the fallbacks to a decision. The configuration has no cycle
    # of fallbacks; counting them makes sure that the engine comes to an end.
    cdef const uint8_t* usable = state.compiled.usable[lookup.packet.family == 6]
    cdef Target* target
    cdef uint8_t uplink, reason = FALLBACK
    cdef uint32_t step
    if lookup.rule < 0:
        use_direct(state, DIRECT, decision)
        return
    target = &state.compiled.targets[lookup.rule]
    for step in range(state.compiled.balancer_count + 1):
        if target.kind == TO_BALANCER:
            if step:
                lookup.has_rule = False
            uplink = pick_uplink(state, &state.compiled.balancers[target.index], lookup, &reason)
            if uplink:
                use_uplink(state, uplink, FALLBACK if step else reason, decision)
                return
            target = &state.compiled.balancers[target.index].fallback
            continue
        if target.kind == TO_UPLINK and usable[target.index]:
            use_uplink(state, <uint8_t>target.index, FALLBACK if step else PINNED, decision)
        elif target.kind == TO_DROP or (target.kind == TO_UPLINK and target.strict):
            use_drop(state, decision)
        else:
            use_direct(state, FALLBACK if step else DIRECT, decision)
        return
    use_direct(state, FALLBACK, decision)


cdef uint8_t pick_uplink(
    State* state, Balancer* balancer, Lookup* lookup, uint8_t* reason
) noexcept nogil:
    # An uplink by sticky entry or by method, 0 if none can take the flow. The sticky key that
    # `find_rule` made is that of the rule's own balancer.
    cdef int family = lookup.packet.family == 6
    cdef Slot* slot = NULL
    cdef uint8_t uplink
    if not lookup.has_rule and (balancer.remembers or balancer.method == HASH):
        lookup.sticky = sticky_key(balancer, &state.hash_key, &lookup.packet)
    if balancer.remembers:
        uplink = remembered(balancer, &lookup.sticky, family, state.now, &slot)
        if uplink:
            reason[0] = STICKY
            return uplink
    if balancer.method == CUSTOM or balancer.method == CYTHON:
        uplink = chosen_by_custom(state, balancer, lookup, reason)
    else:
        uplink = choose(
            balancer, family, &lookup.sticky, &state.random, &state.loads, state.counts.uplinks
        )
        reason[0] = BY_NTH + balancer.method
    if uplink and balancer.remembers:
        remember(balancer, &lookup.sticky, family, uplink, state.now, slot)
    return uplink


cdef int32_t to_be_asked(State* state, Lookup* lookup) noexcept nogil:
    cdef int family = lookup.packet.family == 6
    cdef Decision known
    cdef Slot* slot
    cdef Target* target
    cdef Balancer* balancer = NULL
    cdef StickyKey key
    cdef uint32_t step
    if lookup.fault or find_in_flight(state, lookup, &known, &slot):
        return -1
    if not lookup.has_rule:
        find_rule(state, lookup)
    if lookup.rule < 0:
        return -1
    target = &state.compiled.targets[lookup.rule]
    for step in range(state.compiled.balancer_count + 1):
        if target.kind != TO_BALANCER:
            return -1
        balancer = &state.compiled.balancers[target.index]
        if turns_of(balancer, family).count:
            break
        target = &balancer.fallback
    if balancer.method != CUSTOM or (lookup.asked and lookup.asked_for == target.index):
        return -1
    if balancer.remembers:
        key = sticky_key(balancer, &state.hash_key, &lookup.packet)
        if is_remembered(balancer, &key, family, state.now):
            return -1
        lookup.asked_key = key.digest
    return target.index


cdef bint holds_answer(const State* state, const Lookup* lookup) noexcept nogil:
    cdef const Balancer* balancer
    if lookup.fault or not lookup.asked:
        return False
    balancer = &state.compiled.balancers[lookup.asked_for]
    return balancer.in_use[lookup.packet.family == 6][lookup.answer]


cdef uint8_t chosen_by_custom(
    State* state, Balancer* balancer, Lookup* lookup, uint8_t* reason
) noexcept nogil:
    # What the user's method says; the weights, where it has failed.
    cdef int family = lookup.packet.family == 6
    cdef Choice* choice = turns_of(balancer, family)
    cdef uint8_t uplink = 0
    if choice.count == 0:
        return 0
    if balancer.method == CYTHON:
        uplink = picked(state, balancer, choice, lookup)
    elif (
        holds_answer(state, lookup)
        and lookup.asked_for == <uint16_t>(balancer - state.compiled.balancers)
    ):
        uplink = lookup.answer
    reason[0] = BY_CUSTOM if uplink else BY_WEIGHTED
    return uplink if uplink else drawn(choice, &state.random)


cdef uint8_t picked(
    State* state, Balancer* balancer, const Choice* choice, const Lookup* lookup
) noexcept nogil:
    # By a method in Cython; 0 if it returned no uplink's index.
    cdef NewFlow flow
    cdef int32_t index
    cdef uint32_t i
    flow.packet = &lookup.packet
    flow.in_interface = NULL
    if lookup.interface < state.compiled.interface_count:
        flow.in_interface = state.compiled.interface_names[lookup.interface]
    flow.user = lookup.uid
    for i in range(choice.count):
        balancer.figures[i].weight = choice.uplinks[i].weight
        balancer.figures[i].tier = choice.uplinks[i].tier
        write_figures(state, choice.uplinks[i].id, 0, &balancer.figures[i])
    index = balancer.pick(balancer.custom, &flow, balancer.figures, choice.count, seconds(state))
    if 0 <= index < <int32_t>choice.count:
        return choice.uplinks[index].id
    balancer.errors += 1
    return 0


cdef void write_figures(
    const State* state, uint8_t id, uint64_t more, UplinkFigures* figures
) noexcept nogil:
    cdef uint64_t flows = state.counts.uplinks[id] + more
    cdef int direction = fuller(&state.loads, flows, id)
    cdef double capacity = state.loads.capacity[direction][id]
    figures.id = id
    figures.flows = flows
    figures.rate = -1
    if state.loads.measured[id]:
        figures.rate = rate_with(&state.loads, flows, direction, id)
    figures.capacity = capacity if capacity > 0 else -1
    figures.latency = state.loads.latency[id]


cdef void use_uplink(
    State* state, uint8_t uplink, uint8_t reason, Decision* decision
) noexcept nogil:
    state.counts.uplinks[uplink] += 1
    decision.uplink = uplink
    decision.reason = reason
    decision.action = ACCEPT
    decision.mark = state.compiled.marks[uplink]


cdef void use_direct(State* state, uint8_t reason, Decision* decision) noexcept nogil:
    state.counts.direct += 1
    decision.uplink = 0
    decision.reason = reason
    decision.action = ACCEPT
    decision.mark = state.compiled.marks[0]


cdef void use_drop(State* state, Decision* decision) noexcept nogil:
    state.counts.dropped += 1
    decision.uplink = 0
    decision.reason = DROP
    decision.action = DROP_PACKET
    decision.mark = 0
