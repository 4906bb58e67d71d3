# A policy as the engine reads it.
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from classifier.engine.balancers cimport Balancer, Target
from classifier.engine.hashing cimport HashKey
from classifier.engine.matching cimport Matcher

cdef struct Compiled:
    uint8_t usable[2][256]     # whether an uplink can take flows, by family and id; changes
    uint8_t has_ipv6[256]      # whether an uplink can ever take IPv6 flows, by id
    uint32_t marks[256]        # by uplink id; that of no uplink is `direct`
    double capacity[2][256]    # bytes per second, down and up, by uplink id; 0: not known
    char** interface_names     # UTF-8, by number; NULL: not named by the policy
    size_t interface_count     # numbers up to which there is room; packets may carry others
    uint64_t generation        # how often policies, or uplinks' flows in flight, have changed
    uint64_t since[256]        # the generation from which on decisions for an id hold, 0: for no uplink
    Matcher matcher
    Target* targets            # by rule
    uint64_t* rule_digests     # of the rules' names, by which a rule is known to the next policy
    uint64_t* rule_flows       # flows that each rule took, of IPv4 and of IPv6 in turn
    int32_t rule_count
    Balancer* balancers
    uint32_t balancer_count
    bint asks_python           # some balancer's method is one in Python

# Fills in what is all 0 before, but for the sticky tables; no uplink is usable yet. `interfaces` are
# the numbers of those that the rules may name. UsageError when the policy has what cannot be counted
# with; what was made is to be destroyed then too.
cdef int compile_policy(
    Compiled* compiled, object policy, dict interfaces, const HashKey* key
) except -1
# For the first policy: every uplink is usable, and all tables are new.
cdef int begin(Compiled* compiled, object policy) except -1
cdef void destroy_compiled(Compiled* compiled) noexcept nogil

# Takes the balancers' turns to who is usable.
cdef void refresh_all(Compiled* compiled) noexcept nogil
