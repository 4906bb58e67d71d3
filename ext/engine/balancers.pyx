"""Balancers: which uplinks can take a flow, which one a sticky entry remembers, which one is next."""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from classifier.engine.hashing cimport address_digest, address_pair, siphash
from classifier.engine.load_methods cimport fastest, least_loaded, with_room
from classifier.engine.methods cimport WeightedUplink, begin_turns, drawn, next_turn, rendezvous
from classifier.engine.tables cimport (
    TAGS, Slot, create, destroy, expires, find, forget_tag, insert, latest, meaning, new_tag,
    purge, remove, use_again,
)

from classifier.errors import UsageError
from classifier.policy import METHOD_OPTIONS, Sticky

cdef enum:
    # Some 20 microseconds.
    PURGED_SLOTS = 4096

# So that the sum of 255 of them, and twice that, fit in 64 bits.
cdef object LARGEST_WEIGHT = 2**48

cdef dict METHODS = {
    "nth": NTH, "weighted": WEIGHTED, "hash": HASH, "least-loaded": LEAST_LOADED,
    "overflow": OVERFLOW, "fastest": FASTEST,
}


cdef int compile_balancer(
    Balancer* balancer, object policy_balancer, dict ids, Target fallback, const HashKey* key
) except -1:
    cdef uint32_t i
    cdef int family
    memset(balancer, 0, sizeof(Balancer))
    balancer.method = METHODS.get(policy_balancer.method, CUSTOM)
    balancer.option = option_of(policy_balancer)
    balancer.fallback = fallback
    balancer.count = <uint32_t>len(policy_balancer.members)
    balancer.least_up = max(policy_balancer.least_up, 1)
    balancer.uplinks = <uint8_t*>calloc(balancer.count + 1, sizeof(uint8_t))
    balancer.weights = <int64_t*>calloc(balancer.count + 1, sizeof(int64_t))
    balancer.salts = <uint64_t*>calloc(balancer.count + 1, sizeof(uint64_t))
    balancer.tiers = <uint8_t*>calloc(balancer.count + 1, sizeof(uint8_t))
    balancer.figures = <UplinkFigures*>calloc(balancer.count + 1, sizeof(UplinkFigures))
    for family in range(2):
        balancer.choices[family].uplinks = <WeightedUplink*>calloc(
            balancer.count + 1, sizeof(WeightedUplink)
        )
        if balancer.choices[family].uplinks == NULL:
            raise MemoryError("no memory for a balancer")
    if (
        balancer.uplinks == NULL or balancer.weights == NULL or balancer.salts == NULL
        or balancer.tiers == NULL or balancer.figures == NULL
    ):
        raise MemoryError("no memory for a balancer")
    for i, share in enumerate(policy_balancer.members):
        if not 1 <= share.weight <= LARGEST_WEIGHT:
            raise UsageError(
                f"balancer {policy_balancer.name}: weight {share.weight} of {share.uplink} is not "
                f"from 1 to {LARGEST_WEIGHT}"
            )
        balancer.uplinks[i] = ids[share.uplink]
        balancer.weights[i] = share.weight
        balancer.tiers[i] = share.tier
        balancer.salts[i] = name_digest(key, share.uplink)
    # Without `sticky`, hash goes by the remote address.
    sticky = policy_balancer.sticky or Sticky()
    compile_masks(balancer, sticky)
    balancer.remembers = policy_balancer.sticky is not None and balancer.method != HASH
    if balancer.remembers:
        # Whatever ends after the end of time ends then; the sum with any time fits in 64 bits.
        balancer.timeout = min(max(round(sticky.timeout * 1000), 1), latest())
        balancer.size = sticky.size
    balancer.before = -1
    return 0


cdef double option_of(object policy_balancer) except? -1:
    # Percent of the capacity as a share of it; seconds as they are.
    cdef str method = policy_balancer.method
    for name, default in METHOD_OPTIONS.get(method, {}).items():
        value = policy_balancer.options.get(name, default)
        return value if method == "fastest" else value / 100.0
    return 0


cdef int create_sticky(Balancer* balancer) except -1:
    create(&balancer.sticky, balancer.size, False)
    give_tags(balancer)
    return 0


