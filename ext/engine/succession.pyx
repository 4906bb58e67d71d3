"""From one policy to the next; succession.pxd says what stays the same."""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from classifier.engine.balancers cimport Balancer, create_sticky, same_table, take_over
from classifier.engine.compiled cimport refresh_all

cdef enum:
    AS_BEFORE = -1


cdef int prepare(
    Succession* succession, Compiled* next, const Compiled* before, object policy,
    object policy_before, object usable
) except -1:
    next.generation = before.generation + 1
    find_uplinks(succession, next, before, policy, policy_before, usable)
    find_rules(succession, next, before)
    find_balancers(next, before, policy, policy_before)
    decide_usable(succession, next, before)
    # Here, because it can take a while; under the lock it is found done.
    refresh_all(next)
    return 0


cdef void destroy_succession(Succession* succession) noexcept nogil:
    free(succession.rules_before)
    memset(succession, 0, sizeof(Succession))


cdef int find_uplinks(
    Succession* succession, Compiled* next, const Compiled* before, object policy,
    object policy_before, object usable
) except -1:
    cdef uint8_t id
    cdef int family
    cdef int number
    for number in range(256):
        next.since[number] = next.generation
    next.since[0] = before.since[0]
    ids_before = {uplink.name: uplink.id for uplink in policy_before.uplinks}
    for uplink in policy.uplinks:
        id = uplink.id
        succession.kept[id] = ids_before.get(uplink.name) == id
        if succession.kept[id]:
            next.since[id] = before.since[id]
        for family in range(2):
            succession.told[family][id] = AS_BEFORE if succession.kept[id] else False
            if uplink.name in usable:
                succession.told[family][id] = bool(usable[uplink.name][family])
        if not next.has_ipv6[id]:
            succession.told[1][id] = False
    return 0


cdef int find_rules(Succession* succession, Compiled* next, const Compiled* before) except -1:
    cdef int32_t i
    cdef dict numbers = {}
    succession.rules_before = <int32_t*>calloc(next.rule_count + 1, sizeof(int32_t))
    if succession.rules_before == NULL:
        raise MemoryError("no memory for the policy's rules")
    for i in range(before.rule_count):
        numbers.setdefault(before.rule_digests[i], i)
    for i in range(next.rule_count):
        succession.rules_before[i] = numbers.pop(next.rule_digests[i], -1)
    return 0


cdef int find_balancers(
    Compiled* next, const Compiled* before, object policy, object policy_before
) except -1:
    cdef uint32_t i
    cdef Balancer* balancer
    names = [known.name for known in policy_before.balancers]
    for i in range(next.balancer_count):
        balancer = &next.balancers[i]
        name = policy.balancers[i].name
        balancer.before = names.index(name) if name in names else -1
        if balancer.remembers and (
            balancer.before < 0 or not same_table(balancer, &before.balancers[balancer.before])
        ):
            create_sticky(balancer)
    return 0


cdef void decide_usable(
    const Succession* succession, Compiled* next, const Compiled* before
) noexcept nogil:
    cdef uint32_t id
    cdef int family
    for family in range(2):
        for id in range(256):
            next.usable[family][id] = (
                before.usable[family][id] if succession.told[family][id] == AS_BEFORE
                else succession.told[family][id]
            )


cdef void succeed(
    const Succession* succession, Compiled* next, Compiled* before, uint64_t* uplink_flows
) noexcept nogil:
    cdef uint32_t i
    cdef int32_t rule, family, number
    decide_usable(succession, next, before)
    refresh_all(next)
    for i in range(256):
        if not succession.kept[i]:
            uplink_flows[i] = 0
    for rule in range(next.rule_count):
        number = succession.rules_before[rule]
        if number >= 0:
            for family in range(2):
                next.rule_flows[2 * rule + family] = before.rule_flows[2 * number + family]
    for i in range(next.balancer_count):
        if next.balancers[i].before >= 0:
            take_over(
                &next.balancers[i], &before.balancers[next.balancers[i].before],
                succession.kept,
            )
