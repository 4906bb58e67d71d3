"""Policies and captures that sweeps are made of."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from classifier.service.explain.flow import first_packet, parse_flow

RAW_IP = 101
POLICY = """
[gateway]
lan = ["lan0"]
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
[balancers.all]
method = "nth"
uplinks = ["a", "b"]
[[rules]]
name = "mail"
to_ports = [25]
use = "a"
[[rules]]
name = "rest"
use = "all"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two policies, of which the second has all by `b`, and captures of 6 and 10 flows."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nth.toml").write_text(POLICY)
    (tmp_path / "all-b.toml").write_text(POLICY.replace('["a", "b"]', '["b"]'))
    write_capture(tmp_path / "six.pcap", 6)
    write_capture(tmp_path / "ten.pcap", 10)
    return tmp_path


def write_capture(path: Path, flows: int) -> None:
    """So many flows to port 443."""
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, RAW_IP)
    for n in range(flows):
        flow = parse_flow(f"tcp 192.168.2.5:{40000 + n} > 203.0.113.9:443")
        packet = first_packet(flow)
        data += struct.pack("<IIII", n, 0, len(packet), len(packet)) + packet
    path.write_bytes(data)