cdef uint64_t name_digest(const HashKey* key, str name) except? 0:
    # Padded with zeros to whole words.
    cdef bytes encoded = name.encode()
    cdef size_t count = (len(encoded) + 7) // 8, i
    cdef uint64_t* words = <uint64_t*>calloc(count + 1, sizeof(uint64_t))
    if words == NULL:
        raise MemoryError("no memory for a balancer")
    for i in range(count):
        words[i] = int.from_bytes(encoded[8 * i : 8 * i + 8], "little")
    try:
        return siphash(key, words, count)
    finally:
        free(words)


cdef int compile_masks(Balancer* balancer, object sticky) except -1:
    # The key is the remote address, then the local one, with what is not asked for masked out.
    cdef int first
    mask4 = ((1 << sticky.prefix4) - 1) << (32 - sticky.prefix4)
    mask6 = ((1 << sticky.prefix6) - 1) << (128 - sticky.prefix6)
    for first, asked in ((0, "remote" in sticky.by), (2, "local" in sticky.by)):
        if asked:
            balancer.mask4 |= mask4 << (16 * (2 - first))
            balancer.masks6[first] = mask6 >> 64
            balancer.masks6[first + 1] = mask6 & 0xFFFFFFFFFFFFFFFF
    return 0


cdef void destroy_balancer(Balancer* balancer) noexcept nogil:
    free(balancer.uplinks)
    free(balancer.weights)
    free(balancer.salts)
    free(balancer.tiers)
    free(balancer.figures)
    free(balancer.choices[0].uplinks)
    free(balancer.choices[1].uplinks)
    destroy(&balancer.sticky)
    memset(balancer, 0, sizeof(Balancer))


cdef uint32_t last_tier(const Balancer* balancer, const uint8_t* usable) noexcept nogil:
    # Tiers join from the lowest on until they have enough uplinks that can take flows.
    cdef uint32_t able[256]
    cdef uint32_t i, tier, found = 0
    memset(able, 0, sizeof(able))
    for i in range(balancer.count):
        if usable[balancer.uplinks[i]]:
            able[balancer.tiers[i]] += 1
    for tier in range(256):
        found += able[tier]
        if found >= balancer.least_up:
            return tier
    return 255


cdef void use_tiers(Balancer* balancer, int family, const uint8_t* usable) noexcept nogil:
    cdef uint32_t last = last_tier(balancer, usable)
    cdef uint8_t* in_use = balancer.in_use[family]
    cdef uint32_t i
    cdef uint8_t id
    cdef bint wanted
    for i in range(balancer.count):
        id = balancer.uplinks[i]
        wanted = usable[id] and balancer.tiers[i] <= last
        if in_use[id] and not wanted:
            forget_uplink(balancer, family, id)
        in_use[id] = wanted


cdef bint same_uplinks(
    const Balancer* balancer, const Choice* choice, const uint8_t* in_use
) noexcept nogil:
    cdef uint32_t i, at = 0
    for i in range(balancer.count):
        if in_use[balancer.uplinks[i]]:
            if at == choice.count or choice.uplinks[at].id != balancer.uplinks[i]:
                return False
            at += 1
    return at == choice.count


cdef void fill(const Balancer* balancer, Choice* choice, const uint8_t* in_use) noexcept nogil:
    cdef uint32_t i
    choice.count = 0
    choice.total = 0
    for i in range(balancer.count):
        if in_use[balancer.uplinks[i]]:
            choice.uplinks[choice.count].id = balancer.uplinks[i]
            choice.uplinks[choice.count].weight = balancer.weights[i]
            choice.uplinks[choice.count].salt = balancer.salts[i]
            choice.uplinks[choice.count].tier = balancer.tiers[i]
            choice.uplinks[choice.count].current_weight = 0
            choice.count += 1
            choice.total += balancer.weights[i]
    if balancer.method == NTH:
        begin_turns(choice)


cdef void copy_choice(Choice* target, const Choice* source) noexcept nogil:
    cdef uint32_t i
    for i in range(source.count):
        target.uplinks[i] = source.uplinks[i]
    target.count = source.count
    target.total = source.total
    target.by_deadline = source.by_deadline


