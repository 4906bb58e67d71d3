"""The tracker against connection tracking in plain Python."""

from __future__ import annotations

import random

import pytest
from capture_files import ACK, FIN_ACK, RST, SYN, SYN_ACK, Captured, echo, ipv4, ipv6, tcp, udp
from conntrack_model import Conntrack, Packet

from classifier.replay import Replay

FLAGS = {"syn": SYN, "synack": SYN_ACK, "fin": FIN_ACK, "ack": ACK, "rst": RST}
PROTOCOLS = {"tcp": 6, "udp": 17, "icmp": 1, "esp": 50}
START = 1_700_000_000_000


def render(packet: Packet) -> Captured:
    body = bytes(12)
    if packet.protocol == "tcp":
        flags = FLAGS[packet.flag]
        body = tcp(packet.sport, packet.dport, flags, seq=packet.seq, ack=packet.ack)
    elif packet.protocol == "udp":
        body = udp(packet.sport, packet.dport)
    elif packet.protocol == "icmp":
        kinds = (8, 0) if ":" not in packet.src else (128, 129)
        body = echo(kinds[packet.flag == "reply"], packet.sport)
    number = PROTOCOLS[packet.protocol]
    if ":" in packet.src:
        data = ipv6(packet.src, packet.dst, 58 if packet.protocol == "icmp" else number, body)
    else:
        data = ipv4(packet.src, packet.dst, number, body)
    return Captured((START + packet.time) * 10**6, data)


def seen(flow):
    first = flow.first
    protocol = "icmpv6" if first.protocol == "icmp" and ":" in first.src else first.protocol
    ports = first.sport, first.dport
    if protocol not in ("tcp", "udp"):
        ports = None, None
    return (
        (START + first.time) / 1000, protocol, first.src, ports[0], first.dst, ports[1],
        flow.packets,
    )  # fmt: skip


def check(policy, raw, packets):
    model = Conntrack()
    for packet in packets:
        model.take(packet)
    run = Replay(policy, seed=1)
    run.read(raw(map(render, packets)))
    report = run.report()
    assert [
        (d.time, d.protocol, d.src, d.sport, d.dst, d.dport, d.packets) for d in report.decisions
    ] == [seen(flow) for flow in model.flows]
    assert report.untracked == model.untracked
    assert report.malformed == 0
    return model


@pytest.mark.parametrize("seed", range(6))
def test_flows_of_few_hosts_that_start_close_and_time_out_all_the_time(policy, raw, seed):
    chance = random.Random(seed)
    hosts = ["192.168.1.2", "198.51.100.7"], ["2001:db8::2", "2001:db8:9::7"]
    ports = [1000, 0x0800, 443]
    time, packets = 0, []
    for _ in range(6000):
        time += chance.choice((1, 10, 100, 1000, 3000, 9000, 31000, 61000, 130000))
        src, dst = chance.sample(chance.choice(hosts), 2)
        protocol = chance.choices(list(PROTOCOLS), (70, 15, 10, 5))[0]
        sport, dport = chance.choice(ports), chance.choice(ports)
        if protocol == "esp":
            sport = dport = 0
        flag = ""
        if protocol == "tcp":
            flag = chance.choices(list(FLAGS), (4, 3, 2, 6, 1))[0]
        elif protocol == "icmp":
            flag, dport = chance.choice(("request", "reply")), 0
        packets.append(
            Packet(
                time, src, dst, protocol, sport, dport, flag, chance.choice((1, 50)),
                chance.choice((2, 51)),
            )
        )  # fmt: skip
    model = check(policy, raw, packets)
    assert len(model.flows) > 500
    assert model.untracked > 100


def test_ten_thousand_flows_alive_at_once_and_many_more_over_time(policy, raw):
    # The table has to grow, and to take out what has expired, while all of it is in use.
    chance = random.Random(1)
    packets, time = [], 0
    for _ in range(60000):
        time += chance.choice((0, 1, 2, 3, 20))
        number = chance.randrange(time // 10, time // 10 + 12000)
        inside, outside = f"10.{number % 7}.0.1", f"198.51.{number % 11}.7"
        ports = number % 50000, 4500
        if chance.random() < 0.5:
            packets.append(Packet(time, inside, outside, "udp", *ports))
        else:
            packets.append(Packet(time, outside, inside, "udp", *reversed(ports)))
    model = check(policy, raw, packets)
    assert len(model.flows) > 20000
    assert sum(flow.expires > time for flow in model.flows) > 4096
