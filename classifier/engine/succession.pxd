# From one policy to the next: what goes on in the new one, while flows are decided.
#
# An uplink stays itself as long as its name and its id stay together: the id is in the marks of
# established connections, so that another one is another uplink for the kernel. Balancers and rules
# are known by their names.
from libc.stdint cimport int8_t, int32_t, uint8_t, uint32_t, uint64_t

from classifier.engine.compiled cimport Compiled

cdef struct Succession:
    uint8_t kept[256]          # uplinks that both policies have, by id
    int8_t told[2][256]        # whether an uplink is to be usable, by family and id; -1: as before
    int32_t* rules_before      # by rule: its number in the policy before, -1: none

# What there is to know before the lock is taken: `next` gets its place among the policies, the new
# tables it needs, and what is usable by then. `usable` maps names to a pair, IPv4 and IPv6. MemoryError;
# what was made is to be destroyed then too.
cdef int prepare(
    Succession* succession, Compiled* next, const Compiled* before, object policy,
    object policy_before, object usable
) except -1
cdef void destroy_succession(Succession* succession) noexcept nogil

# Under the lock: moves what goes on from `before` to `next`; no entry is looked at.
cdef void succeed(
    const Succession* succession, Compiled* next, Compiled* before, uint64_t* uplink_flows
) noexcept nogil