cdef void refresh(Balancer* balancer, const uint8_t[2][256] usable) noexcept nogil:
    cdef int family
    for family in range(2):
        use_tiers(balancer, family, usable[family])
    refresh_turns(balancer)


cdef void refresh_turns(Balancer* balancer) noexcept nogil:
    # IPv4 and IPv6 flows take turns together as long as the same uplinks are in use for them.
    cdef const uint8_t* in_use4 = balancer.in_use[0]
    cdef const uint8_t* in_use6 = balancer.in_use[1]
    cdef Choice* ipv4 = &balancer.choices[0]
    cdef Choice* ipv6 = &balancer.choices[1]
    cdef bint same4 = same_uplinks(balancer, ipv4, in_use4)
    cdef bint same6, share = True
    cdef uint32_t i
    if balancer.shared:
        copy_choice(ipv6, ipv4)
    same6 = same_uplinks(balancer, ipv6, in_use6)
    for i in range(balancer.count):
        if in_use4[balancer.uplinks[i]] != in_use6[balancer.uplinks[i]]:
            share = False
    if share and same6 and not same4:
        copy_choice(ipv4, ipv6)
    elif not same4:
        fill(balancer, ipv4, in_use4)
    if not share and not same6:
        fill(balancer, ipv6, in_use6)
    balancer.shared = share


cdef StickyKey sticky_key(
    const Balancer* balancer, const HashKey* key, const Packet* packet
) noexcept nogil:
    cdef uint64_t words[4]
    cdef StickyKey result
    result.host = address_digest(key, packet.src)
    if packet.family == 4:
        words[0] = address_pair(packet.dst, packet.src) & balancer.mask4
        result.digest = siphash(key, words, 1)
        return result
    words[0] = packet.dst[0] & balancer.masks6[0]
    words[1] = packet.dst[1] & balancer.masks6[1]
    words[2] = packet.src[0] & balancer.masks6[2]
    words[3] = packet.src[1] & balancer.masks6[3]
    result.digest = siphash(key, words, 4)
    return result


cdef uint8_t remembered(
    Balancer* balancer, const StickyKey* key, int family, uint64_t now, Slot** slot
) noexcept nogil:
    cdef Slot* entry = find(&balancer.sticky, key.digest)
    cdef uint8_t uplink
    slot[0] = entry
    if entry.life == 0:
        return 0
    uplink = <uint8_t>(meaning(&balancer.sticky, entry) & UPLINK_BITS)
    if expires(entry) <= now or not balancer.in_use[family][uplink]:
        remove(&balancer.sticky, entry)
        slot[0] = find(&balancer.sticky, key.digest)
        return 0
    use_again(&balancer.sticky, entry, now + balancer.timeout, key.host)
    return uplink


cdef bint is_remembered(
    const Balancer* balancer, const StickyKey* key, int family, uint64_t now
) noexcept nogil:
    cdef const Slot* entry = find(&balancer.sticky, key.digest)
    return (
        entry.life != 0 and expires(entry) > now
        and balancer.in_use[family][<uint8_t>(meaning(&balancer.sticky, entry) & UPLINK_BITS)]
    )


cdef void remember(
    Balancer* balancer, const StickyKey* key, int family, uint8_t uplink, uint64_t now, Slot* slot
) noexcept nogil:
    if balancer.tags[family][uplink] == 0:
        # All are on entries that are forgotten: as many uplinks went down as there are tags, and
        # nothing was inserted in between that would have removed these.
        purge(&balancer.sticky, PURGED_SLOTS)
        give_tag(balancer, family, uplink)
        if balancer.tags[family][uplink] == 0:
            return
        slot = find(&balancer.sticky, key.digest)
    insert(
        &balancer.sticky, slot, key.digest, now + balancer.timeout, balancer.tags[family][uplink],
        key.host, now,
    )


cdef void give_tag(Balancer* balancer, int family, uint8_t uplink) noexcept nogil:
    cdef uint16_t meaning = uplink | (FAMILY_BIT if family else 0)
    if balancer.tags[family][uplink] == 0:
        balancer.tags[family][uplink] = <uint16_t>new_tag(&balancer.sticky, meaning)


