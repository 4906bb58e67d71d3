"""Rules of others that iptables or we cannot read: left alone, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_service import CONFIG, HostService, eventually
from host_snapshots import VARIANTS, handles, make_host, shell, snapshot

from classifier.host.iptables.programs import Variant
from classifier.lab.namespace import Namespace

if TYPE_CHECKING:
    from conftest import UseIptables

PROGRAMS = ("iptables", "ip6tables")
TABLES = ("raw", "mangle", "nat", "filter")
LATIN1 = "caf\\xe9 \\xff"
VMAP = "tcp dport vmap { 9 : accept, 10 : return }"
MAP = "meta mark set ip saddr map { 192.0.2.1 : 0x10000 }"
"""iptables-nft 1.8.9 ends with an error where it meets this rule."""

WITHOUT_TARGET = "".join(
    f"{program}-$VARIANT -t {table} -A OUTPUT\n" for program in PROGRAMS for table in TABLES
)
COMMENTS = "".join(
    f"{program}-$VARIANT -t {table} -N odd\n"
    f"{program}-$VARIANT -t {table} -A odd -m comment"
    f" --comment \"$(printf '{LATIN1}')\" -j RETURN\n"
    f"{program}-$VARIANT -t {table} -A OUTPUT -p tcp -m tcp --dport 9 -j odd\n"
    for program in PROGRAMS
    for table in TABLES
)


def of_nft(rule: str, table: str, chain: str) -> str:
    """A rule of nft in a chain that iptables has made, before another one."""
    return (
        f"iptables-nft -t {table} -A {chain} -p udp -m udp --dport 9 -j ACCEPT\n"
        f"nft insert rule ip {table} {chain} {rule}\n"
    )


ODD: dict[str, str] = {
    "words": WITHOUT_TARGET + COMMENTS,
    "vmap": "".join(
        of_nft(VMAP, table, chain)
        for table, chain in (
            ("filter", "FORWARD"),
            ("nat", "POSTROUTING"),
            ("raw", "PREROUTING"),
            ("mangle", "OUTPUT"),
        )
    ),
    # Here iptables-save still prints what is in front of the rule.
    "map in chains that have no rule of ours": of_nft(MAP, "filter", "FORWARD")
    + of_nft(MAP, "mangle", "FORWARD")
    + "iptables-nft -t mangle -N own; iptables-nft -t mangle -A own -p tcp -j ACCEPT\n"
    f"nft add rule ip mangle own {MAP}; iptables-nft -t mangle -A OUTPUT -j own\n",
    # Here iptables can neither list nor delete our jumps.
    "map in chains that have one": of_nft(MAP, "nat", "POSTROUTING")
    + of_nft(MAP, "raw", "PREROUTING")
    + of_nft(MAP, "mangle", "PREROUTING")
    + of_nft(MAP, "mangle", "POSTROUTING"),
}
CASES = [
    (name, variant)
    for name in ODD
    for variant in VARIANTS
    if variant == "nft" or name == "words"  # nf_tables alone has maps
]


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def add(host: Namespace, name: str, variant: Variant) -> None:
    if variant == "legacy":  # whose tables stay until the namespace ends
        for program in PROGRAMS:
            shell(host, f"for t in raw mangle nat; do {program}-legacy -t $t -L >/dev/null; done")
    shell(host, ODD[name], VARIANT=variant)


def status(service: HostService) -> dict[str, object]:
    done = service.status("--json")
    assert done.returncode == 0, done.stderr
    read: dict[str, object] = json.loads(done.stdout)
    return read


@pytest.mark.parametrize(("name", "variant"), CASES)
def test_rules_that_nobody_can_read_are_in_no_command_s_way(
    host: Namespace, tmp_path: Path, name: str, variant: Variant, use_iptables: UseIptables
) -> None:
    use_iptables(variant)
    add(host, name, variant)
    before = snapshot(host)
    service = HostService(host, tmp_path)
    plan = ("plan", str(service.config), "--state-dir", str(service.state_dir))
    planned = service.command(*plan)
    assert (planned.returncode, planned.stderr) == (0, "")
    assert "run refuses" not in planned.stdout
    assert snapshot(host) == before

    service.start()
    first = handles(host)
    assert service.command(*plan).stdout == "nothing to do\n", "what we have made is recognised"
    # The service looks again, and must not add its jumps a second time.
    host.run([f"iptables-{variant}", "-t", "mangle", "-F", "nfqc-queue"])
    eventually(lambda: "and put right: firewall rules" in service.said, "the flush is noticed")
    assert status(service)["warnings"] == []
    assert len(handles(host)) == len(first)
    assert service.stop() == 0, service.said
    assert snapshot(host) == before

    service.start()
    service.process.kill()
    service.end()
    assert snapshot(host) != before
    done = service.command("down")
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(host) == before
    assert service.command("down").stdout == "nothing of ours was here\n"


def test_a_rule_that_comes_while_the_service_runs_does_not_keep_it_from_leaving(
    host: Namespace, tmp_path: Path
) -> None:
    before = snapshot(host)
    service = HostService(host, tmp_path, CONFIG)
    service.start()
    for hook in ("PREROUTING", "OUTPUT", "POSTROUTING"):
        for verb in ("insert", "add"):
            shell(host, f"nft {verb} rule ip mangle {hook} {MAP}")
    assert isinstance(status(service)["uplinks"], dict)
    assert service.stop() == 0, service.said
    left = [line.strip() for line in snapshot(host)["nft list ruleset"]]
    assert not [line for line in left if "nfqc-" in line]
    assert len([line for line in left if line.startswith("meta mark set ip saddr map")]) == 6
    shell(host, "nft delete table ip mangle")
    after = snapshot(host)
    assert after == before


def test_a_conflict_in_a_chain_that_iptables_cannot_read_is_named_too(
    host: Namespace, tmp_path: Path
) -> None:
    shell(
        host,
        "iptables -t mangle -A FORWARD -j ACCEPT\n"
        "nft add rule ip mangle FORWARD meta mark set ip saddr map { 192.0.2.1 : 0x500 }",
    )
    before = snapshot(host)
    service = HostService(host, tmp_path)
    where = ("--state-dir", str(service.state_dir))
    planned = service.command("plan", str(service.config), *where).stdout
    said = service.refused()
    [conflict] = [line for line in said.splitlines() if "mark bits" in line]
    conflict = conflict.removeprefix("nfq-classifier: ")
    assert conflict.startswith("nft rule ip mangle FORWARD handle ")
    assert "sets mark bits 0x500 that are ours" in conflict
    assert f"#   {conflict}\n" in planned
    assert snapshot(host) == before
