"""Flows that methods of users are asked about, between two steps of a batch; asking those in Cython.

What a method in Cython is told is copied under the lock, since policy and uplinks may change as
soon as that is free. The method itself stays: the engine lets go of none while one is asked.
"""
from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memset, strncpy

from classifier.engine.balancers cimport CYTHON, Balancer, turns_of
from classifier.engine.cython_method cimport Pick
from classifier.engine.deciding cimport seconds, to_be_asked, write_figures
from classifier.engine.method_values cimport NewFlow, UplinkFigures
from classifier.engine.methods cimport Choice
from classifier.engine.mutex cimport pthread_mutex_lock, pthread_mutex_unlock

cdef enum:
    # Two keys of each question, and as much room again.
    MOST_SLOTS = 4 * ASKED_TOGETHER

cdef struct Seen:
    # Digests; open addressing, 0 in an empty slot.
    uint64_t slots[MOST_SLOTS]
    size_t mask

cdef struct Told:
    # What a method is told of its balancer.
    UplinkFigures figures[2][256]    # by family
    uint32_t counts[2]
    uint64_t answered[256]           # flows of this batch, by uplink id; only of those in `figures`
    double now


cdef size_t find_questions(
    State* state, Lookup* lookups, size_t count, Question* questions
) noexcept nogil:
    cdef Seen seen
    cdef size_t i, found = 0
    cdef int32_t balancer
    begin_seen(&seen, count)
    for i in range(count):
        balancer = to_be_asked(state, &lookups[i])
        if balancer >= 0 and not asked_already(state, &seen, &lookups[i], balancer):
            questions[found].lookup = &lookups[i]
            questions[found].balancer = <uint16_t>balancer
            name_interface(state, lookups[i].interface, questions[found].in_interface)
            found += 1
    return found


cdef bint asked_already(
    const State* state, Seen* seen, const Lookup* lookup, int32_t balancer
) noexcept nogil:
    # Whether a table will know the flow once those before it have their answers.
    cdef uint64_t which = 2 * <uint64_t>balancer + (lookup.packet.family == 6)
    if not is_new(seen, lookup.flow_digest):
        return True
    if not state.compiled.balancers[balancer].remembers:
        return False
    return not is_new(seen, lookup.asked_key ^ ((which + 1) * <uint64_t>0x9E3779B97F4A7C15))


cdef void begin_seen(Seen* seen, size_t count) noexcept nogil:
    cdef size_t size = 4
    while size < 4 * count:
        size *= 2
    seen.mask = size - 1
    memset(seen.slots, 0, size * sizeof(uint64_t))


cdef bint is_new(Seen* seen, uint64_t digest) noexcept nogil:
    cdef uint64_t key = digest if digest else 1
    cdef size_t at = <size_t>key & seen.mask
    while seen.slots[at]:
        if seen.slots[at] == key:
            return False
        at = (at + 1) & seen.mask
    seen.slots[at] = key
    return True


cdef void name_interface(const State* state, uint16_t number, char* name) noexcept nogil:
    name[0] = 0
    if number < state.compiled.interface_count and state.compiled.interface_names[number] != NULL:
        strncpy(name, state.compiled.interface_names[number], INTERFACE_BYTES - 1)
        name[<int>INTERFACE_BYTES - 1] = 0


cdef size_t answer_in_cython(State* state, Question* questions, size_t count) noexcept nogil:
    cdef uint64_t generation = state.compiled.generation
    cdef size_t i, left = 0
    cdef Question* question
    for i in range(count):
        question = &questions[i]
        if question.lookup.asked and question.lookup.asked_for == question.balancer:
            continue
        if (
            state.compiled.generation == generation
            and state.compiled.balancers[question.balancer].method == CYTHON
        ):
            ask_one_method(state, question, count - i)
        else:
            questions[left] = questions[i]
            left += 1
    return left


cdef void ask_one_method(State* state, Question* questions, size_t count) noexcept nogil:
    # The method of the first question, about all flows that are for it.
    cdef Told told
    cdef const Balancer* balancer = &state.compiled.balancers[questions[0].balancer]
    cdef void* method = balancer.custom
    cdef Pick pick = balancer.pick
    cdef size_t i
    tell(state, &state.compiled.balancers[questions[0].balancer], &told)
    state.asking += 1
    pthread_mutex_unlock(&state.lock)
    for i in range(count):
        if questions[i].balancer == questions[0].balancer:
            ask_about(state, method, pick, &questions[i], &told)
    pthread_mutex_lock(&state.lock)
    state.asking -= 1


cdef void tell(const State* state, Balancer* balancer, Told* told) noexcept nogil:
    cdef const Choice* choice
    cdef UplinkFigures* figures
    cdef uint32_t i
    cdef int family
    told.now = seconds(state)
    for family in range(2):
        choice = turns_of(balancer, family)
        told.counts[family] = choice.count
        for i in range(choice.count):
            figures = &told.figures[family][i]
            figures.id = choice.uplinks[i].id
            figures.weight = choice.uplinks[i].weight
            figures.tier = choice.uplinks[i].tier
            told.answered[figures.id] = 0


cdef void ask_about(
    const State* state, void* method, Pick pick, Question* question, Told* told
) noexcept nogil:
    # The answer is the id of the uplink that the method picked, or 0.
    cdef Lookup* lookup = question.lookup
    cdef int family = lookup.packet.family == 6
    cdef UplinkFigures* figures = told.figures[family]
    cdef uint32_t i, count = told.counts[family]
    cdef int32_t index
    cdef NewFlow flow
    flow.packet = &lookup.packet
    flow.in_interface = question.in_interface if question.in_interface[0] else NULL
    flow.user = lookup.uid
    for i in range(count):
        write_figures(state, figures[i].id, told.answered[figures[i].id], &figures[i])
    index = pick(method, &flow, figures, count, told.now)
    lookup.asked = True
    lookup.asked_for = question.balancer
    lookup.answer = 0
    if 0 <= index < <int32_t>count:
        lookup.answer = figures[index].id
        told.answered[lookup.answer] += 1
