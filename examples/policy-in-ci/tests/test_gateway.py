"""What the gateway's policy has to do with a day's traffic, before it carries any."""

import pytest


@pytest.fixture
def office(policy_replay):
    return policy_replay("gateway.toml", "office.pcap", lan=["192.168.0.0/16"])


def test_fibre_takes_about_three_quarters(office):
    office.share("fibre").between(0.65, 0.85)


def test_terminals_never_use_lte(office):
    office.never(uplink="lte", dport=22)


def test_a_remote_sees_one_address(office):
    office.same_uplink(by="remote", protocol="tcp", dport=443)


def test_terminals_survive_a_failure_of_fibre(policy_replay):
    failing = policy_replay("gateway.toml", "office.pcap", at=["0s fibre down"])
    failing.never(uplink="direct")
    failing.never(uplink="drop")


def test_the_proposal_moves_few_flows(policy_replay):
    proposed = policy_replay("gateway.toml", "office.pcap", against="proposed.toml")
    proposed.moved_at_most(0.25)
