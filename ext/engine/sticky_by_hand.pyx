"""Sticky entries of an engine looked up and forgotten by an operator.

Tables know addresses by a keyed digest only, so that entries can be looked up, but not listed.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from classifier.engine.balancers cimport (
    UPLINK_BITS, Balancer, StickyKey, forget_uplink, sticky_key,
)
from classifier.engine.engine cimport Engine
from classifier.engine.mutex cimport pthread_mutex_lock, pthread_mutex_unlock
from classifier.engine.tables cimport Slot, expires, find, meaning, remove
from classifier.engine.wire cimport Packet

from classifier.engine.sticky_entry import StickyEntry
from classifier.errors import UsageError

cdef struct Seen:
    uint8_t uplink      # id; 0: nothing is remembered
    uint64_t left       # milliseconds


def sticky_show(Engine engine not None, address, uint64_t now, local=None):
    """What is remembered at `now`, the engine's milliseconds, of a remote or local `address`.

    That is the entry of each balancer whose key is the address alone, as the remote where it goes by
    the remote, as the local one where it goes by that. With `local`, `address` is the remote, and
    balancers that go by both know the pair. A key's prefix takes in the addresses around.
    Nothing is remembered longer for it. UsageError: an IPv4 and an IPv6 address.
    """
    return look_up(engine, address, now, local, False)


def sticky_forget(Engine engine not None, address, uint64_t now, local=None):
    """The same, and what it returns is forgotten."""
    return look_up(engine, address, now, local, True)


def sticky_forget_uplink(Engine engine not None, name):
    """Forgets all entries of an uplink, at once; how many there were, expired ones included.

    UsageError: the policy has no such uplink.
    """
    with engine.naming:
        return forget(engine, engine._uplink(name).id)


def sticky_forget_all(Engine engine not None):
    """Forgets all entries of all uplinks; how many there were, expired ones included."""
    with engine.naming:
        return sum([forget(engine, uplink.id) for uplink in engine.policy.uplinks])


cdef object look_up(Engine engine, object address, uint64_t now, object local, bint forgetting):
    cdef uint32_t i
    cdef Packet packet
    cdef Seen seen
    if local is not None and local.version != address.version:
        raise UsageError(f"{address} and {local}: must both be IPv4 or both IPv6")
    memset(&packet, 0, sizeof(packet))
    packet.family = address.version
    write_address(packet.dst, address)
    write_address(packet.src, address if local is None else local)
    entries = []
    with engine.naming:
        for i, balancer in enumerate(engine.policy.balancers):
            if not engine.state.compiled.balancers[i].remembers or (
                local is None and balancer.sticky.by == "local+remote"
            ):
                continue
            with nogil:
                pthread_mutex_lock(&engine.state.lock)
                seen = see(engine, &engine.state.compiled.balancers[i], &packet, now, forgetting)
                pthread_mutex_unlock(&engine.state.lock)
            if seen.uplink:
                uplink = engine.names[seen.uplink]
                entries.append(
                    StickyEntry(balancer.name, balancer.sticky.by, uplink, seen.left / 1000.0)
                )
    return tuple(entries)


cdef int write_address(uint64_t* words, object address) except -1:
    # As in `Packet`.
    number = int(address) | (0xFFFF << 32 if address.version == 4 else 0)
    words[0] = number >> 64
    words[1] = number & 0xFFFFFFFFFFFFFFFF
    return 0


cdef Seen see(
    Engine engine, Balancer* balancer, const Packet* packet, uint64_t now, bint forgetting
) noexcept nogil:
    cdef StickyKey key = sticky_key(balancer, &engine.state.hash_key, packet)
    cdef Slot* slot = find(&balancer.sticky, key.digest)
    cdef Seen seen
    now = max(now, engine.state.now)
    memset(&seen, 0, sizeof(seen))
    if slot.life and expires(slot) > now:
        seen.uplink = <uint8_t>(meaning(&balancer.sticky, slot) & UPLINK_BITS)
        seen.left = expires(slot) - now
        if forgetting:
            remove(&balancer.sticky, slot)
    return seen


cdef uint64_t forget(Engine engine, uint8_t id):
    cdef uint64_t forgotten = 0
    cdef uint32_t i
    cdef int family
    cdef Balancer* balancer
    with nogil:
        pthread_mutex_lock(&engine.state.lock)
        for i in range(engine.state.compiled.balancer_count):
            balancer = &engine.state.compiled.balancers[i]
            for family in range(2):
                if balancer.tags[family][id]:
                    forgotten += balancer.sticky.tags[balancer.tags[family][id]].entries
                forget_uplink(balancer, family, id)
        pthread_mutex_unlock(&engine.state.lock)
    return forgotten
