"""Sticky entries and turns of nth taken out of an engine, and put into the next one.

The engine goes on deciding meanwhile: its lock is held for short pieces of a table at a time.
"""
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from classifier.engine.balancers cimport (
    FAMILY_BIT, NTH, UPLINK_BITS, Balancer, continue_turns, turns_of,
)
from classifier.engine.engine cimport Engine
from classifier.engine.hashing cimport HashKey, siphash
from classifier.engine.methods cimport Choice, WeightedUplink
from classifier.engine.mutex cimport pthread_mutex_lock, pthread_mutex_unlock
from classifier.engine.tables cimport (
    EXPIRY_SHIFT, TAG_MASK, USED_AGAIN, Slot, Table, after, expires, find, holder, insert, latest,
    meaning, remove, slot_at,
)

from classifier.engine.sticky_format import (
    RECORD_BYTES, Saved, SavedBalancer, Turn, decode, encode, sticky_key,
)
from classifier.errors import UsageError

cdef enum:
    # Slots looked at, and entries put in, while the lock is held: some 20 and 100 microseconds.
    SLOTS_AT_ONCE = 1024
    ENTRIES_AT_ONCE = 512
    # So that a piece can end behind the first empty slot.
    ROOM = 2 * SLOTS_AT_ONCE

cdef struct Record:
    # An entry, as it is written.
    uint64_t digest
    uint64_t life       # as in `Slot`, but milliseconds left, no holder, and for a tag its meaning
    uint64_t host       # digest of who holds it

cdef struct Walk:
    size_t position     # slot to look at next
    size_t left         # slots still to be looked at


def export_sticky(Engine engine not None, uint64_t now):
    """All sticky entries and turns of an engine at `now`, its own milliseconds, as bytes.

    Entries that come, go or are used again meanwhile may be missing or be written as they were.
    """
    cdef uint32_t i
    cdef Balancer* balancer
    with engine.replacing:
        now = later(engine, now)
        balancers, records = [], []
        for i in range(engine.state.compiled.balancer_count):
            balancer = &engine.state.compiled.balancers[i]
            policy_balancer = engine.policy.balancers[i]
            taken = entries_of(engine, &balancer.sticky, now) if balancer.remembers else b""
            records.append(taken)
            balancers.append(
                SavedBalancer(
                    policy_balancer.name,
                    sticky_key(policy_balancer.sticky),
                    len(taken) // RECORD_BYTES,
                    saved_turns(engine, balancer),
                )
            )
        uplinks = {uplink.name: uplink.id for uplink in engine.policy.uplinks}
        return encode(Saved(fingerprint(engine), uplinks, tuple(balancers)), records)


def import_sticky(Engine engine not None, bytes data not None, uint64_t now, uint64_t elapsed=0):
    """Puts in what `export_sticky` gave; how many entries were put in.

    `elapsed` is how many milliseconds ago that was. Left out are entries that have expired since, of
    uplinks that the balancer does not use now or that are not the same (by name and id), and of
    balancers that are not there or have another key. Remembered already: stays as it is. A shorter timeout holds for all.

    UsageError: these are no such bytes, or of another seed; nothing has been put in.
    """
    cdef uint32_t i
    cdef uint8_t kept[256]
    cdef Balancer* balancer
    saved, records = decode(data)
    if saved.seed != fingerprint(engine):
        raise UsageError("saved sticky entries: they were made with another seed")
    for balancer_records in records:
        check_records(balancer_records, frozenset(saved.uplinks.values()))
    put = 0
    with engine.replacing:
        now = later(engine, now)
        memset(kept, 0, sizeof(kept))
        for uplink in engine.policy.uplinks:
            kept[<uint8_t>uplink.id] = saved.uplinks.get(uplink.name) == uplink.id
        by_name = {known.name: (known, found) for known, found in zip(saved.balancers, records)}
        for i in range(engine.state.compiled.balancer_count):
            balancer = &engine.state.compiled.balancers[i]
            policy_balancer = engine.policy.balancers[i]
            if policy_balancer.name not in by_name:
                continue
            known, found = by_name[policy_balancer.name]
            put_turns(engine, balancer, known.turns, saved.uplinks, kept)
            if balancer.remembers and known.key == sticky_key(policy_balancer.sticky):
                put += put_entries(engine, balancer, found, kept, now, elapsed)
    return put


cdef uint64_t later(Engine engine, uint64_t now):
    # Time never goes back.
    with nogil:
        pthread_mutex_lock(&engine.state.lock)
        engine.state.now = max(engine.state.now, min(now, latest()))
        now = engine.state.now
        pthread_mutex_unlock(&engine.state.lock)
    return now


cdef str fingerprint(Engine engine):
    # Says no more of the key than any digest does. Differs between byte orders.
    cdef uint64_t words[1]
    memcpy(words, <const char*>b"nfqcseed", sizeof(words))
    return f"{siphash(&engine.state.hash_key, words, 1):016x}"


cdef bytes entries_of(Engine engine, Table* table, uint64_t now):
    # Removals move entries back, but never over an empty slot. So each piece begins and ends behind
    # one: then no entry that is there all the time is passed over.
    cdef Record[ROOM] buffer
    cdef Walk walk
    cdef size_t count
    pieces = []
    walk.position = 0
    walk.left = table.slot_count
    with nogil:
        pthread_mutex_lock(&engine.state.lock)
        while slot_at(table, walk.position).life:
            walk.position = after(table, walk.position)
        pthread_mutex_unlock(&engine.state.lock)
    while walk.left:
        with nogil:
            pthread_mutex_lock(&engine.state.lock)
            count = copy_piece(table, &walk, now, buffer)
            pthread_mutex_unlock(&engine.state.lock)
        pieces.append((<char*>buffer)[: count * sizeof(Record)])
    return b"".join(pieces)


