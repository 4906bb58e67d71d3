"""Echo requests and replies as bytes: what counts as an answer, and what never does."""

from __future__ import annotations

import socket
import struct

from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest
from scapy.packet import Raw

from classifier.uplinks.probes.icmp import checksum, echo_request, is_reply

TOKEN = bytes(range(16))


def reply4(identifier: int = 7, sequence: int = 1, token: bytes = TOKEN, **more: int) -> bytes:
    echo = ICMP(type=0, id=identifier, seq=sequence, **more) / Raw(token)
    return bytes(IP(src="192.0.2.1", dst="192.0.2.2") / echo)


def reply6(identifier: int = 7, sequence: int = 1, token: bytes = TOKEN) -> bytes:
    return bytes(ICMPv6EchoReply(id=identifier, seq=sequence, data=token))


@given(st.integers(0, 65535), st.binary(min_size=16, max_size=16))
def test_a_request_is_what_others_make_of_it(identifier: int, token: bytes) -> None:
    assert echo_request(socket.AF_INET, identifier, token) == bytes(
        ICMP(type=8, id=identifier, seq=1) / Raw(token)
    )
    ours = echo_request(socket.AF_INET6, identifier, token)
    assert ours == bytes(ICMPv6EchoRequest(id=identifier, seq=1, data=token, cksum=0))


def test_the_reply_to_this_request_counts() -> None:
    assert is_reply(reply4(), socket.AF_INET, 7, TOKEN)
    with_options = bytearray(reply4())
    with_options[0] = 0x46
    with_options[20:20] = b"\1\1\1\0"
    assert is_reply(bytes(with_options), socket.AF_INET, 7, TOKEN)
    assert is_reply(reply6(), socket.AF_INET6, 7, TOKEN)


def test_no_other_reply_counts() -> None:
    others4 = [
        reply4(identifier=8),
        reply4(sequence=2),
        reply4(token=bytes(16)),
        reply4(token=TOKEN[:-1]),
        reply4(token=TOKEN + b"x"),
        reply4(code=1),
        reply4(chksum=1),
        bytes(IP() / ICMP(type=8, id=7, seq=1) / Raw(TOKEN)),
        bytes(IP() / ICMP(type=3, code=1) / IP() / ICMP(id=7, seq=1) / Raw(TOKEN)),
    ]
    assert not any(is_reply(packet, socket.AF_INET, 7, TOKEN) for packet in others4)
    others6 = [
        reply6(identifier=8),
        reply6(sequence=2),
        reply6(token=bytes(16)),
        b"\x80" + reply6(),
    ]
    assert not any(is_reply(packet, socket.AF_INET6, 7, TOKEN) for packet in others6)


@given(st.binary(max_size=64), st.sampled_from([socket.AF_INET, socket.AF_INET6]))
def test_any_bytes_are_no_reply_and_no_error(packet: bytes, family: int) -> None:
    assert not is_reply(packet, family, 7, TOKEN)


@given(st.binary(max_size=64))
def test_a_message_with_its_checksum_sums_to_nothing(message: bytes) -> None:
    padded = message + b"\0" * (len(message) % 2)
    assert checksum(padded + struct.pack("!H", checksum(padded))) == 0
