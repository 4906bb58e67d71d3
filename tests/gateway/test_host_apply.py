"""What a plan says is on the host afterwards, however often and after whatever it is applied."""

from __future__ import annotations

import dataclasses
import select
import subprocess
from collections.abc import Iterator

import pytest
from host_snapshots import (
    LTE,
    VARIANTS,
    WIFI,
    WIRED,
    add_foreign,
    apply_in,
    handles,
    look,
    make_host,
    needed,
    policy,
    remove_in,
    run_in,
    shell,
    snapshot,
)

from classifier.errors import HostError
from classifier.host.iptables.chains import chains
from classifier.host.iptables.programs import Variant
from classifier.host.state import Route
from classifier.host.steps import AddRoute, ChangeRules, Step, WriteSysctl
from classifier.lab.namespace import Namespace
from classifier.policy import Policy

pytestmark = pytest.mark.gateway


@pytest.fixture
def host() -> Iterator[Namespace]:
    with make_host() as made:
        yield made


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("mask", [0xFFFFFFFF, 0xFF000000])
def test_once_all_is_there_nothing_is_left_to_do_whatever_the_mask(
    host: Namespace, variant: Variant, mask: int
) -> None:
    made = policy(WIRED, WIFI, LTE, mask=mask)
    apply_in(host, made, variant)
    assert [step.text for step in needed(look(host, made, variant))] == []


@pytest.mark.parametrize("variant", VARIANTS)
def test_rules_routes_and_chains_are_there_as_planned(host: Namespace, variant: Variant) -> None:
    add_foreign(host, variant)
    plan = look(host, policy(WIRED, WIFI), variant).plan
    apply_in(host, policy(WIRED, WIFI), variant)

    there = snapshot(host)
    rules = [f"{rule}".replace("protocol 78", "proto 78") for rule in plan.rules]
    shown = "\n".join(there["ip rule"] + there["ip -6 rule"])
    assert shown.count("proto 78") == len(rules)
    assert "20804:\tfrom 10.1.0.1 lookup 20802 proto 78" in shown
    assert "20803:\tfrom all fwmark 0x200/0x3f00 unreachable proto 78" in shown
    routes = there["ip route show table all"]
    assert "default via 10.0.0.2 dev eth0 table 20801 proto 78 " in routes
    assert "default via 10.9.0.2 dev eth1 table 20802 proto 78 onlink " in routes
    assert shell(host, "sysctl -n net.ipv4.ip_forward net.ipv4.conf.eth1.rp_filter") == "1\n2\n"
    for path, program in zip(plan.paths, ("iptables", "ip6tables"), strict=True):
        saved = there[f"{program}-{variant}-save"]
        for chain in chains(path).chains:
            got = [line for line in saved if line.startswith(f"-A {chain.name} ")]
            assert got == [f"-A {chain.name} {rule}" for rule in chain.rules]
        # Behind the rule of somebody else that was there first.
        marks = [line for line in saved if line.startswith("-A PREROUTING -j")]
        assert marks.index("-A PREROUTING -j foreign") < marks.index(
            "-A PREROUTING -j nfqc-prerouting"
        )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_second_start_touches_nothing(host: Namespace, variant: Variant) -> None:
    add_foreign(host, variant)
    first = look(host, policy(WIRED, WIFI), variant)
    run_in(host, needed(first))
    before, handles_before = snapshot(host), handles(host)
    again = look(host, policy(WIRED, WIFI), variant)
    # What was found at first is remembered, not what we have made of it.
    assert again.plan == first.plan
    assert needed(again) == ()
    apply_in(host, policy(WIRED, WIFI), variant)
    assert snapshot(host) == before
    assert handles(host) == handles_before


def test_a_second_start_sends_the_kernel_no_change_of_rules_or_routes(host: Namespace) -> None:
    apply_in(host, policy(WIRED, WIFI))
    assert changes_during(host, policy(WIRED, WIFI)) == []


def changes_during(host: Namespace, made: Policy) -> list[str]:
    """What `ip monitor` tells while `made` is applied."""
    command = ["stdbuf", "-oL", "ip", "monitor", "rule", "route"]
    watch = host.popen(command, stdout=subprocess.PIPE)
    assert watch.stdout is not None
    for number in range(250):  # it tells of a route only once it is listening
        shell(host, f"ip route add blackhole 10.255.{number}.0/24")
        if select.select([watch.stdout], [], [], 0.2)[0]:
            break
    apply_in(host, made)
    shell(host, "ip route add blackhole 10.254.0.0/24")
    lines = list(iter(lambda: watch.stdout.readline().strip(), "blackhole 10.254.0.0/24"))
    return [line for line in lines if "10.255." not in line]


def test_a_new_uplink_is_added_without_touching_the_others(host: Namespace) -> None:
    apply_in(host, policy(WIRED, WIFI))
    events = changes_during(host, policy(WIRED, WIFI, LTE))
    assert any("20803" in event for event in events)
    assert not [event for event in events if "Deleted" in event]


def test_an_uplink_that_has_gone_takes_everything_of_it_along(host: Namespace) -> None:
    shell(host, "sysctl -qw net.ipv4.conf.all.rp_filter=1")
    only_two = policy(WIRED, WIFI)
    apply_in(host, only_two)
    expected = snapshot(host)
    apply_in(host, policy(WIRED, WIFI, LTE))
    assert snapshot(host) != expected
    apply_in(host, policy(WIRED, WIFI))
    assert snapshot(host) == expected


