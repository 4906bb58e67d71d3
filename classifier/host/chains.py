"""The iptables chains of a policy: restore, classify, queue, save.

Rules are written as iptables-save prints them, so that a chain can be compared with what is there
as text. A new flow's way through them:

    raw     nfqc-helper       which helper reads the connection
    mangle  nfqc-prerouting   restore the mark; mark new flows of uplinks, queue those of the LAN
    mangle  nfqc-output       the same for the gateway's own packets
    mangle  nfqc-queue        what is no flow to classify returns; the rest waits for a decision
    mangle  nfqc-save         the packet's mark becomes the connection's
    nat     nfqc-nat          the address of the uplink the flow leaves by
"""

from __future__ import annotations

from collections.abc import Iterable

from classifier.host.conntrack import assignments
from classifier.host.facts import HostFacts
from classifier.host.state import (
    QUEUE_CHAIN,
    SAVE_CHAIN,
    Chain,
    Family,
    Firewall,
    Jump,
)
from classifier.policy import Policy, Uplink

_HOOKS = (
    Jump("raw", "PREROUTING", "nfqc-helper"),
    Jump("raw", "OUTPUT", "nfqc-helper"),
    Jump("mangle", "PREROUTING", "nfqc-prerouting"),
    Jump("mangle", "OUTPUT", "nfqc-output"),
    Jump("mangle", "POSTROUTING", SAVE_CHAIN),
    Jump("nat", "POSTROUTING", "nfqc-nat"),
)


def uplinks_of(policy: Policy, family: Family) -> tuple[Uplink, ...]:
    """The uplinks that take flows of a family; every one takes IPv4."""
    if family == 4:
        return policy.uplinks
    return tuple(uplink for uplink in policy.uplinks if uplink.gateway6 is not None)


def firewall(policy: Policy, facts: HostFacts, family: Family) -> Firewall:
    chains = [
        Chain("mangle", "nfqc-prerouting", tuple(_prerouting(policy, family))),
        Chain("mangle", "nfqc-output", tuple(_output(policy, facts, family))),
        Chain("mangle", QUEUE_CHAIN, tuple(_queue(policy, facts, family))),
        Chain("mangle", SAVE_CHAIN, tuple(_save(policy))),
    ]
    if helpers := tuple(_helper(policy, family)):
        chains.append(Chain("raw", "nfqc-helper", helpers))
    if masquerades := tuple(_nat(policy, family)):
        chains.append(Chain("nat", "nfqc-nat", masquerades))
    names = {chain.name for chain in chains}
    return Firewall(family, tuple(chains), tuple(jump for jump in _HOOKS if jump.chain in names))


def save_counter_rule(mask: int, unclassified: int) -> str:
    """The rule of nfqc-save whose packets are those that no classifier answered."""
    return f"-m mark --mark 0x{unclassified:x}/0x{mask:x} -j MARK --set-xmark 0x{mask:x}/0x{mask:x}"


def _restore(policy: Policy) -> Iterable[str]:
    """Packets of a flow that has a mark are done after these two rules."""
    mask = f"0x{policy.gateway.mask:x}"
    yield f"-m connmark ! --mark 0x0/{mask} {_restore_target(mask)}"
    # Also for a packet that came with a mark in our bits: a socket that set SO_MARK has chosen.
    yield f"-m mark ! --mark 0x0/{mask} -j RETURN"


def _restore_target(mask: str) -> str:
    return f"-j CONNMARK --restore-mark --nfmask {mask} --ctmask {mask}"


def _only_new(family: Family) -> Iterable[str]:
    # Neighbour discovery, whatever its addresses, is untracked and so never NEW
    # (net/netfilter/nf_conntrack_proto_icmpv6.c).
    yield "-m conntrack ! --ctstate NEW -j RETURN"
    if family == 6:
        yield "-s fe80::/10 -j RETURN"
        yield "-d fe80::/10 -j RETURN"
        yield "-d ff00::/8 -j RETURN"


