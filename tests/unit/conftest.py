"""A capture of one flow, for the commands that read one."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from classifier.service.explain.flow import first_packet, parse_flow

_RAW_IP = 101


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    """A pcap file with the first packet of a flow from a host of the LAN to port 443."""
    packet = first_packet(parse_flow("tcp 192.168.2.5:40000 > 203.0.113.9:443"))
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, _RAW_IP)
    record = struct.pack("<IIII", 1, 0, len(packet), len(packet))
    file = tmp_path / "capture.pcap"
    file.write_bytes(head + record + packet)
    return file
