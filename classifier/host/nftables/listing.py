"""What the program `nft` lists, and how often the ruleset has changed."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
from collections.abc import Iterable

from classifier.errors import HostError
from classifier.host import programs
from classifier.queue.kernel_queues import NETLINK_NETFILTER

_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_/.\\-]*")
_SUBSYSTEM, _GET_GENERATION = 10, 16  # NFNL_SUBSYS_NFTABLES, NFT_MSG_GETGEN
_GENERATION_ID = 1  # NFTA_GEN_ID
_REQUEST = 1  # NLM_F_REQUEST
_HEADERS = struct.Struct("=IHHII BBH")  # nlmsghdr, nfgenmsg
_ATTRIBUTE = struct.Struct("=HH")


def generation() -> int | None:
    """The generation of nf_tables in the calling thread's network namespace.

    It grows with every transaction, of whatever program (<linux/netfilter/nf_tables.h>,
    NFT_MSG_GETGEN). None where the kernel has no nf_tables or does not tell this user.
    """
    kind = _SUBSYSTEM << 8 | _GET_GENERATION
    request = _HEADERS.pack(_HEADERS.size, kind, _REQUEST, 0, 0, 0, 0, 0)
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as netlink,
    ):
        netlink.settimeout(1.0)
        netlink.send(request)
        answer = netlink.recv(4096)
        offset = _HEADERS.size
        while offset + _ATTRIBUTE.size <= len(answer):
            length, attribute = _ATTRIBUTE.unpack_from(answer, offset)
            if attribute & 0x3FFF == _GENERATION_ID and length == 8 and offset + 8 <= len(answer):
                return int(struct.unpack_from("!I", answer, offset + 4)[0])
            if length < _ATTRIBUTE.size:
                break
            offset += length + 3 & ~3
    return None


def listed(wanted: Iterable[tuple[str, ...]]) -> str:
    """What `nft -j list` prints of each of these, one JSON object a line.

    wanted: such as ("table", "inet", "t") or ("chain", "ip", "mangle", "FORWARD"). Empty where
    there is no nft to ask. What has a name that would have to be quoted is passed over, and so is
    what nft cannot list. (nft 1.0 lists one table a call: with several commands it finds none.)
    """
    nft = programs.find("nft")
    if nft is None:
        return ""
    lines = []
    for words in wanted:
        if all(map(_PLAIN_NAME.fullmatch, words)):
            with contextlib.suppress(HostError):
                lines.append(programs.run([nft, "-j", "list", *words]).replace("\n", " "))
    return "".join(f"{line}\n" for line in lines)
