"""A small gateway with foreign things in place, and everything on it as text."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from classifier.host import reading, steps
from classifier.host.diff import diff, removal
from classifier.host.iptables.programs import Variant
from classifier.host.plan import plan
from classifier.lab.namespace import Namespace
from classifier.policy import Gateway, Policy, Queue, Uplink
from classifier.service.reconcile import Look

VARIANTS: tuple[Variant, ...] = ("nft", "legacy")

WIRED = Uplink("wired", 1, "eth0", "10.0.0.2", "auto")
WIFI = Uplink("wifi", 2, "eth1", "10.9.0.2", "fe80::2", onlink=True)
LTE = Uplink("lte", 3, "eth3", "10.3.0.2", masquerade=False)

_LINKS = """
for i in 0 1 2 3; do
    ip link add eth$i type veth peer name peer$i
    for end in eth$i peer$i; do ip link set $end addrgenmode none; ip link set $end up; done
    ip addr add 10.$i.0.1/24 dev eth$i
    ip addr add 2001:db8:$i::1/64 dev eth$i nodad
done
# The kernel acts on a link that came up later, after a second at most, and has some routes then.
until [ $(ip -brief link | grep -cE '^(eth|peer)[0-3]@\\S+ +UP ') = 8 ]; do sleep 0.01; done
ip route add default via 10.0.0.2
ip -6 route add default via 2001:db8::2
"""

_FOREIGN = """
sysctl -qw net.ipv4.conf.all.rp_filter=1 net.ipv4.conf.eth3.forwarding=1
sysctl -qw net.ipv6.conf.eth2.forwarding=1 net.ipv4.conf.all.accept_redirects=0
ip rule add pref 100 fwmark 0x10000/0x10000 lookup 300 protocol 99
ip rule add pref 30000 from 10.2.0.0/16 lookup 300
ip -6 rule add pref 30000 from 2001:db8:2::/64 lookup 300
ip route add 10.77.0.0/16 via 10.1.0.2 table 300
ip route add blackhole 10.78.0.0/16 proto 99
ip -6 route add 2001:db8:77::/48 via 2001:db8:1::2 table 300
for program in iptables-$VARIANT ip6tables-$VARIANT; do
    $program -t mangle -N foreign
    $program -t mangle -A foreign -p tcp --dport 9 -j MARK --set-xmark 0x10000/0x10000
    $program -t mangle -A PREROUTING -j foreign
    $program -t filter -A FORWARD -p udp --dport 9 -j ACCEPT
    $program -t nat -A POSTROUTING -o peer3 -j MASQUERADE
done
nft -f - <<END
table inet foreign {
    set hosts { type ipv4_addr; elements = { 192.0.2.1 } ; }
    chain forward {
        type filter hook forward priority 5; policy accept;
        ip saddr @hosts meta mark set 0x20000
    }
}
END
"""

_TEXTS = (
    "iptables-nft-save",
    "ip6tables-nft-save",
    "iptables-legacy-save",
    "ip6tables-legacy-save",
    "nft list ruleset",
    "ip rule",
    "ip -6 rule",
    "ip route show table all",
    "ip -6 route show table all",
)
_COUNTERS = re.compile(r"\[\d+:\d+\]|packets \d+ bytes \d+")


def shell(host: Namespace, script: str, **environment: str) -> str:
    """Run a script to its end; a command of it that fails is an error."""
    settings = "".join(f"{name}={value}\n" for name, value in environment.items())
    return host.run(["bash", "-eu", "-c", f"{settings}{script}"]).stdout


def make_host(name: str = "host") -> Namespace:
    """Four interfaces with addresses, eth2 for the LAN, and a default route by eth0."""
    host = Namespace.create(name)
    shell(host, _LINKS)
    return host


def add_foreign(host: Namespace, variant: Variant) -> None:
    """Rules, chains, routes, tables and sysctls of somebody else."""
    shell(host, _FOREIGN, VARIANT=variant)


def snapshot(host: Namespace) -> dict[str, list[str]]:
    """Everything that `down` has to leave as it was, without packet counters."""
    lines = {command: _lines(_printed(host, command)) for command in _TEXTS}
    # The kernel tells the routes of a table in no order that matters, and not always in the same.
    for command in ("ip route show table all", "ip -6 route show table all"):
        lines[command].sort()
    return {**lines, "sysctls": _sysctls(host)}


def handles(host: Namespace) -> list[str]:
    """Every nft rule with its handle, which is a new one when a rule is made anew."""
    return _lines(host.run(["nft", "-a", "list", "ruleset"]).stdout)


def _printed(host: Namespace, command: str) -> str:
    # Where a rule of nft has no words in iptables, its save ends there with an error.
    said = host.run(command.split(), check=False, timeout=300.0, errors="surrogateescape")
    return said.stdout


def _lines(text: str) -> list[str]:
    return [_COUNTERS.sub("", line) for line in text.splitlines() if not line.startswith("#")]


def _sysctls(host: Namespace) -> list[str]:
    values = []
    with host.enter():
        for family in ("ipv4", "ipv6"):
            for path in sorted(Path("/proc/sys/net", family).rglob("*")):
                if path.is_file() and (path.parent.parent.name == "conf" or "forward" in path.name):
                    try:
                        values.append(f"{path} = {path.read_text().strip()}")
                    except OSError:
                        continue  # net/ipv6/conf/*/stable_secret, when there is none
    return values


def policy(*uplinks: Uplink, queue: Queue | None = None, **gateway: object) -> Policy:
    settings = {"lan": ("eth2",), "helpers": ("ftp",), **gateway}
    return Policy(Gateway(**settings), queue or Queue(), uplinks)  # type: ignore[arg-type]


def look(host: Namespace, made: Policy, variant: Variant = "nft") -> Look:
    """What a policy needs on this host as it is now."""
    with host.enter():
        there = reading.read(variant)
    return Look(made, there, plan(made, there))


def needed(seen: Look) -> tuple[steps.Step, ...]:
    return diff(seen.snapshot, seen.plan)


def run_in(host: Namespace, made: Sequence[steps.Step]) -> None:
    with host.enter():
        steps.run(made)


def apply_in(host: Namespace, made: Policy, variant: Variant = "nft") -> None:
    run_in(host, needed(look(host, made, variant)))


def remove_in(host: Namespace, answer: Callable[[], None] = lambda: None) -> list[steps.Step]:
    """Take everything of ours away, as a service that stops; the steps that were done."""
    done: list[steps.Step] = []
    with host.enter():
        steps.run_all(removal(reading.read("nft"), answer), done.append)
    return done
