"""Sticky breaks: a remote whose flow a balancer puts on another uplink than the one before, though
that was less than the timeout ago.

A balancer that remembers breaks when its table is full, an uplink fails, or a fallback takes over. One
that does not is judged as if it did, by the key and timeout of the policy it is compared with, or by
the defaults: what breaks then is what users would notice.
"""

from classifier.policy import Sticky

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from classifier.engine.hashing cimport siphash, splitmix
from classifier.engine.tables cimport Slot, create, destroy, expires, find, insert, set_life, value
from classifier.replay.flow_log cimport PLACED_DIRECT, PLACED_DROPPED

cdef enum:
    # Remotes remembered at once, at 32 bytes; when they are more, the soonest to expire go.
    ENTRIES = 262144


cdef uint64_t _mask(int bits) noexcept:
    # The upper bits of a word.
    if bits <= 0:
        return 0
    return <uint64_t>0xFFFFFFFFFFFFFFFFu << (64 - bits) if bits < 64 else 0xFFFFFFFFFFFFFFFFu


cdef void _set_memory(Memory* memory, object sticky):
    cdef int by_remote = 0 if sticky.by == "local" else 1
    cdef int by_local = 0 if sticky.by == "remote" else 1
    cdef int prefix4 = sticky.prefix4, prefix6 = sticky.prefix6
    cdef int end
    for end in range(2):
        if not (by_local if end else by_remote):
            continue
        # IPv4 addresses stand in the low half of the low word.
        memory.masks[0][2 * end + 1] = _mask(32 + prefix4)
        memory.masks[1][2 * end] = _mask(prefix6)
        memory.masks[1][2 * end + 1] = _mask(prefix6 - 64)
    memory.timeout = round(sticky.timeout * 1000)


cdef class StickyBreaks:
    """Of the flows that one policy places."""

    def __cinit__(self, policy, seed):
        cdef Memory* memory
        cdef uint64_t state = seed & 0xFFFFFFFFFFFFFFFF
        self.rules = len(policy.rules)
        self.memories = <Memory*>calloc(self.rules + 1, sizeof(Memory))
        if self.memories is NULL:
            raise MemoryError
        create(&self.table, ENTRIES, True)
        # Which entries go when there are too many depends on the key.
        self.key.k0 = splitmix(&state)
        self.key.k1 = splitmix(&state)
        _set_memory(&self.usual, Sticky())
        balancers = {b.name: (number + 1, b.sticky) for number, b in enumerate(policy.balancers)}
        for index, rule in enumerate(policy.rules):
            memory = &self.memories[<uint32_t>index]
            memory.balancer, sticky = balancers.get(rule.use, (0, None))
            if sticky is not None:
                memory.remembers = True
                _set_memory(memory, sticky)

    def __dealloc__(self):
        free(self.memories)
        destroy(&self.table)

    cdef const Memory* memory(self, int32_t rule) noexcept nogil:
        return &self.memories[
            <uint32_t>rule if 0 <= rule < <int64_t>self.rules else self.rules
        ]

    cdef void place(
        self, const Packet* packet, const DecidedFlow* decided, const Memory* other, uint64_t now
    ) noexcept nogil:
        cdef const Memory* memory = self.memory(decided.rule)
        cdef const uint64_t* masks
        cdef uint64_t key[5]
        cdef uint64_t digest
        cdef Slot* slot
        if memory.balancer == 0 or decided.placement == PLACED_DIRECT or (
            decided.placement >= PLACED_DROPPED
        ):
            return
        key[0] = <uint64_t>memory.balancer << 8 | packet.family
        if not memory.remembers:
            memory = other if other is not NULL and other.remembers else &self.usual
        masks = memory.masks[1 if packet.family == 6 else 0]
        key[1] = packet.dst[0] & masks[0]
        key[2] = packet.dst[1] & masks[1]
        key[3] = packet.src[0] & masks[2]
        key[4] = packet.src[1] & masks[3]
        digest = siphash(&self.key, key, 5)
        slot = find(&self.table, digest)
        if slot.life == 0:
            slot = insert(&self.table, slot, digest, now + memory.timeout, 0, 0, now)
        else:
            if expires(slot) > now and value(slot)[0] != decided.placement:
                self.breaks += 1
            set_life(slot, now + memory.timeout, 0, 0)
        value(slot)[0] = decided.placement
