"""Which netlink messages may wake the service: classic BPF programs, run by the kernel.

A program sees the message from its nlmsghdr on (sk_filter() in net/netlink/af_netlink.c) and
returns how many of its bytes to deliver; 0 throws it away before it costs us anything. A router
that learns 10,000 routes per second by BGP tells them to everybody who listens to routes.

Loads of two bytes are big endian whatever the machine is (linux/filter.h), while netlink's numbers
are the machine's: constants are turned round where they differ.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Literal

from pyroute2.netlink import rtnl

NFNL_SUBSYS_NFTABLES = 10  # linux/netfilter/nfnetlink.h
NFT_MSG_NEWGEN = 15  # linux/netfilter/nf_tables.h
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_RTPROT_KERNEL = 2  # linux/rtnetlink.h, as are the next two
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
# linux/filter.h
_LOAD16 = 0x28  # BPF_LD | BPF_H | BPF_ABS
_LOAD8 = 0x30  # BPF_LD | BPF_B | BPF_ABS
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN = 0x06  # BPF_RET | BPF_K
# Offsets of nlmsghdr.nlmsg_type and, behind its 16 bytes, of rtmsg's fields.
_TYPE, _DST_LEN, _TABLE, _PROTOCOL, _SCOPE = 4, 17, 20, 21, 22

Target = Literal["next", "deliver", "drop"]
Step = tuple[int, int, Target, Target]
"""What to do, with which number, and where to go on when a comparison holds and when not."""


def _load16(offset: int) -> Step:
    return _LOAD16, offset, "next", "next"


def _load8(offset: int) -> Step:
    return _LOAD8, offset, "next", "next"


def _and16(mask: int) -> Step:
    return _AND, _as_loaded(mask), "next", "next"


def _is(value: int, yes: Target, no: Target = "next") -> Step:
    return _JUMP_EQUAL, value, yes, no


def _as_loaded(value: int) -> int:
    return int.from_bytes(struct.pack("=H", value), "big")


def route_filter(own_protocol: int) -> list[Step]:
    """All of rtnetlink but routes; of routes `own_protocol`'s, default and connected ones.

    The last are networks on a link of table main: what the kernel made of an address (IPv6 gives
    all routes one scope), and IPv4 routes of scope link, without those to one host, of which a
    container host has one per container.
    """
    return [
        _load16(_TYPE),
        # RTM_NEWROUTE is 24, RTM_DELROUTE 25; no other type of rtnetlink's lies with them.
        _and16(0xFFFE),
        _is(_as_loaded(rtnl.RTM_NEWROUTE), yes="next", no="deliver"),
        # A default route, of any table.
        _load8(_DST_LEN),
        _is(0, yes="deliver"),
        _load8(_PROTOCOL),
        _is(own_protocol, yes="deliver"),
        # A table above 255 has 252 here.
        _load8(_TABLE),
        _is(_RT_TABLE_MAIN, yes="next", no="drop"),
        _load8(_PROTOCOL),
        _is(_RTPROT_KERNEL, yes="deliver"),
        # What goes by way of a gateway has scope universe.
        _load8(_SCOPE),
        _is(_RT_SCOPE_LINK, yes="next", no="drop"),
        # A single host: of IPv4, since only that has scopes.
        _load8(_DST_LEN),
        _is(32, yes="drop", no="deliver"),
    ]


def transaction_filter() -> list[Step]:
    """Of nftables only the message that ends a transaction.

    Each transaction tells every table, chain, rule and element it changed, and last a new
    generation of the rule set (nf_tables_gen_notify() in net/netfilter/nf_tables_api.c), always in
    a message of its own. One is enough as a sign to look again.
    """
    new_generation = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_NEWGEN
    return [_load16(_TYPE), _is(_as_loaded(new_generation), yes="deliver", no="drop")]


def attach(listener: socket.socket, steps: list[Step]) -> None:
    """From now on `listener` receives only what `steps` deliver."""
    code = ctypes.create_string_buffer(assembled(steps))
    # struct sock_fprog of linux/filter.h; the kernel has copied the code when this returns.
    program = struct.pack("@HP", len(steps) + 2, ctypes.addressof(code))
    listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def assembled(steps: list[Step]) -> bytes:
    """`steps` as an array of struct sock_filter, with a "deliver" and a "drop" at the end."""
    ends = {"deliver": len(steps), "drop": len(steps) + 1}
    code = bytearray()
    for place, (operation, number, yes, no) in enumerate(steps):
        # Jumps are counted from the next instruction on.
        jumps = (ends.get(target, place + 1) - (place + 1) for target in (yes, no))
        code += struct.pack("=HBBI", operation, *jumps, number)
    for length in (0xFFFFFFFF, 0):
        code += struct.pack("=HBBI", _RETURN, 0, 0, length)
    return bytes(code)