def _prerouting(policy: Policy, family: Family) -> Iterable[str]:
    mask = f"0x{policy.gateway.mask:x}"
    yield from _restore(policy)
    yield from _only_new(family)
    # On the connection, not only on the packet: a flow to the gateway itself never comes by
    # nfqc-save, and its replies have to find the mark.
    for uplink in uplinks_of(policy, family):
        yield f"-i {uplink.interface} -j CONNMARK --set-xmark 0x{policy.mark(uplink):x}/{mask}"
    # So that the reverse path filter, which looks at the mark, sees this packet as it will see
    # the later ones of its flow.
    yield f"-m connmark ! --mark 0x0/{mask} {_restore_target(mask)}"
    for interface in policy.gateway.lan:
        yield f"-i {interface} -j {QUEUE_CHAIN}"


def _output(policy: Policy, facts: HostFacts, family: Family) -> Iterable[str]:
    yield from _restore(policy)
    if not policy.gateway.local:
        return
    yield from _only_new(family)
    mask = f"0x{policy.gateway.mask:x}"
    unbound = facts.default_interfaces(family)
    for uplink in uplinks_of(policy, family):
        if uplink.interface in unbound:
            yield f"-o {uplink.interface} -j {QUEUE_CHAIN}"
        else:
            # An unmarked packet leaves by an uplink that is not main's default one only because
            # its socket is bound to it, or by a specific route: in both cases it shall.
            yield f"-o {uplink.interface} -j MARK --set-xmark 0x{policy.mark(uplink):x}/{mask}"


def _queue(policy: Policy, facts: HostFacts, family: Family) -> Iterable[str]:
    types = "LOCAL,BROADCAST,MULTICAST" if family == 4 else "LOCAL,ANYCAST,MULTICAST"
    yield f"-m addrtype --dst-type {types} -j RETURN"
    # Main's specific routes come before the marks, so these flows would stay where they are
    # whatever was decided; asking would only move the counters.
    networks = {c.network for c in facts.connected if c.network.version == family}
    for network in sorted(networks, key=lambda n: (int(n.network_address), n.prefixlen)):
        if not (family == 6 and network.is_link_local):
            yield f"-d {network} -j RETURN"
    marks, queue = policy.gateway.marks, policy.queue
    # Stays on the packet only if nobody answers; nfqc-save tells these apart by it.
    yield f"-j MARK --set-xmark 0x{marks.unclassified:x}/0x{marks.mask:x}"
    last = queue.first + queue.count - 1
    numbers = f"num {queue.first}" if queue.count == 1 else f"balance {queue.first}:{last}"
    bypass = " --queue-bypass" if queue.overload == "accept" else ""
    yield f"-j NFQUEUE --queue-{numbers}{bypass}"


def _save(policy: Policy) -> Iterable[str]:
    marks = policy.gateway.marks
    mask = f"0x{marks.mask:x}"
    yield f"-m connmark ! --mark 0x0/{mask} -j RETURN"
    yield save_counter_rule(marks.mask, marks.unclassified)
    yield f"-j CONNMARK --save-mark --nfmask {mask} --ctmask {mask}"


def _nat(policy: Policy, family: Family) -> Iterable[str]:
    mask = f"0x{policy.gateway.mask:x}"
    # A socket of the gateway that has an address of this very uplink keeps it, also where
    # masquerading would choose another address of the interface.
    foreign = "-m addrtype ! --src-type LOCAL --limit-iface-out"
    for uplink in uplinks_of(policy, family):
        if uplink.masquerade:
            yield f"-o {uplink.interface} {foreign} -j MASQUERADE"
        else:
            # What is forwarded keeps its source. But a flow of the gateway itself was given the
            # address of main's default uplink before its mark; behind this one, nobody answers it.
            placed = f"-m mark --mark 0x{policy.mark(uplink):x}/{mask}"
            own = f"-m addrtype --src-type LOCAL {foreign}"
            yield f"-o {uplink.interface} {placed} {own} -j MASQUERADE"


def _helper(policy: Policy, family: Family) -> Iterable[str]:
    found = assignments(policy.gateway.helpers, family)
    inward = [f"-i {interface}" for interface in policy.gateway.lan]
    outward = [f"-o {u.interface}" for u in uplinks_of(policy, family) if policy.gateway.local]
    # Only where classified flows start: a helper that reads what strangers send is a risk.
    for side in (*inward, *outward):
        for a in found:
            match = f"-p {a.protocol} -m {a.protocol} --dport {a.port}"
            yield f"{side} {match} -j CT --helper {a.helper}"
