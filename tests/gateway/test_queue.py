"""The queue on a real kernel: every packet leaves it with the decided mark, and none is lost."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path

import pytest
from queued import (
    DIRECT,
    DROPPED,
    MARKS,
    NUMBER,
    UNCLASSIFIED,
    WIFI,
    WIRED,
    Backend,
    both_backends,
    bound,
    count,
    counted,
    divert,
    netlink,
    open_to_all,
    reading,
    send,
    sender,
)

from classifier import policy
from classifier.engine.classifier import Classifier
from classifier.engine.engine import Engine
from classifier.errors import QueueError
from classifier.lab.namespace import Namespace
from classifier.queue.kernel_queues import kernel_queue
from classifier.queue.nfqueue import NativeQueue

pytestmark = pytest.mark.gateway

POLICY = policy.Policy(
    gateway=policy.Gateway(),
    queue=policy.Queue(),
    uplinks=(policy.Uplink("wired", 1, "eth0"), policy.Uplink("wifi", 2, "eth1")),
    rules=(
        policy.Rule("dropped", "drop", to_ports=((DROPPED, DROPPED),)),
        policy.Rule("direct", "direct", to_ports=((DIRECT, DIRECT),)),
        policy.Rule("wifi", "wifi", to_ports=((WIFI, WIFI),)),
        policy.Rule("rest", "wired"),
    ),
)


@pytest.fixture
def engine() -> Engine:
    return Classifier(POLICY, seed=7).engine


@both_backends
def test_each_packet_leaves_with_its_decided_mark(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    divert(host)
    count(host, *MARKS.values(), UNCLASSIFIED)
    queue = bound(host, backend, engine)
    with reading(queue):
        send(host, {WIRED: 500, WIFI: 300, DIRECT: 200})
    assert counted(host) == [500, 300, 200, 0, 0]
    assert queue.counters().packets == 1000
    assert (queue.counters().late_verdicts, queue.counters().errors) == (0, 0)


@both_backends
def test_dropped_packets_go_nowhere(host: Namespace, engine: Engine, backend: Backend) -> None:
    divert(host)
    count(host, *MARKS.values())
    with reading(bound(host, backend, engine)):
        send(host, {WIRED: 20, DROPPED: 100})
    assert counted(host) == [20, 0, 0, 0]


@both_backends
def test_mark_bits_of_others_survive(host: Namespace, engine: Engine, backend: Backend) -> None:
    foreign = 0x800040FF
    divert(host, mark=foreign | UNCLASSIFIED)
    count(host, *(foreign | mark for mark in MARKS.values()))
    with reading(bound(host, backend, engine)):
        send(host, {WIRED: 10, WIFI: 20, DIRECT: 30})
    assert counted(host) == [10, 20, 30, 0]


@both_backends
def test_packets_in_a_row_with_one_answer_are_each_answered(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    """Rows longer and shorter than a batch, each behind another one, and all waiting at once."""
    divert(host)
    count(host, *MARKS.values())
    queue = bound(host, backend, engine)
    for packets in ({WIRED: 150}, {DROPPED: 3}, {WIFI: 64}, {DIRECT: 1}, {DROPPED: 70}, {WIFI: 1}):
        send(host, packets)
    send(host, {WIRED: 20, DROPPED: 20})
    with reading(queue):
        pass
    assert counted(host) == [170, 65, 1, 0]
    assert (queue.counters().late_verdicts, queue.counters().errors) == (0, 0)


@both_backends
def test_packets_in_a_row_keep_each_its_own_foreign_bits(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    to = "127.0.0.1/32", "127.0.0.2/32"
    for bit, address in enumerate(to):
        divert(host, "-d", address, mark=1 << bit)
    count(host, 0x101, 0x102)
    queue = bound(host, backend, engine)
    with sender(host) as source:
        for turn in range(300):
            source.sendto(b"x", (f"127.0.0.{1 + (turn // 3) % 2}", WIRED))
    with reading(queue):
        pass
    assert counted(host) == [150, 150, 0]


@both_backends
def test_packets_without_any_mark_are_marked(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    divert(host, mark=0)
    count(host, *MARKS.values())
    with reading(bound(host, backend, engine)):
        send(host, {WIRED: 10})
    assert counted(host) == [10, 0, 0, 0]


@both_backends
def test_all_that_waits_is_answered_before_a_stop(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    divert(host)
    count(host, *MARKS.values())
    queue = bound(host, backend, engine)
    send(host, {WIRED: 400})
    queue.stop()
    # Too late for the queue: taken on by fail-open, neither queued nor lost.
    send(host, {WIFI: 50})
    with reading(queue):
        pass
    assert counted(host) == [400, 0, 0, 50]
    with host.enter():
        assert kernel_queue(NUMBER) is None


@both_backends
@pytest.mark.parametrize("fail_open", [True, False])
def test_full_queue_loses_nothing_unless_it_is_asked_to(
    host: Namespace, engine: Engine, backend: Backend, fail_open: bool
) -> None:
    divert(host)
    count(host, *MARKS.values(), UNCLASSIFIED)
    queue = bound(host, backend, engine, length=16, fail_open=fail_open)
    send(host, {WIFI: 200})
    assert counted(host) == [0, 0, 0, 184 if fail_open else 0, 0]
    with host.enter():
        kernel = kernel_queue(NUMBER)
    assert kernel is not None
    assert (kernel.waiting, kernel.dropped) == (16, 0 if fail_open else 184)
    with reading(queue):
        pass
    assert counted(host) == [0, 16, 0, 184 if fail_open else 0, 0]


@both_backends
def test_eight_thousand_packets_may_wait(host: Namespace, engine: Engine, backend: Backend) -> None:
    divert(host)
    count(host, *MARKS.values())
    queue = bound(host, backend, engine, fail_open=False)
    # Root of a user namespace only gets net.core.rmem_max; a waiting packet is charged 832 bytes.
    room = min(8000, queue.receive_buffer // 832)
    send(host, {WIRED: room})
    with reading(queue):
        pass
    assert counted(host) == [room, 0, 0, 0]


@both_backends
def test_two_queues_share_one_engine(host: Namespace, engine: Engine, backend: Backend) -> None:
    divert(host, "--dport", str(WIRED), number=0)
    divert(host, "--dport", str(WIFI), number=1)
    count(host, *MARKS.values())
    queues = [bound(host, backend, engine, number=number) for number in (0, 1)]
    with reading(*queues):
        send(host, {WIRED: 1000, WIFI: 1500})
    assert counted(host) == [1000, 1500, 0, 0]
    assert [queue.counters().packets for queue in queues] == [1000, 1500]


@both_backends
def test_segments_of_one_send_are_one_packet_to_decide(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    """UDP GSO: ten datagrams in one call reach the queue as one, and the receiver as ten."""
    udp_segment = 103
    divert(host)
    queue = bound(host, backend, engine)
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", WIRED))
        sink.settimeout(10)
        with reading(queue), sender(host) as source:
            source.setsockopt(socket.SOL_UDP, udp_segment, 1000)
            source.sendto(b"".join(bytes([n]) * 1000 for n in range(10)), ("127.0.0.1", WIRED))
            arrived = [sink.recv(2000) for _ in range(10)]
    assert arrived == [bytes([n]) * 1000 for n in range(10)]
    assert queue.counters().packets == 1


@both_backends
def test_a_tcp_connection_that_is_queued_whole_arrives_whole(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    """TCP in large segments, every one of them through the queue."""
    chain = ["iptables", "-w", "-t", "mangle", "-A", "PREROUTING", "-p", "tcp"]
    host.run([*chain, "-j", "NFQUEUE", "--queue-num", str(NUMBER)])
    data = os.urandom(1 << 20) * 4
    received = bytearray()
    with host.enter():
        listener = socket.create_server(("127.0.0.1", WIFI))
        client = socket.socket()

    def receive() -> None:
        connection, _ = listener.accept()
        with connection:
            while part := connection.recv(1 << 16):
                received.extend(part)

    with listener, client, reading(bound(host, backend, engine)):
        thread = threading.Thread(target=receive)
        thread.start()
        client.settimeout(30)
        client.connect(("127.0.0.1", WIFI))
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        thread.join(60)
    assert received == data


@both_backends
def test_queue_is_given_back_by_close(host: Namespace, engine: Engine, backend: Backend) -> None:
    bound(host, backend, engine).close()
    again = bound(host, backend, engine)
    again.close()
    again.close()
    with pytest.raises(QueueError, match="closed"):
        again.run()


@both_backends
def test_queue_that_is_read_is_not_closed_under_its_reader(
    host: Namespace, engine: Engine, backend: Backend
) -> None:
    queue = bound(host, backend, engine)
    with host.enter(), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", WIRED))
        sink.settimeout(10)
        divert(host)
        with reading(queue):
            send(host, {WIRED: 1})
            sink.recv(1)  # it came through the queue, so that is being read
            with pytest.raises(QueueError, match="still being read"):
                queue.close()


def test_queue_that_breaks_says_so(host: Namespace, engine: Engine) -> None:
    queue = bound(host, NativeQueue, engine)
    assert isinstance(queue, NativeQueue)
    with Path(os.devnull).open("rb") as other:
        os.dup2(other.fileno(), queue.fileno())
    with pytest.raises(QueueError, match=rf"queue {NUMBER} cannot be read any more: .*socket"):
        queue.run()
    queue.close()


def test_garbage_at_the_socket_and_late_verdicts_do_not_end_the_queue(
    host: Namespace, engine: Engine
) -> None:
    """The kernel reports what it cannot find; whatever else comes is counted."""
    divert(host)
    count(host, *MARKS.values())
    queue = bound(host, NativeQueue, engine)
    open_to_all(queue)
    with host.enter():
        kernel = kernel_queue(NUMBER)
    assert kernel is not None
    id_of_nothing = struct.pack("=HHIHBx", 11, 1, 0xFFFFFFFF, 0, 0)
    packet = struct.pack("=IHHII", 32, 3 << 8, 0, 0, 0) + bytes(4) + id_of_nothing
    too_long = struct.pack("=I", 2000) + packet[4:] + struct.pack("=HH", 1968, 10) + bytes(1964)
    with reading(queue), netlink(host) as other:
        for garbage in (b"x", bytes(16), b"\xff" * 600, packet, too_long):
            other.sendto(garbage, (kernel.portid, 0))
        send(host, {WIRED: 100})
    counters = queue.counters()
    assert counted(host) == [100, 0, 0, 0]
    # One byte, sixteen, six hundred, and the one that was cut at the end of our buffer.
    assert counters.malformed == 4
    assert (counters.packets, counters.late_verdicts, counters.last_errno) == (102, 2, 2)
    assert counters.errors == 0
