"""Which netlink messages may wake the service: classic BPF programs, run by the kernel.

A program sees the message from its nlmsghdr on (sk_filter() in net/netlink/af_netlink.c) and
returns how many of its bytes to deliver; 0 throws it away before it costs us anything. A router
that learns 10,000 routes per second by BGP tells them to everybody who listens to routes.

Loads of two bytes are big endian whatever the machine is (linux/filter.h), while netlink's numbers
are the machine's: constants are turned round where they differ.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import struct
import sys
from typing import Literal

from pyroute2.netlink import rtnl

NFNL_SUBSYS_NFTABLES = 10  # linux/netfilter/nfnetlink.h
# linux/netfilter/nf_tables.h
_NFT_MSG_NEWSETELEM, _NFT_MSG_DELSETELEM, _NFT_MSG_NEWGEN = 12, 14, 15
_SO_ATTACH_FILTER = 26  # asm-generic/socket.h
_RTPROT_KERNEL = 2  # linux/rtnetlink.h, as are the next two
_RT_SCOPE_LINK = 253
_RT_TABLE_MAIN = 254
# linux/filter.h
_LOAD16 = 0x28  # BPF_LD | BPF_H | BPF_ABS
_LOAD8 = 0x30  # BPF_LD | BPF_B | BPF_ABS
_LOAD16_AT_X = 0x48  # BPF_LD | BPF_H | BPF_IND
_LOAD8_AT_X = 0x50  # BPF_LD | BPF_B | BPF_IND
_LOAD_LENGTH = 0x80  # BPF_LD | BPF_W | BPF_LEN: bytes of everything that came as one
_AND = 0x54  # BPF_ALU | BPF_AND | BPF_K
_SHIFT_LEFT = 0x64  # BPF_ALU | BPF_LSH | BPF_K
_ADD_X = 0x0C  # BPF_ALU | BPF_ADD | BPF_X
_TO_X = 0x07  # BPF_MISC | BPF_TAX
_STORE = 0x02  # BPF_ST, into the first cell of memory
_RESTORE_X = 0x61  # BPF_LDX | BPF_W | BPF_MEM, from there
_SKIP = 0x05  # BPF_JMP | BPF_JA
_JUMP_EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JUMP_EQUAL_X = 0x1D  # BPF_JMP | BPF_JEQ | BPF_X
_RETURN = 0x06  # BPF_RET | BPF_K
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
# Offsets of nlmsghdr's fields and, behind its 16 bytes, of rtmsg's.
_LENGTH, _TYPE, _DST_LEN, _TABLE, _PROTOCOL, _SCOPE = 0, 4, 17, 20, 21, 22

_MOST_MESSAGES = 96
"""That can come as one: NLMSG_GOODSIZE is less than a page, and an element takes 44 bytes at least.
"""
_FEWER_MESSAGES = 48
"""Where net.core.optmem_max is 20 KiB, as before Linux 6.8: 16 KiB as the kernel counts a program.
What comes as more is delivered, which costs a look at the host."""

Target = Literal["next", "deliver", "drop"]
Step = tuple[int, int, Target, Target]
"""What to do, with which number, and where to go on when a comparison holds and when not."""


def _load16(offset: int) -> Step:
    return _plain(_LOAD16, offset)


def _load8(offset: int) -> Step:
    return _plain(_LOAD8, offset)


def _and16(mask: int) -> Step:
    return _plain(_AND, _as_loaded(mask))


def _is(value: int, yes: Target, no: Target = "next") -> Step:
    return _JUMP_EQUAL, value, yes, no


def _plain(operation: int, number: int = 0) -> Step:
    return operation, number, "next", "next"


def _as_loaded(value: int) -> int:
    return int.from_bytes(struct.pack("=H", value), "big")


def route_filter(own_protocol: int) -> bytes:
    """All of rtnetlink but routes; of routes `own_protocol`'s, default and connected ones.

    The last are networks on a link of table main: what the kernel made of an address (IPv6 gives
    all routes one scope), and IPv4 routes of scope link, without those to one host, of which a
    container host has one per container.
    """
    steps = [
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
    return assembled(steps)


def attach_transaction_filter(listener: socket.socket) -> None:
    """Of nftables `listener` receives all but elements of sets from now on. Raises OSError."""
    try:
        attach(listener, transaction_filter(_MOST_MESSAGES))
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        attach(listener, transaction_filter(_FEWER_MESSAGES))


def transaction_filter(most: int) -> bytes:
    """Of nftables all but elements of sets, which fail2ban and the like change all day long; `most`
    messages of those that come as one are looked at.

    Each transaction tells every table, chain, rule and element it changed, as many messages at a
    time as go into a page, and last a new generation of the rule set, always by itself
    (nft_commit_notify() and nf_tables_gen_notify() in net/netfilter/nf_tables_api.c). That last
    one comes after elements too, and does not say after what.
    """
    low, high = (0, 1) if sys.byteorder == "little" else (3, 2)
    new_generation = [
        _load16(_TYPE),
        _is(_nftables(_NFT_MSG_NEWGEN), yes="drop"),
        _plain(_SKIP, 2),
    ]
    # One message of several, at X.
    message = [
        _plain(_LOAD16_AT_X, _TYPE),
        # The two types differ in this bit.
        _and16(~(_NFT_MSG_NEWSETELEM ^ _NFT_MSG_DELSETELEM) & 0xFFFF),
        _is(_nftables(_NFT_MSG_NEWSETELEM & _NFT_MSG_DELSETELEM), yes="next", no="deliver"),
        # To the next one; 64 KiB are the most that there can be.
        _plain(_LOAD8_AT_X, _LENGTH + high),
        _plain(_SHIFT_LEFT, 8),
        _plain(_STORE),
        _plain(_LOAD8_AT_X, _LENGTH + low),
        _plain(_ADD_X),
        _plain(_RESTORE_X),
        _plain(_ADD_X),
        _plain(_TO_X),
        _plain(_LOAD_LENGTH),
        (_JUMP_EQUAL_X, 0, "drop", "next"),
        _plain(_SKIP, 2),
    ]
    # There are no loops.
    return assembled(new_generation) + most * assembled(message) + assembled([])


def _nftables(message: int) -> int:
    return _as_loaded(NFNL_SUBSYS_NFTABLES << 8 | message)


def attach(listener: socket.socket, program: bytes) -> None:
    """From now on `listener` receives only what `program` delivers."""
    code = ctypes.create_string_buffer(program)
    # struct sock_fprog of linux/filter.h; the kernel has copied the code when this returns.
    count = len(program) // _INSTRUCTION.size
    listener.setsockopt(
        socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", count, ctypes.addressof(code))
    )


def assembled(steps: list[Step]) -> bytes:
    """`steps` as an array of struct sock_filter, with a "deliver" and a "drop" at the end."""
    ends = {"deliver": len(steps), "drop": len(steps) + 1}
    code = bytearray()
    for place, (operation, number, yes, no) in enumerate(steps):
        # Jumps are counted from the next instruction on.
        jumps = (ends.get(target, place + 1) - (place + 1) for target in (yes, no))
        code += _INSTRUCTION.pack(operation, *jumps, number)
    for length in (0xFFFFFFFF, 0):
        code += _INSTRUCTION.pack(_RETURN, 0, 0, length)
    return bytes(code)
