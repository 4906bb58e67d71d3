"""The way of a packet, written as iptables chains.

Rules are written as iptables-save prints them, so that a chain can be compared with what is there
as text:

    raw     nfqc-helper       helper
    mangle  nfqc-prerouting   restore, inbound; LAN interfaces go to nfqc-queue
    mangle  nfqc-output       restore, own flows
    mangle  nfqc-queue        left alone, queue
    mangle  nfqc-save         save
    nat     nfqc-nat          masquerade
"""

from __future__ import annotations

from collections.abc import Iterable

from classifier.host.firewall import PacketPath
from classifier.host.iptables.ruleset import QUEUE_CHAIN, SAVE_CHAIN, Chain, Jump, OurRules
from classifier.policy import Family

_ALL_BITS = 0xFFFFFFFF
_HOOKS = (
    Jump("raw", "PREROUTING", "nfqc-helper"),
    Jump("raw", "OUTPUT", "nfqc-helper"),
    Jump("mangle", "PREROUTING", "nfqc-prerouting"),
    Jump("mangle", "OUTPUT", "nfqc-output"),
    Jump("mangle", "POSTROUTING", SAVE_CHAIN),
    Jump("nat", "POSTROUTING", "nfqc-nat"),
)


def chains(path: PacketPath) -> OurRules:
    made = [
        Chain("mangle", "nfqc-prerouting", tuple(_prerouting(path))),
        Chain("mangle", "nfqc-output", tuple(_output(path))),
        Chain("mangle", QUEUE_CHAIN, tuple(_queue(path))),
        Chain("mangle", SAVE_CHAIN, tuple(_save(path))),
    ]
    if helpers := tuple(_helper(path)):
        made.append(Chain("raw", "nfqc-helper", helpers))
    if masquerades := tuple(_nat(path)):
        made.append(Chain("nat", "nfqc-nat", masquerades))
    names = {chain.name for chain in made}
    return OurRules(path.family, tuple(made), tuple(j for j in _HOOKS if j.chain in names))


def _set(mark: int, mask: int) -> str:
    return f"--set-xmark 0x{mark:x}/0x{mask:x}"


def _mark(mark: int, mask: int) -> str:
    # As iptables-save prints it, without a mask that takes all bits.
    return f"--mark 0x{mark:x}" if mask == _ALL_BITS else f"--mark 0x{mark:x}/0x{mask:x}"


def _is_not(mark: int, mask: int) -> str:
    return f"-m mark ! {_mark(mark, mask)}"


def _restore(mask: int) -> Iterable[str]:
    """Packets of a flow that has a mark are done after these two rules."""
    yield f"-m connmark ! {_mark(0, mask)} {_restore_target(mask)}"
    # Also for a packet that came with a mark in our bits: a socket that set SO_MARK has chosen.
    yield f"{_is_not(0, mask)} -j RETURN"


def _restore_target(mask: int) -> str:
    return f"-j CONNMARK --restore-mark --nfmask 0x{mask:x} --ctmask 0x{mask:x}"


def _only_first_packets(family: Family) -> Iterable[str]:
    # Neighbour discovery, whatever its addresses, is untracked and so never NEW
    # (net/netfilter/nf_conntrack_proto_icmpv6.c).
    yield "-m conntrack ! --ctstate NEW -j RETURN"
    # An unanswered flow stays NEW. One that is older than our rules stays on its uplink; a flow
    # of ours has a mark by the time conntrack has confirmed it.
    yield "-m conntrack --ctstatus CONFIRMED -j RETURN"
    if family == 6:
        yield "-s fe80::/10 -j RETURN"
        yield "-d fe80::/10 -j RETURN"
        yield "-d ff00::/8 -j RETURN"


def _prerouting(path: PacketPath) -> Iterable[str]:
    mask = path.marks.mask
    yield from _restore(mask)
    yield from _only_first_packets(path.family)
    # On the connection, not only on the packet: a flow to the gateway itself never comes by
    # nfqc-save, and its replies have to find the mark.
    for uplink in path.uplinks:
        yield f"-i {uplink.interface} -j CONNMARK {_set(uplink.mark, mask)}"
    # So that the reverse path filter, which looks at the mark, sees this packet as it will see
    # the later ones of its flow.
    yield f"-m connmark ! {_mark(0, mask)} {_restore_target(mask)}"
    for interface in path.lan:
        yield f"-i {interface} -j {QUEUE_CHAIN}"