cdef size_t copy_piece(const Table* table, Walk* walk, uint64_t now, Record* out) noexcept nogil:
    cdef size_t count = 0, looked = 0
    cdef Slot* slot
    while walk.left and count < ROOM:
        slot = slot_at(table, walk.position)
        walk.position = after(table, walk.position)
        walk.left -= 1
        looked += 1
        if slot.life == 0:
            if looked >= SLOTS_AT_ONCE:
                break
            continue
        if expires(slot) <= now or meaning(table, slot) == 0:
            continue
        out[count].digest = slot.digest
        out[count].life = (
            ((expires(slot) - now) << EXPIRY_SHIFT) | (slot.life & USED_AGAIN)
            | meaning(table, slot)
        )
        out[count].host = table.holders.holders[holder(slot)].digest
        count += 1
    return count


cdef tuple saved_turns(Engine engine, Balancer* balancer):
    cdef WeightedUplink[256] uplinks
    cdef Choice* choice
    cdef uint32_t count
    cdef int family
    cdef bint shared = balancer.shared
    turns = []
    if balancer.method != NTH:
        return ()
    for family in range(1 if shared else 2):
        with nogil:
            pthread_mutex_lock(&engine.state.lock)
            choice = turns_of(balancer, family)
            count = choice.count
            memcpy(uplinks, choice.uplinks, count * sizeof(WeightedUplink))
            pthread_mutex_unlock(&engine.state.lock)
        turns.append(
            tuple([
                Turn(engine.names[uplinks[i].id], uplinks[i].weight, uplinks[i].current_weight)
                for i in range(count)
            ])
        )
    return tuple(turns)


cdef int check_records(object records, object ids) except -1:
    cdef const uint8_t[::1] view = records
    cdef size_t at
    cdef Record record
    cdef uint8_t known[256]
    memset(known, 0, sizeof(known))
    for id in ids:
        known[<uint8_t>id] = True
    for at in range(0, <size_t>view.shape[0], RECORD_BYTES):
        memcpy(&record, &view[at], sizeof(Record))
        if (
            record.life >> EXPIRY_SHIFT == 0 or not known[record.life & UPLINK_BITS]
            or (record.life & (1 << EXPIRY_SHIFT) - 1 & ~<uint64_t>(TAG_MASK | USED_AGAIN))
        ):
            raise UsageError(f"saved sticky entries: no entry at byte {at} of a balancer's")
    return 0


cdef object put_entries(
    Engine engine, Balancer* balancer, object records, const uint8_t* kept, uint64_t now,
    uint64_t elapsed
):
    cdef const uint8_t[::1] view = records
    cdef Record[ENTRIES_AT_ONCE] buffer
    cdef size_t count, put = 0, at = 0, size = <size_t>view.shape[0]
    while at < size:
        count = min((size - at) // sizeof(Record), <size_t>ENTRIES_AT_ONCE)
        memcpy(buffer, &view[at], count * sizeof(Record))
        at += count * sizeof(Record)
        with nogil:
            pthread_mutex_lock(&engine.state.lock)
            put += put_piece(balancer, buffer, count, kept, now, elapsed)
            pthread_mutex_unlock(&engine.state.lock)
    return put


cdef size_t put_piece(
    Balancer* balancer, const Record* records, size_t count, const uint8_t* kept, uint64_t now,
    uint64_t elapsed
) noexcept nogil:
    cdef size_t i, put = 0
    cdef uint64_t left
    cdef uint8_t uplink
    cdef uint32_t tag
    cdef int family
    cdef Slot* slot
    for i in range(count):
        uplink = <uint8_t>(records[i].life & UPLINK_BITS)
        family = 1 if records[i].life & FAMILY_BIT else 0
        left = min(records[i].life >> EXPIRY_SHIFT, balancer.timeout)
        tag = balancer.tags[family][uplink]
        if left <= elapsed or not kept[uplink] or not balancer.in_use[family][uplink] or not tag:
            continue
        slot = find(&balancer.sticky, records[i].digest)
        if slot.life and expires(slot) > now and meaning(&balancer.sticky, slot):
            continue
        if slot.life:
            remove(&balancer.sticky, slot)
            slot = find(&balancer.sticky, records[i].digest)
        slot = insert(
            &balancer.sticky, slot, records[i].digest, now + left - elapsed, tag, records[i].host,
            now,
        )
        slot.life |= records[i].life & USED_AGAIN
        put += 1
    return put


cdef int put_turns(
    Engine engine, Balancer* balancer, tuple turns, object ids, const uint8_t* kept
) except -1:
    cdef WeightedUplink[2][256] uplinks
    cdef Choice[2] choices
    cdef int family
    cdef uint32_t i
    if not turns or any(len(family_turns) > 255 for family_turns in turns):
        return 0
    memset(uplinks, 0, sizeof(uplinks))
    for family in range(2):
        choices[family].uplinks = uplinks[family]
        choices[family].count = len(turns[min(family, len(turns) - 1)])
        for i, turn in enumerate(turns[min(family, len(turns) - 1)]):
            uplinks[family][i].id = ids.get(turn.uplink, 0)
            uplinks[family][i].weight = turn.weight
            uplinks[family][i].current_weight = turn.behind
    with nogil:
        pthread_mutex_lock(&engine.state.lock)
        continue_turns(balancer, &choices[0], &choices[1], kept)
        pthread_mutex_unlock(&engine.state.lock)
    return 0
