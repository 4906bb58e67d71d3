"""Real FTP sessions through a gateway with masquerading, recorded in its LAN and replayed: each
connection goes where it went, also over an uplink that fails in between."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import captured

from classifier.lab.limits import scaled
from classifier.replay import replay
from classifier.service.control.client import ask

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab

WEIGHTS = {"wired": 1, "wifi1": 1, "wifi2": 1}
SEED = 11
FTP_PORT = 21
_ALL = 0x0003  # ETH_P_ALL


class Recording:
    """What passes the gateway's LAN interface, both ways, as it passes."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.times: list[int] = []
        """Microseconds since the first packet."""


@contextmanager
def recorded(gateway: Lab) -> Iterator[Recording]:
    recording = Recording()
    ended = threading.Event()
    with gateway.gateway.enter():
        listening = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ALL))
        listening.bind(("lan0", _ALL))
    listening.settimeout(0.05)

    def listen() -> None:
        start = None
        while True:
            try:
                packet, (_, kind, *_) = listening.recvfrom(65535)
            except TimeoutError:
                if ended.is_set():
                    return
                continue
            start = start or time.monotonic_ns()
            if kind in (0x0800, 0x86DD):
                recording.packets.append(packet)
                recording.times.append((time.monotonic_ns() - start) // 1000)

    thread = threading.Thread(target=listen, name="recording", daemon=True)
    thread.start()
    try:
        yield recording
    finally:
        ended.set()
        thread.join(scaled(5))
        listening.close()


def test_recorded_ftp_sessions_are_replayed_as_they_went(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    text = configuration(WEIGHTS, gateway='helpers = ["ftp"]', uplink='gateway6 = "fe80::1"')
    gateway = lab(text, seed=SEED)
    kinds = [(network, passive) for network in ("198.18.0.", "2001:2::") for passive in (1, 0)]
    went = []
    with recorded(gateway) as recording:
        for number, (network, passive) in enumerate(kinds * 2):
            if number == len(kinds):
                ask(gateway.service.runtime_dir, "POST", "/uplinks/wired", {"state": "down"})
                time.sleep(0.01)
                failed_at = recording.times[-1] // 1000 + 5
            transfer = gateway.ftp_transfer(f"{network}{number + 1}", passive=bool(passive))
            assert transfer.error is None
            went.append((transfer.control, transfer.data))
    path = tmp_path / "lan.pcap"
    captured.write(path, recording.packets, recording.times)
    inside = (gateway.addresses.lans[0].network, gateway.addresses.pool6)
    report = replay(
        gateway.policy,
        path,
        seed=SEED,
        lan=[network for network in inside if network],
        at=[f"{failed_at}ms wired down"],
    )
    control = [d for d in report.decisions if d.dport == FTP_PORT]
    data = [d for d in report.decisions if d.dport != FTP_PORT and d.protocol == "tcp"]
    assert [(c.uplink, d.uplink) for c, d in zip(control, data, strict=True)] == went
    assert {d.reason for d in data} == {"related"}
    assert {c.uplink for c in control[: len(kinds)]} == set(WEIGHTS)
    assert {c.uplink for c in control[len(kinds) :]} == {"wifi1", "wifi2"}