def _output(path: PacketPath) -> Iterable[str]:
    mask = path.marks.mask
    yield from _restore(mask)
    if not path.local:
        return
    yield from _only_first_packets(path.family)
    for uplink in path.uplinks:
        if uplink.stands_in:
            for network in path.left_alone:
                yield f"-o {uplink.interface} -d {network} -j RETURN"
        if uplink.stands_in or not uplink.classify_own:
            # An unmarked packet leaves by an uplink that is not main's default one only because
            # its socket is bound to it, or by a specific route: in both cases it has to. Or
            # because main has no default route: then it stays here if nobody decides about it.
            yield f"-o {uplink.interface} -j MARK {_set(uplink.mark, mask)}"
        if uplink.classify_own:
            yield f"-o {uplink.interface} -j {QUEUE_CHAIN}"


def _queue(path: PacketPath) -> Iterable[str]:
    types = "LOCAL,BROADCAST,MULTICAST" if path.family == 4 else "LOCAL,ANYCAST,MULTICAST"
    yield f"-m addrtype --dst-type {types} -j RETURN"
    for network in path.left_alone:
        yield f"-d {network} -j RETURN"
    # Stays on the packet only if nobody answers; nfqc-save tells these apart by it. One that has
    # the mark of an uplink (`stands_in`) stays there then.
    mask = path.marks.mask
    yield f"-m mark {_mark(0, mask)} -j MARK {_set(path.marks.unclassified, mask)}"
    queue = path.queue
    last = queue.numbers[-1]
    numbers = f"num {queue.first}" if queue.count == 1 else f"balance {queue.first}:{last}"
    bypass = " --queue-bypass" if queue.overload == "accept" else ""
    yield f"-j NFQUEUE --queue-{numbers}{bypass}"


def _save(path: PacketPath) -> Iterable[str]:
    marks = path.marks
    mask = f"0x{marks.mask:x}"
    yield f"-m connmark ! {_mark(0, marks.mask)} -j RETURN"
    unclassified = f"-m mark {_mark(marks.unclassified, marks.mask)}"
    yield f"{unclassified} -j MARK {_set(marks.direct, marks.mask)}"
    # A socket bound to an interface, and a flow to a network behind a static route, leave by an
    # uplink whatever was decided; the connection gets the mark of the one it really leaves by.
    for uplink in path.uplinks:
        classified = f"{_is_not(0, marks.mask)} {_is_not(marks.direct, marks.mask)}"
        elsewhere = f"{classified} {_is_not(uplink.mark, marks.mask)}"
        yield f"-o {uplink.interface} {elsewhere} -j MARK {_set(uplink.mark, marks.mask)}"
    yield f"-j CONNMARK --save-mark --nfmask {mask} --ctmask {mask}"


def _nat(path: PacketPath) -> Iterable[str]:
    # A socket of the gateway that has an address of this very uplink keeps it, also where
    # masquerading would choose another address of the interface.
    foreign = "-m addrtype ! --src-type LOCAL --limit-iface-out"
    for uplink in path.uplinks:
        if uplink.masquerade:
            yield f"-o {uplink.interface} {foreign} -j MASQUERADE"
        else:
            # What is forwarded keeps its source. But a flow of the gateway itself was given the
            # address of main's default uplink before its mark; behind this one, nobody answers it.
            placed = f"-m mark {_mark(uplink.mark, path.marks.mask)}"
            own = f"-m addrtype --src-type LOCAL {foreign}"
            yield f"-o {uplink.interface} {placed} {own} -j MASQUERADE"


def _helper(path: PacketPath) -> Iterable[str]:
    inward = [f"-i {interface}" for interface in path.lan]
    outward = [f"-o {uplink.interface}" for uplink in path.uplinks if path.local]
    # Only where classified flows start: a helper that reads what strangers send is a risk.
    for side in (*inward, *outward):
        for a in path.helpers:
            match = f"-p {a.protocol} -m {a.protocol} --dport {a.port}"
            yield f"{side} {match} -j CT --helper {a.helper}"
