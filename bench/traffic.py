"""First packets of new flows as a LAN sends them, and the policy that has to place them."""

from __future__ import annotations

import random
import struct

POLICY = """
[gateway]
lan = ["lan0"]
[uplinks.wired]
interface = "eth0"
gateway = "192.168.1.254"
[uplinks.wifi1]
interface = "eth1"
gateway = "172.16.0.1"
[uplinks.wifi2]
interface = "eth2"
gateway = "172.17.0.1"
[balancers.all]
method = "nth"
uplinks = ["wired", "wifi1", "wifi2"]
sticky = { by = "remote", timeout = "4h" }
[[rules]]
name = "home networks"
to = ["192.168.0.0/16", "10.0.0.0/8", "172.16.0.0/12"]
use = "direct"
[[rules]]
name = "interactive stays on the wire"
protocol = "tcp"
to_ports = [21, 22, 80, 443, "6660-6669"]
use = "wired"
[[rules]]
name = "names stay on the wire"
protocol = "udp"
to_ports = [53]
use = "wired"
[[rules]]
name = "the rest"
use = "all"
"""

_TCP, _UDP = 6, 17


def packets(count: int, seed: int) -> list[bytes]:
    """`count` IPv4 packets, each of another flow: TCP connections being opened, and UDP.

    One in ten goes to an excluded network, three to ports that stay on the wire, the rest is
    balanced, over remotes of which some come back.
    """
    chance = random.Random(seed)
    remotes = [chance.randrange(0xC6120000, 0xC613FFFF) for _ in range(max(1, count // 2))]
    return [_packet(chance, number, chance.choice(remotes)) for number in range(count)]


def _packet(chance: random.Random, number: int, remote: int) -> bytes:
    # Sources differ in every packet: 250 hosts with as many ports as it takes.
    source, sport = 0xC0A80102 + number % 250, 20000 + number // 250
    kind = chance.random()
    if kind < 0.1:
        return _ipv4(source, 0x0A000000 + number, _tcp(sport, 8080))
    if kind < 0.35:
        return _ipv4(source, remote, _tcp(sport, 443))
    if kind < 0.4:
        return _ipv4(source, remote, _udp(sport, 53))
    if kind < 0.7:
        return _ipv4(source, remote, _tcp(sport, 8443))
    return _ipv4(source, remote, _udp(sport, 4500))


def _tcp(sport: int, dport: int) -> tuple[int, bytes]:
    syn = struct.pack(">HHIIBBHHH", sport, dport, 1, 0, 0xA0, 2, 64240, 0, 0)
    return _TCP, syn + bytes.fromhex("020405b40402080a000000010000000001030307")


def _udp(sport: int, dport: int) -> tuple[int, bytes]:
    return _UDP, struct.pack(">HHHH", sport, dport, 48, 0) + bytes(40)


def _ipv4(source: int, destination: int, upper: tuple[int, bytes]) -> bytes:
    protocol, body = upper
    fields = (0x45, 0, 20 + len(body), 0, 0x4000, 64, protocol)
    total = sum(struct.unpack(">10H", struct.pack(">BBHHHBBHII", *fields, 0, source, destination)))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack(">BBHHHBBHII", *fields, checksum, source, destination) + body
