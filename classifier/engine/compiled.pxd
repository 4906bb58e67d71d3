# A policy as the engine reads it.
from libc.stdint cimport int32_t, uint8_t, uint32_t

from classifier.engine.balancers cimport Balancer, Target
from classifier.engine.hashing cimport HashKey
from classifier.engine.matching cimport Matcher

cdef struct Compiled:
    uint8_t usable[2][256]     # whether an uplink can take flows, by family and id; changes
    uint32_t marks[256]        # by uplink id; that of no uplink is `direct`
    Matcher matcher
    Target* targets            # by rule
    int32_t rule_count
    Balancer* balancers
    uint32_t balancer_count

# Fills in what is all 0 before. `interfaces` are the numbers of those that the rules may name.
# UsageError when the policy has what cannot be counted with; what was made is to be destroyed then
# too.
cdef int compile_policy(
    Compiled* compiled, object policy, dict interfaces, const HashKey* key
) except -1
cdef void destroy_compiled(Compiled* compiled) noexcept nogil