cdef void give_tags(Balancer* balancer) noexcept nogil:
    cdef uint32_t i
    for i in range(balancer.count):
        give_tag(balancer, 0, balancer.uplinks[i])
        give_tag(balancer, 1, balancer.uplinks[i])


cdef void forget_uplink(Balancer* balancer, int family, uint8_t uplink) noexcept nogil:
    cdef uint16_t* tag = &balancer.tags[family][uplink]
    if tag[0] and balancer.sticky.tags[tag[0]].entries:
        forget_tag(&balancer.sticky, tag[0])
        tag[0] = 0
        give_tag(balancer, family, uplink)


cdef bint same_table(const Balancer* balancer, const Balancer* other) noexcept nogil:
    cdef int i
    for i in range(4):
        if balancer.masks6[i] != other.masks6[i]:
            return False
    return (
        balancer.remembers and other.remembers and balancer.mask4 == other.mask4
        and balancer.size == other.size
    )


cdef void take_over(Balancer* balancer, Balancer* before, const uint8_t* kept) noexcept nogil:
    if same_table(balancer, before):
        take_table(balancer, before, kept)
    balancer.errors = before.errors if balancer.custom == before.custom else 0
    if before.method == NTH:
        continue_turns(balancer, turns_of(before, 0), turns_of(before, 1), kept)


cdef void continue_turns(
    Balancer* balancer, const Choice* ipv4, const Choice* ipv6, const uint8_t* kept
) noexcept nogil:
    if balancer.method != NTH:
        return
    if not balancer.shared:
        go_on(&balancer.choices[0], ipv4, kept)
        go_on(&balancer.choices[1], ipv6, kept)
    elif not go_on(&balancer.choices[0], ipv4, kept):
        go_on(&balancer.choices[0], ipv6, kept)


cdef void take_table(Balancer* balancer, Balancer* before, const uint8_t* kept) noexcept nogil:
    cdef uint32_t tag
    cdef uint16_t means
    cdef uint8_t uplink
    cdef int family
    balancer.sticky = before.sticky
    memset(&before.sticky, 0, sizeof(before.sticky))
    for tag in range(1, <uint32_t>TAGS):
        means = balancer.sticky.tags[tag].meaning
        if means == 0:
            continue
        uplink = <uint8_t>(means & UPLINK_BITS)
        family = 1 if means & FAMILY_BIT else 0
        if kept[uplink] and balancer.in_use[family][uplink]:
            balancer.tags[family][uplink] = <uint16_t>tag
        else:
            forget_tag(&balancer.sticky, tag)
    give_tags(balancer)


cdef Choice* turns_of(Balancer* balancer, int family) noexcept nogil:
    return &balancer.choices[0 if balancer.shared else family]


cdef bint go_on(Choice* choice, const Choice* before, const uint8_t* kept) noexcept nogil:
    cdef uint32_t i
    if choice.count != before.count:
        return False
    for i in range(choice.count):
        if (
            choice.uplinks[i].id != before.uplinks[i].id or not kept[choice.uplinks[i].id]
            or choice.uplinks[i].weight != before.uplinks[i].weight
        ):
            return False
    for i in range(choice.count):
        choice.uplinks[i].current_weight = before.uplinks[i].current_weight
    return True


cdef uint8_t choose(
    Balancer* balancer, int family, const StickyKey* key, uint64_t* random, const Loads* loads,
    const uint64_t* flows
) noexcept nogil:
    cdef Choice* choice = turns_of(balancer, family)
    if choice.count == 0:
        return 0
    if balancer.method == NTH:
        return next_turn(choice)
    if balancer.method == WEIGHTED:
        return drawn(choice, random)
    if balancer.method == HASH:
        return rendezvous(choice, key.digest)
    if balancer.method == LEAST_LOADED:
        return least_loaded(choice, loads, flows, balancer.option)
    if balancer.method == OVERFLOW:
        return with_room(choice, loads, flows, balancer.option)
    return fastest(choice, loads, balancer.option)
