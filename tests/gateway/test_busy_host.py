"""A host with 50,000 rules of others, of every kind that was found to be trouble."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from host_service import HostService, eventually
from host_snapshots import VARIANTS, WIFI, WIRED, look, make_host, needed, policy, shell, snapshot

from classifier.host import programs
from classifier.host.conflicts import conflicts
from classifier.host.iptables.programs import Variant
from classifier.lab.namespace import Namespace

RULES = 50_000
CHAINS = 50

# What Docker, firewalld and Suricata make, shortened: their chains, kinds of rules and targets.
DOCKER_NAT = """\
:DOCKER - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A DOCKER -i docker0 -j RETURN
-A DOCKER ! -i docker0 -p tcp -m tcp --dport 8081 -j DNAT --to-destination 172.17.0.2:80
"""
DOCKER_FILTER = """\
:DOCKER - [0:0]
:DOCKER-ISOLATION-STAGE-1 - [0:0]
:DOCKER-ISOLATION-STAGE-2 - [0:0]
:DOCKER-USER - [0:0]
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-USER -j RETURN
"""
SURICATA = """\
-A FORWARD -m mark ! --mark 0x1/0x1 -j NFQUEUE --queue-balance 100:103 --queue-bypass
-A INPUT -j NFQUEUE --queue-num 100 --queue-bypass
-A OUTPUT -j NFQUEUE --queue-num 100 --queue-bypass
"""
FIREWALLD = """\
table inet firewalld
delete table inet firewalld
table inet firewalld {
    ct helper helper-ftp-tcp { type "ftp" protocol tcp; l3proto inet; }
    set blocked { type ipv4_addr; flags interval; elements = { 203.0.113.0/24 }; }
    chain mangle_PREROUTING {
        type filter hook prerouting priority mangle + 10; policy accept;
        jump mangle_PREROUTING_ZONES
    }
    chain mangle_PREROUTING_ZONES {
        iifname vmap { "eth0" : goto mangle_public, "eth1" : goto mangle_public }
        goto mangle_public
    }
    chain mangle_public {
        meta mark set meta mark | 0x10000
    }
    chain filter_INPUT {
        type filter hook input priority filter + 10; policy accept;
        ct state vmap { established : accept, related : accept, invalid : drop }
        iifname "lo" accept
        ip saddr @blocked drop
        tcp dport 21 ct helper set "helper-ftp-tcp"
    }
}
"""
# Rules of nft in tables of iptables: the program passes over the first and ends at the second.
IN_TABLES_OF_IPTABLES = """\
add rule ip filter FORWARD tcp dport vmap { 9 : accept, 10 : return }
add rule ip filter FORWARD meta mark set ip saddr map { 192.0.2.1 : 0x10000 }
add rule ip mangle PREROUTING udp dport vmap { 9 : accept, 10 : return }
add rule ip mangle PREROUTING meta mark set ip saddr map { 192.0.2.1 : 0x10000 }
"""


def block_lists(rules: int) -> Iterator[str]:
    for chain in range(CHAINS):
        yield f":block{chain} - [0:0]"
    for n in range(rules):
        source = f"10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32"
        match = f'-s {source} -p tcp -m tcp --dport {n % 60000 + 1} -m comment --comment "r {n}"'
        yield f"-A block{n % CHAINS} {match} -j DROP"


def firewall(rules: int) -> bytes:
    """What iptables-restore is given at the boot, and at every reload of the firewall."""
    odd = b'-A INPUT -p tcp -m comment --comment "caf\xe9 \xff" -j ACCEPT\n-A INPUT\n'
    lists = "".join(f"{line}\n" for line in block_lists(rules)).encode()
    base = b":PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n:POSTROUTING ACCEPT [0:0]\n"
    return b"".join(
        (
            *(b"*raw\n:PREROUTING ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT\n", b"COMMIT\n"),
            *(b"*mangle\n", base, b"-A FORWARD\n", odd, b"COMMIT\n"),
            *(b"*nat\n", base, DOCKER_NAT.encode(), b"-A OUTPUT\n", b"COMMIT\n"),
            *(b"*filter\n:FORWARD ACCEPT [0:0]\n", DOCKER_FILTER.encode(), odd),
            *(SURICATA.encode(), lists, b"COMMIT\n"),
        )
    )


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def load(host: Namespace, directory: Path, firewall: bytes, nft: str, variant: Variant) -> str:
    """Give the host its firewall; the script that does so, and does so again."""
    (directory / "rules").write_bytes(firewall)
    (directory / "nft").write_text(nft)
    script = f"iptables-{variant}-restore <{directory}/rules; nft -f {directory}/nft"
    shell(host, script)
    return script


def test_start_status_reload_of_the_firewall_stop_and_down_with_50_000_rules_of_others(
    host: Namespace, tmp_path: Path
) -> None:
    reload = load(host, tmp_path, firewall(RULES), FIREWALLD + IN_TABLES_OF_IPTABLES, "nft")
    shell(host, reload)  # the order of its chains is that of a reload
    before = snapshot(host)
    service = HostService(host, tmp_path)
    planned = service.command("plan", str(service.config), "--state-dir", str(service.state_dir))
    assert planned.returncode == 0, planned.stderr
    assert "run refuses" not in planned.stdout
    service.start()
    shell(host, reload)
    eventually(lambda: "and put right: firewall rules" in service.said, "the reload is noticed")
    assert service.status().returncode == 0
    assert service.stop() == 0, service.said
    assert service.command("down").stdout == "nothing of ours was here\n"
    service.start()
    service.process.kill()
    service.end()
    done = service.command("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(host) == before


def seconds(host: Namespace, variant: Variant) -> float:
    """Of our own processor time, for a look at the host, all conflicts and all steps."""
    before = time.process_time()  # without programs that we ask
    seen = look(host, policy(WIRED, WIFI), variant)
    assert conflicts(seen.policy, seen.snapshot, seen.plan) == ()
    assert needed(seen)
    return time.process_time() - before


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_time_to_read_the_rules_of_others_grows_no_faster_than_they_do(
    host: Namespace, tmp_path: Path, variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[Sequence[str]] = []
    run = programs.run

    def counted(argv: Sequence[str], *arguments: object) -> str:
        ran.append(argv)
        return run(argv, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(programs, "run", counted)
    load(host, tmp_path, firewall(RULES // 10), FIREWALLD, variant)
    few = min(seconds(host, variant) for _ in range(3))
    programs_few, ran[:] = len(ran) // 3, []
    load(host, tmp_path, firewall(RULES), FIREWALLD, variant)
    assert seconds(host, variant) < 30 * few, "for ten times the rules"
    assert len(ran) == programs_few, "a program for each of the rules or chains"
