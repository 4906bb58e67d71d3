"""`plan` prints what `run` then does, and a start reads the host once."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from host_service import WITH_IPV6, HostService, running
from host_snapshots import add_foreign, make_host, shell, snapshot

from classifier.lab.namespace import Namespace

FTP = WITH_IPV6.replace("[gateway]", '[gateway]\nhelpers = ["ftp"]')


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


def planned(service: HostService, *options: str) -> str:
    where = ["--state-dir", str(service.state_dir)]
    done = service.command("plan", str(service.config), *where, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_plan_prints_typed_in_makes_the_host_that_run_makes(
    host: Namespace, tmp_path: Path
) -> None:
    """Routes, rules, sysctls and chains: every line is a command that does what it says."""
    with make_host("typed") as typed:
        for made in (host, typed):
            shell(made, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
            add_foreign(made, "nft")
        text = planned(HostService(typed, tmp_path / "typed", FTP))
        shell(typed, text)
        with running(host, tmp_path / "run", FTP):
            assert snapshot(typed) == snapshot(host)


def test_while_it_runs_there_is_nothing_to_do(host: Namespace, tmp_path: Path) -> None:
    with running(host, tmp_path, FTP) as service:
        assert planned(service) == "nothing to do\n"
        assert json.loads(planned(service, "--json"))["steps"] == []


def test_what_keeps_run_from_starting_is_told_by_plan_in_the_same_words(
    host: Namespace, tmp_path: Path
) -> None:
    shell(host, "ip rule add pref 20802 from 192.0.2.1 lookup 9")
    shell(host, "iptables -t mangle -A FORWARD -j MARK --set-mark 0x100")
    shell(host, "iptables -A INPUT -p udp -j NFQUEUE --queue-num 0")
    service = HostService(host, tmp_path)
    refusals = json.loads(planned(service, "--json"))["refusals"]
    assert len(refusals) == 3
    assert service.refused() == "".join(f"nfq-classifier: {line}\n" for line in refusals)
    assert planned(service).startswith("# run refuses to start:\n#   IPv4 routing rule")


def test_a_snapshot_of_one_host_gives_the_same_plan_on_another(
    host: Namespace, tmp_path: Path
) -> None:
    add_foreign(host, "nft")
    shell(host, r"iptables -A FORWARD -m comment --comment $'\xff\xfe' -j ACCEPT")
    service = HostService(host, tmp_path, FTP)
    file = tmp_path / "host.json"
    text = planned(service, "--write-snapshot", str(file))
    with Namespace.create("elsewhere") as elsewhere:
        other = HostService(elsewhere, tmp_path / "other", FTP)
        assert planned(other, "--snapshot", str(file)) == text


READS = """
import sys
from classifier.commands import main
from classifier.host import kernel_links, kernel_routes, programs, sysctls

def told(name, function):
    def telling(*arguments, **options):
        if name == "program":
            what = arguments[0]
        else:  # type and family
            what = [arguments[0], arguments[1][0]] if name == "dump" else []
        print("READ", name, *what, file=sys.stderr, flush=True)
        return function(*arguments, **options)
    return telling

programs.run = told("program", programs.run)
kernel_links.dump = kernel_routes.dump = told("dump", kernel_links.dump)
sysctls.read_all = told("sysctls", sysctls.read_all)
sys.exit(main(sys.argv[1:]))
"""


def test_a_start_reads_each_thing_of_the_host_once(host: Namespace, tmp_path: Path) -> None:
    add_foreign(host, "nft")
    shell(host, "iptables-legacy -t filter -A FORWARD -p udp --dport 9 -j ACCEPT")
    service = HostService(host, tmp_path, FTP)
    service.program[1:] = ["-c", READS]
    service.start()
    before_ready = service.said.partition("ready:")[0]
    reads = Counter(re.findall(r"READ (.*)", before_ready))
    changes = {read for read in reads if "-restore" in read}
    names = {Path(read.split()[1]).name for read in reads if read.startswith("program")}
    assert {"iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "nft"} <= names
    # RTM_GETLINK, RTM_GETADDR, RTM_GETRULE, RTM_GETROUTE
    assert {"dump 18 0", "dump 22 0", "dump 34 2", "dump 26 10"} <= set(reads)
    assert {read: count for read, count in reads.items() if count > 1 and read not in changes} == {}
    # The memory, before the first sysctl changes, and then everything else.
    assert sorted(reads[read] for read in changes) == [1, 2]
    assert service.stop() == 0