def test_a_gateway_that_has_changed_is_replaced(host: Namespace) -> None:
    apply_in(host, policy(WIRED))
    moved = dataclasses.replace(WIRED, gateway="10.0.0.3")
    apply_in(host, policy(moved))
    routes = host.run(["ip", "route", "show", "table", "20801"]).stdout
    assert routes.split() == ["default", "via", "10.0.0.3", "dev", "eth0", "proto", "78"]


def test_an_ipv4_gateway_may_be_an_ipv6_neighbour(host: Namespace) -> None:
    shell(host, "ip -4 route replace default via inet6 fe80::2 dev eth0")
    before = snapshot(host)
    auto = policy(dataclasses.replace(WIRED, gateway="auto"))
    apply_in(host, auto)
    routes = host.run(["ip", "route", "show", "table", "20801"]).stdout
    assert routes.startswith("default via inet6 fe80::2 dev eth0 proto 78")
    there = snapshot(host)
    apply_in(host, auto)
    assert snapshot(host) == there
    remove_in(host)
    assert snapshot(host) == before


def test_chains_that_an_older_version_left_are_gone_and_jumps_are_there_once(
    host: Namespace,
) -> None:
    apply_in(host, policy(WIRED, WIFI))
    expected = snapshot(host)
    shell(
        host,
        "iptables-nft -t mangle -A PREROUTING -j nfqc-prerouting;"
        "iptables-nft -t mangle -N nfqc-old; iptables-nft -t mangle -A nfqc-old -j ACCEPT;"
        "iptables-nft -t mangle -A INPUT -j nfqc-old;"
        "iptables-nft -t mangle -A nfqc-save -j ACCEPT;"
        "ip rule add pref 20801 fwmark 0x3000/0x3f00 lookup 20899 protocol 78;"
        "ip route add 10.99.0.0/16 via 10.0.0.2 table 20899 proto 78",
    )
    apply_in(host, policy(WIRED, WIFI))
    shell(host, "iptables-nft -t mangle -X INPUT")
    assert snapshot(host) == expected


def test_the_other_variant_of_iptables_is_taken_over(host: Namespace) -> None:
    before = snapshot(host)["sysctls"]
    apply_in(host, policy(WIRED, WIFI), "legacy")
    apply_in(host, policy(WIRED, WIFI), "nft")
    there = snapshot(host)
    assert not [line for line in there["iptables-legacy-save"] if "nfqc-" in line]
    found = [line for line in there["iptables-nft-save"] if line.startswith("-A nfqc-memory")]
    assert '-A nfqc-memory -m comment --comment "sysctl net/ipv4/ip_forward=0"' in found
    assert before != there["sysctls"]


Steps = tuple[Step, ...]


def with_wrong_rule(made: Steps, family: int, right: str, wrong: str) -> Steps:
    def spoilt(step: Step) -> Step:
        if not isinstance(step, ChangeRules) or step.family != family:
            return step
        assert right in step.change
        return dataclasses.replace(step, change=step.change.replace(right, wrong))

    return tuple(map(spoilt, made))


def broken_chain(made: Steps) -> Steps:
    """The nat table comes after raw and mangle, and the whole of it is refused."""
    return with_wrong_rule(made, 4, "-j MASQUERADE", "-j NO_SUCH_TARGET")


def broken_ipv6_chain(made: Steps) -> Steps:
    return with_wrong_rule(made, 6, "--save-mark", "--no-such-option")


def broken_sysctl(made: Steps) -> Steps:
    """After all the others."""
    last = max((i for i, step in enumerate(made) if isinstance(step, WriteSysctl)), default=2)
    wrong = WriteSysctl("net/ipv4/conf/eth0/rp_filter", "loose", "0")
    return (*made[: last + 1], wrong, *made[last + 1 :])


def broken_route(made: Steps) -> Steps:
    return (made[0], AddRoute(Route(4, 20809, "eth0", "203.0.113.1")), *made[1:])


FAILURES = {
    "-j NO_SUCH_TARGET": broken_chain,
    "--no-such-option": broken_ipv6_chain,
    "sysctl net/ipv4/conf/eth0/rp_filter = loose: Invalid argument": broken_sysctl,
    "ip -4 route replace default via 203.0.113.1 dev eth0 table 20809": broken_route,
}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("said", FAILURES)
def test_a_failure_in_the_middle_leaves_nothing_half_done(
    host: Namespace, said: str, variant: Variant
) -> None:
    add_foreign(host, variant)
    shell(host, f"iptables-{variant} -t raw -L; ip6tables-{variant} -t raw -L")
    before = snapshot(host)
    spoilt = FAILURES[said](needed(look(host, policy(WIRED, WIFI), variant)))
    with pytest.raises(HostError) as failure:
        run_in(host, spoilt)
    assert said in str(failure.value)
    assert snapshot(host) == before


@pytest.mark.parametrize("said", FAILURES)
def test_a_reload_that_fails_leaves_the_old_state_in_force(host: Namespace, said: str) -> None:
    apply_in(host, policy(WIRED, WIFI))
    before = snapshot(host)
    moved = dataclasses.replace(WIFI, gateway="10.1.0.9")
    spoilt = FAILURES[said](needed(look(host, policy(moved, LTE, WIRED))))
    with pytest.raises(HostError, match=said.split(":")[0].removeprefix("-j ")):
        run_in(host, spoilt)
    assert snapshot(host) == before
