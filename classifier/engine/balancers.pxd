# A balancer: its uplinks, its method, and what it remembers.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from classifier.engine.cython_method cimport Pick
from classifier.engine.hashing cimport HashKey
from classifier.engine.loads cimport Loads
from classifier.engine.method_values cimport UplinkFigures
from classifier.engine.methods cimport Choice
from classifier.engine.tables cimport Slot, Table
from classifier.engine.wire cimport Packet

cdef enum:
    # What a sticky entry's tag means: the uplink's id, and the family, so that an uplink that goes
    # down for one family is forgotten for that one only.
    UPLINK_BITS = 0xFF
    FAMILY_BIT = 0x100

cdef enum TargetKind:
    TO_DIRECT = 0
    TO_DROP = 1
    TO_UPLINK = 2
    TO_BALANCER = 3

cdef struct Target:
    # What a rule or a balancer's fallback names.
    uint8_t kind          # a TargetKind
    bint strict
    uint16_t index        # uplink id, or number of the balancer

cdef enum Method:
    NTH = 0
    WEIGHTED = 1
    HASH = 2
    CUSTOM = 3            # of the user, in Python: asked before the lock is taken for the last step
    CYTHON = 4            # of the user, in Cython
    LEAST_LOADED = 10
    OVERFLOW = 11
    FASTEST = 12

cdef struct Balancer:
    uint8_t method        # a Method
    bint remembers        # has a sticky table; hash needs none
    Target fallback
    uint32_t count        # uplinks
    uint8_t* uplinks      # ids, in the configuration's order
    int64_t* weights
    uint64_t* salts       # hash: of the uplinks' names
    uint8_t* tiers
    uint32_t least_up     # uplinks that have to be usable before no further tier joins
    double option         # of the methods that go by load: their tolerance or share
    void* custom          # Cython: the method, which the engine holds,
    Pick pick             # how it is called,
    UplinkFigures* figures    # room for what it is told,
    uint64_t errors       # and how often it returned none of the uplinks
    uint8_t in_use[2][256]    # which of its uplinks take flows now, by family and id
    Choice choices[2]     # by family; nth: the first serves both while `shared`
    bint shared
    uint64_t mask4        # of remote and local address, as `address_pair` has them
    uint64_t masks6[4]    # of remote and local address, two words each
    uint64_t timeout      # milliseconds
    size_t size           # most sticky entries
    Table sticky
    uint16_t tags[2][256] # of `sticky`, by family and uplink id; 0: none was free
    int32_t before        # number of this name's balancer in the policy before; -1: none

cdef struct StickyKey:
    uint64_t digest       # of the addresses that the balancer looks at
    uint64_t host         # digest of the local address: of who is to hold the entry

# Of a name alone, not of an id or a place in the file, which differ between gateways.
cdef uint64_t name_digest(const HashKey* key, str name) except? 0

# All but the sticky table.
cdef int compile_balancer(
    Balancer* balancer, object policy_balancer, dict ids, Target fallback, const HashKey* key
) except -1
cdef int create_sticky(Balancer* balancer) except -1
cdef void destroy_balancer(Balancer* balancer) noexcept nogil

# Tells a balancer which uplinks can take flows, by family and id. Of these it uses the lowest tiers
# that are enough for the family, and forgets those that it uses no more; all turns of a family whose
# uplinks are the same as before go on.
cdef void refresh(Balancer* balancer, const uint8_t[2][256] usable) noexcept nogil

# What a flow's sticky entry of a balancer goes by; hash goes by the same digest.
cdef StickyKey sticky_key(
    const Balancer* balancer, const HashKey* key, const Packet* packet
) noexcept nogil

# The uplink remembered for a key, which is thereby remembered longer, or 0; then `slot` is set for
# `remember`. One that is remembered but not in use is forgotten.
cdef uint8_t remembered(
    Balancer* balancer, const StickyKey* key, int family, uint64_t now, Slot** slot
) noexcept nogil

cdef void remember(
    Balancer* balancer, const StickyKey* key, int family, uint8_t uplink, uint64_t now, Slot* slot
) noexcept nogil

# At once, however many entries there are.
cdef void forget_uplink(Balancer* balancer, int family, uint8_t uplink) noexcept nogil

# Whether the keys of both mean the same, so that one can go on with the table of the other.
cdef bint same_table(const Balancer* balancer, const Balancer* other) noexcept nogil

# Goes on where the balancer of this name in the policy before has stopped: with its sticky table, if
# they are the same, less what is remembered of uplinks that are not `kept` (by id) or not in use, and
# with its turns of nth, for each family whose uplinks and weights are the same.
cdef void take_over(Balancer* balancer, Balancer* before, const uint8_t* kept) noexcept nogil

# Of nth: goes on with the turns of each family whose uplinks, all `kept`, and weights are the same.
cdef void continue_turns(
    Balancer* balancer, const Choice* ipv4, const Choice* ipv6, const uint8_t* kept
) noexcept nogil

# The turns of a family, which both families share while the same uplinks are in use.
cdef Choice* turns_of(Balancer* balancer, int family) noexcept nogil

# Whether an uplink is remembered for a key that can take the flow; nothing changes by it.
cdef bint is_remembered(
    const Balancer* balancer, const StickyKey* key, int family, uint64_t now
) noexcept nogil

# An uplink by a built-in method, or 0 when none can take the flow. `flows` are those placed until
# now, by uplink id.
cdef uint8_t choose(
    Balancer* balancer, int family, const StickyKey* key, uint64_t* random, const Loads* loads,
    const uint64_t* flows
) noexcept nogil
