# Methods that go by how uplinks are doing: least-loaded, overflow, fastest.
#
# Each makes a set of uplinks that are equally good, and the weights decide among these, in turn.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from classifier.engine.loads cimport Loads
from classifier.engine.methods cimport Choice

# Each returns an uplink id; the choice must not be empty. `flows` are those placed until now, by
# uplink id.

# The uplink that will have the least load with this flow; those within `tolerance` (a share of the
# capacity) are equal.
cdef uint8_t least_loaded(
    Choice* choice, const Loads* loads, const uint64_t* flows, double tolerance
) noexcept nogil

# The first uplink whose load is below `share`; the least loaded one when there is none.
cdef uint8_t with_room(
    const Choice* choice, const Loads* loads, const uint64_t* flows, double share
) noexcept nogil

# The uplink with the least latency; those within `tolerance` (seconds) are equal. One whose latency is
# not known is slower than any other.
cdef uint8_t fastest(Choice* choice, const Loads* loads, double tolerance) noexcept nogil
