"""A policy made ready for the engine: ids instead of names, rules as intervals, balancers in C."""
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from classifier.engine.balancers cimport (
    TO_BALANCER, TO_DIRECT, TO_DROP, TO_UPLINK, compile_balancer, create_sticky,
    destroy_balancer, name_digest, refresh,
)
from classifier.engine.matching cimport compile_matcher, destroy_matcher

from classifier import policy as policies
from classifier.errors import UsageError
from classifier.engine.intervals import compile_rules


cdef int compile_policy(
    Compiled* compiled, object policy, dict interfaces, const HashKey* key
) except -1:
    compile_uplinks(compiled, policy)
    compile_interfaces(compiled, interfaces)
    compile_balancers(compiled, policy, key)
    compile_all_rules(compiled, policy, interfaces)
    compile_rule_names(compiled, policy, key)
    return 0


cdef int begin(Compiled* compiled, object policy) except -1:
    cdef uint32_t i
    for uplink in policy.uplinks:
        i = uplink.id
        compiled.usable[0][i] = True
        compiled.usable[1][i] = compiled.has_ipv6[i]
    for i in range(compiled.balancer_count):
        if compiled.balancers[i].remembers:
            create_sticky(&compiled.balancers[i])
    refresh_all(compiled)
    return 0


cdef void destroy_compiled(Compiled* compiled) noexcept nogil:
    cdef uint32_t i
    cdef size_t number
    for i in range(compiled.balancer_count):
        destroy_balancer(&compiled.balancers[i])
    free(compiled.balancers)
    free(compiled.targets)
    free(compiled.rule_digests)
    free(compiled.rule_flows)
    if compiled.interface_names != NULL:
        for number in range(compiled.interface_count):
            free(compiled.interface_names[number])
    free(compiled.interface_names)
    destroy_matcher(&compiled.matcher)


cdef int compile_uplinks(Compiled* compiled, object policy) except -1:
    cdef int id
    largest = policy.gateway.marks.largest_id
    names = {}
    for uplink in policy.uplinks:
        if not 1 <= uplink.id <= largest:
            raise UsageError(f"uplink {uplink.name}: id {uplink.id} is not from 1 to {largest}")
        if names.setdefault(uplink.id, uplink.name) != uplink.name:
            raise UsageError(f"uplink {uplink.name}: id {uplink.id} is that of {names[uplink.id]}")
        id = uplink.id
        compiled.marks[id] = policy.mark(uplink)
        compiled.has_ipv6[id] = uplink.gateway6 is not None
        if uplink.capacity is not None:
            compiled.capacity[0][id] = uplink.capacity.down
            compiled.capacity[1][id] = uplink.capacity.up
    compiled.marks[0] = policy.gateway.marks.direct
    return 0


cdef int compile_interfaces(Compiled* compiled, dict interfaces) except -1:
    cdef size_t number, size
    cdef bytes name
    compiled.interface_count = max(interfaces.values(), default=0) + 1
    compiled.interface_names = <char**>calloc(compiled.interface_count, sizeof(char*))
    if compiled.interface_names == NULL:
        raise MemoryError("no memory for the policy's interfaces")
    for text, given in interfaces.items():
        name = text.encode()
        number = given
        size = len(name) + 1
        compiled.interface_names[number] = <char*>calloc(size, 1)
        if compiled.interface_names[number] == NULL:
            raise MemoryError("no memory for the policy's interfaces")
        memcpy(compiled.interface_names[number], <const char*>name, size)
    return 0


cdef int compile_balancers(Compiled* compiled, object policy, const HashKey* key) except -1:
    cdef Target fallback
    cdef Balancer* made
    compiled.balancers = <Balancer*>calloc(len(policy.balancers) + 1, sizeof(Balancer))
    if compiled.balancers == NULL:
        raise MemoryError("no memory for the policy's balancers")
    ids = {uplink.name: uplink.id for uplink in policy.uplinks}
    for balancer in policy.balancers:
        fallback = target(policy, balancer.fallback, False)
        made = &compiled.balancers[compiled.balancer_count]
        compiled.balancer_count += 1
        compile_balancer(made, balancer, ids, fallback, key)
    return 0


cdef void refresh_all(Compiled* compiled) noexcept nogil:
    cdef uint32_t i
    for i in range(compiled.balancer_count):
        refresh(&compiled.balancers[i], compiled.usable)


cdef int compile_all_rules(Compiled* compiled, object policy, dict interfaces) except -1:
    cdef int32_t i
    rules = policy.rules
    compiled.rule_count = <int32_t>len(rules)
    compiled.targets = <Target*>calloc(compiled.rule_count + 1, sizeof(Target))
    if compiled.targets == NULL:
        raise MemoryError("no memory for the policy's rules")
    for i in range(compiled.rule_count):
        compiled.targets[i] = target(policy, rules[i].use, rules[i].strict)
    compile_matcher(&compiled.matcher, compile_rules(policy, interfaces), len(rules))
    return 0


cdef int compile_rule_names(Compiled* compiled, object policy, const HashKey* key) except -1:
    cdef int32_t i
    compiled.rule_digests = <uint64_t*>calloc(compiled.rule_count + 1, sizeof(uint64_t))
    compiled.rule_flows = <uint64_t*>calloc(compiled.rule_count + 1, 2 * sizeof(uint64_t))
    if compiled.rule_digests == NULL or compiled.rule_flows == NULL:
        raise MemoryError("no memory for the policy's rules")
    for i in range(compiled.rule_count):
        compiled.rule_digests[i] = name_digest(key, policy.rules[i].name)
    return 0


cdef Target target(object policy, str name, bint strict):
    cdef Target result
    result.strict = strict
    result.index = 0
    if name == policies.DIRECT:
        result.kind = TO_DIRECT
    elif name == policies.DROP:
        result.kind = TO_DROP
    else:
        balancers = [balancer.name for balancer in policy.balancers]
        result.kind = TO_BALANCER if name in balancers else TO_UPLINK
        result.index = balancers.index(name) if name in balancers else policy.uplink(name).id
    return result
