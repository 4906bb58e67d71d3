"""Methods that go by how uplinks are doing; see load_methods.pxd."""
from classifier.engine.loads cimport load_with
from classifier.engine.methods cimport WeightedUplink


cdef uint8_t turn_of_equals(Choice* choice) noexcept nogil:
    # Smooth weighted round robin, as nth, among those that are `equal` this time.
    cdef WeightedUplink* best = NULL
    cdef WeightedUplink* uplink
    cdef int64_t total = 0
    cdef uint32_t i
    for i in range(choice.count):
        uplink = choice.uplinks + i
        if uplink.equal:
            uplink.current_weight += uplink.weight
            total += uplink.weight
            if best == NULL or uplink.current_weight > best.current_weight:
                best = uplink
    best.current_weight -= total
    return best.id


cdef uint8_t least_loaded(
    Choice* choice, const Loads* loads, const uint64_t* flows, double tolerance
) noexcept nogil:
    cdef WeightedUplink* uplink
    cdef double least = 0
    cdef uint32_t i
    for i in range(choice.count):
        uplink = choice.uplinks + i
        uplink.figure = load_with(loads, flows[uplink.id] + 1, uplink.id)
        if i == 0 or uplink.figure < least:
            least = uplink.figure
    for i in range(choice.count):
        choice.uplinks[i].equal = choice.uplinks[i].figure <= least + tolerance
    return turn_of_equals(choice)


cdef uint8_t with_room(
    const Choice* choice, const Loads* loads, const uint64_t* flows, double share
) noexcept nogil:
    cdef uint8_t id, best = 0
    cdef double load, least = 0
    cdef uint32_t i
    for i in range(choice.count):
        id = choice.uplinks[i].id
        load = load_with(loads, flows[id], id)
        if load < share:
            return id
        if i == 0 or load < least:
            best = id
            least = load
    return best


cdef uint8_t fastest(Choice* choice, const Loads* loads, double tolerance) noexcept nogil:
    cdef double best = -1, latency
    cdef uint32_t i
    for i in range(choice.count):
        latency = loads.latency[choice.uplinks[i].id]
        if latency >= 0 and (best < 0 or latency < best):
            best = latency
    for i in range(choice.count):
        latency = loads.latency[choice.uplinks[i].id]
        choice.uplinks[i].equal = best < 0 or 0 <= latency <= best + tolerance
    return turn_of_equals(choice)
