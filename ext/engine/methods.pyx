"""Methods of balancing: nth, weighted and hash, over the uplinks that can take a flow.

nth is smooth weighted round robin as nginx does it (ngx_http_upstream_round_robin.c): at each flow
every uplink's `current_weight` grows by its weight, the largest takes the flow (the first among
equals) and pays the sum of the weights. Weights 5, 1, 1 give

    current after growing    5 1 1   3 2 2   1 3 3  6 -3 4 ...
    takes the flow           a       a       b      a      ...    a a b a c a a, and again

`current_weight` is how many flows the uplink is behind its ideal share, times the sum of weights.
That rule keeps every uplink within one flow of the ideal for up to three uplinks, but not for all
weights of more: with five it can be 1.29 flows off. So it is tried over one period, and where it
would leave the bound the flow goes by earliest deadline instead (Still's quota method, "A class of
new methods for congressional apportionment", 1979): among the uplinks that are behind, so that one
more flow does not put them a whole flow ahead, to the one that would be first to fall a whole flow
behind without it. That is provably always within one flow.
"""
from libc.math cimport log

from classifier.engine.hashing cimport draw, mix

cdef enum:
    # Up to this sum of weights nginx's rule is tried; beyond it, trying would take too long.
    LONGEST_TRIAL = 10000


cdef int64_t greatest_divisor(const Choice* choice) noexcept nogil:
    cdef int64_t a = 0, b
    cdef uint32_t i
    for i in range(choice.count):
        b = choice.uplinks[i].weight
        while b:
            a, b = b, a % b
    return a


cdef void forget_turns(Choice* choice) noexcept nogil:
    cdef uint32_t i
    for i in range(choice.count):
        choice.uplinks[i].current_weight = 0


cdef bint stays_within_one(Choice* choice) noexcept nogil:
    cdef int64_t turn
    cdef uint32_t i
    for turn in range(choice.total):
        next_turn(choice)
        for i in range(choice.count):
            if not -choice.total < choice.uplinks[i].current_weight < choice.total:
                return False
    return True


cdef void begin_turns(Choice* choice) noexcept nogil:
    cdef int64_t divisor = greatest_divisor(choice)
    cdef uint32_t i
    choice.total = 0
    for i in range(choice.count):
        choice.uplinks[i].weight //= divisor
        choice.total += choice.uplinks[i].weight
    forget_turns(choice)
    choice.by_deadline = False
    if choice.count > 3:
        choice.by_deadline = choice.total > LONGEST_TRIAL or not stays_within_one(choice)
        forget_turns(choice)


cdef inline WeightedUplink* most_owed(const Choice* choice) noexcept nogil:
    cdef WeightedUplink* best = choice.uplinks
    cdef uint32_t i
    for i in range(1, choice.count):
        if choice.uplinks[i].current_weight > best.current_weight:
            best = choice.uplinks + i
    return best


cdef inline WeightedUplink* earliest_deadline(const Choice* choice) noexcept nogil:
    # `current_weight` sums up to the total after growing, so at least one is above 0.
    cdef WeightedUplink* best = NULL
    cdef WeightedUplink* candidate
    cdef int64_t deadline, soonest = 0
    cdef uint32_t i
    for i in range(choice.count):
        candidate = choice.uplinks + i
        if candidate.current_weight <= 0:
            continue
        deadline = choice.total - candidate.current_weight
        deadline = (deadline + candidate.weight - 1) // candidate.weight
        if (
            best == NULL or deadline < soonest
            or (deadline == soonest and candidate.current_weight > best.current_weight)
        ):
            best = candidate
            soonest = deadline
    return best


cdef uint8_t next_turn(Choice* choice) noexcept nogil:
    cdef WeightedUplink* taken
    cdef uint32_t i
    for i in range(choice.count):
        choice.uplinks[i].current_weight += choice.uplinks[i].weight
    taken = earliest_deadline(choice) if choice.by_deadline else most_owed(choice)
    taken.current_weight -= choice.total
    return taken.id


cdef uint8_t drawn(const Choice* choice, uint64_t* random) noexcept nogil:
    cdef int64_t left = <int64_t>draw(random, <uint64_t>choice.total)
    cdef uint32_t i = 0
    while left >= choice.uplinks[i].weight:
        left -= choice.uplinks[i].weight
        i += 1
    return choice.uplinks[i].id


cdef uint8_t rendezvous(const Choice* choice, uint64_t digest) noexcept nogil:
    # Weighted rendezvous: Schindelhauer & Schomaker, "Weighted distributed hash tables", 2005. Each
    # uplink scores by a hash of key and name alone, so that one that goes moves no other's flows.
    cdef uint8_t best = 0
    cdef double highest = -1, u, score
    cdef uint32_t i
    for i in range(choice.count):
        u = (<double>(mix(digest + choice.uplinks[i].salt) >> 12) + 0.5) / 4503599627370496.0
        score = -<double>choice.uplinks[i].weight / log(u)
        if score > highest:
            highest = score
            best = choice.uplinks[i].id
    return best
