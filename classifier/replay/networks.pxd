# Which addresses are inside, and which ones a gateway leaves alone.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from classifier.engine.wire cimport Packet

cdef struct Network:
    uint64_t address[2]
    uint64_t mask[2]
    uint8_t family


# Whether an address lies in one of `count` networks.
cdef inline bint within(
    const Network* networks, uint32_t count, const uint64_t* address, uint8_t family
) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if (
            networks[i].family == family
            and not (address[0] ^ networks[i].address[0]) & networks[i].mask[0]
            and not (address[1] ^ networks[i].address[1]) & networks[i].mask[1]
        ):
            return True
    return False


# What the gateway's rules return before the queue and a capture can tell: broadcast, multicast.
cdef inline bint left_alone(const Packet* packet) noexcept nogil:
    cdef uint32_t address
    if packet.family == 6:
        return packet.dst[0] >> 56 == 0xFF
    address = <uint32_t>packet.dst[1]
    return address >> 28 == 0xE or address == 0 or address == 0xFFFFFFFFu


# From a network of `ipaddress`.
cdef inline int set_network(Network* network, object value) except -1:
    cdef uint64_t mapped = 0xFFFF00000000u
    address, mask = int(value.network_address), int(value.netmask)
    network.family = value.version
    if value.version == 4:
        network.mask[0] = 0
        network.mask[1] = mask
        network.address[1] = mapped | <uint64_t>address
    else:
        network.mask[0] = mask >> 64
        network.mask[1] = mask & 0xFFFFFFFFFFFFFFFF
        network.address[0] = address >> 64
        network.address[1] = address & 0xFFFFFFFFFFFFFFFF
    return 0
