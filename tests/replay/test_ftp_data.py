"""FTP data connections go where their control connection went, and nothing else does."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from capture_files import ACK, FIN_ACK, RAW, SYN, SYN_ACK, Captured, at, ipv4, ipv6, pcap, tcp
from hypothesis import given
from hypothesis import strategies as st

from classifier.config import parse_policy
from classifier.policy import Policy
from classifier.replay import FlowDecision, Replay, replay

POLICY = """
[gateway]
lan = ["lan0"]
{helpers}
[uplinks.a]
interface = "eth0"
gateway = "192.0.2.1"
gateway6 = "2001:db8::1"
[uplinks.b]
interface = "eth1"
gateway = "198.51.100.1"
gateway6 = "2001:db8:1::1"
[balancers.all]
uplinks = ["a", "b"]
[[rules]]
use = "all"
"""
CLIENT, SERVER = "192.168.1.2", "198.51.100.7"
CLIENT6, SERVER6 = "2001:db8:5::2", "2001:db8:9::7"
HELPED = parse_policy(POLICY.format(helpers='helpers = ["ftp"]'))
UNHELPED = parse_policy(POLICY.format(helpers=""))


class Session:
    """An FTP control connection, and what else its two hosts do."""

    def __init__(self, port: int = 40000, client: str = CLIENT, server: str = SERVER) -> None:
        self.client, self.server, self._port = client, server, port
        self.frames: list[Captured] = []
        self.time = 0.0
        self._next = {client: 1000, server: 2_147_483_600}  # sequence numbers wrap soon
        self.send(client, self._port, 21, SYN)
        self.send(server, 21, self._port, SYN_ACK)
        self.send(client, self._port, 21, ACK)
        self.reply("220 welcome")
        self.command("USER anonymous")
        self.reply("230 go on")

    def send(self, sender: str, sport: int, dport: int, flags: int, body: bytes = b"") -> None:
        self.time += 0.01
        of_control = 21 in (sport, dport)
        seq = self._next[sender] if of_control else 1
        if of_control:
            self._next[sender] = (seq + len(body) + bool(flags & 0x03)) % 2**32
        receiver = self.server if sender == self.client else self.client
        packet = ipv6 if ":" in sender else ipv4
        segment = tcp(sport, dport, flags, body, seq=seq)
        self.frames.append(at(self.time, packet(sender, receiver, 6, segment)))

    def command(self, line: str, end: str = "\r\n") -> None:
        self.send(self.client, self._port, 21, ACK, (line + end).encode())

    def reply(self, line: str, end: str = "\r\n") -> None:
        self.send(self.server, 21, self._port, ACK, (line + end).encode())

    def client_opens(self, port: int, sport: int = 50000) -> None:
        self.send(self.client, sport, port, SYN)
        self.send(self.server, port, sport, SYN_ACK)

    def server_opens(self, port: int, sport: int = 20) -> None:
        self.send(self.server, sport, port, SYN)
        self.send(self.client, port, sport, SYN_ACK)


def decisions(session: Session, write, policy: Policy = HELPED, **options) -> list[FlowDecision]:
    path = write(pcap(session.frames, link=RAW))
    return list(replay(policy, path, seed=1, **options).decisions)


def related(session: Session, write, **options) -> list[tuple[str | None, bool]]:
    """Uplinks of the flows, and whether they were announced."""
    found = decisions(session, write, **options)
    assert all((d.rule is None) == (d.reason == "related") for d in found)
    return [(d.uplink, d.reason == "related") for d in found]


@pytest.mark.parametrize(
    "reply",
    [
        "227 Entering Passive Mode (198,51,100,7,195,80)",
        "227 Entering Passive Mode 198,51,100,7,195,80.",
        "227 =198,51,100,7,195,80",
        "229 Entering Extended Passive Mode (|||50000|)",
        "229 go (!!!50000!)",
    ],
)
def test_passive_data_follow(write, reply):
    session = Session()
    session.command("PASV" if reply.startswith("227") else "EPSV")
    session.reply(reply)
    session.client_opens(50000)
    session.client_opens(50000, sport=50001)
    assert related(session, write) == [("a", False), ("a", True), ("b", False)]


@pytest.mark.parametrize(
    "command", ["PORT 192,168,1,2,195,80", "port 192,168,1,2,195,80", "EPRT |1|192.168.1.2|50000|"]
)
@pytest.mark.parametrize("lan", [[], ["192.168.0.0/16"]])
def test_active_data_follow_though_they_come_from_outside(write, command, lan):
    session = Session()
    session.command(command)
    session.reply("200 fine")
    session.server_opens(50000)
    found = related(session, write, lan=lan)
    assert found == [("a", False), ("a", True)]
    session.server_opens(50000, sport=2020)
    assert len(related(session, write, lan=lan)) == (2 if lan else 3), "announced for one only"


def test_data_follow_over_ipv6(write):
    for announce in ("229 Entering (|||50000|)", f"EPRT |2|{CLIENT6}|50000|"):
        session = Session(client=CLIENT6, server=SERVER6)
        if announce.startswith("EPRT"):
            session.command(announce)
            session.server_opens(50000)
        else:
            session.reply(announce)
            session.client_opens(50000)
        assert related(session, write) == [("a", False), ("a", True)]


def test_without_the_helper_they_are_decided_like_any_other(write):
    session = Session()
    session.reply("227 (198,51,100,7,195,80)")
    session.client_opens(50000)
    found = decisions(session, write, UNHELPED)
    assert [(d.uplink, d.reason) for d in found] == [("a", "nth"), ("b", "nth")]


def test_the_next_announcement_takes_the_place_of_the_last(write):
    session = Session()
    session.reply("229 x (|||50000|)")
    session.reply("229 x (|||50001|)")
    session.client_opens(50000)
    session.client_opens(50001)
    assert related(session, write) == [("a", False), ("b", False), ("a", True)]


def test_many_transfers_of_one_control_connection_all_follow(write):
    session = Session()
    for n in range(20):
        session.command("EPSV")
        session.reply(f"229 x (|||{50000 + n}|)")
        session.client_opens(50000 + n)
        session.reply("226 done")
    assert related(session, write) == [("a", False), *[("a", True)] * 20]


def test_what_was_announced_is_expected_for_five_minutes(write):
    for seconds, announced in ((299, True), (301, False)):
        session = Session()
        session.reply("229 x (|||50000|)")
        session.time += seconds
        session.client_opens(50000)
        assert related(session, write)[1][1] is announced


def test_a_control_connection_that_has_ended_announces_nothing_any_more(write):
    session = Session()
    session.reply("229 x (|||50000|)")
    session.send(CLIENT, 40000, 21, FIN_ACK)
    session.send(SERVER, 21, 40000, FIN_ACK)
    session.send(CLIENT, 40000, 21, ACK)
    session.time += 130  # longer than TIME_WAIT
    session.client_opens(50000)
    assert related(session, write)[1] == ("b", False)


def test_what_is_no_line_of_its_own_announces_nothing(write):
    """Somebody may send a text in which such a line stands, and have a hole opened by it."""
    session = Session()
    session.reply("211-a long text that ends", end=" in the next packet: ")
    session.reply("229 x (|||50000|)")
    session.client_opens(50000)
    assert related(session, write)[1] == ("b", False)


@pytest.mark.parametrize(
    "reply",
    [
        "227 (198,51,100,8,195,80)",  # another host
        "227 (198,51,100,7,195)",
        "227 (198,51,100,7,456,80)",
        "229 (|||0|)",
        "229 (|||123456|)",
        "229 (||50000|)",
        "229 50000",
        "228 (198,51,100,7,195,80)",
        "227",
    ],
)
def test_what_announces_no_connection_to_the_server_is_not_expected(write, reply):
    session = Session()
    session.reply(reply)
    session.client_opens(50000)
    assert related(session, write)[1] == ("b", False)


def test_a_line_sent_twice_counts_once_and_loses_nothing(write):
    session = Session()
    session.command("EPSV")
    before = dict(session._next)
    session.reply("229 x (|||50000|)")
    session._next = before
    session.reply("229 x (|||50000|)")
    session.client_opens(50000)
    session.command("EPSV")
    session.reply("229 x (|||50001|)")
    session.client_opens(50001)
    assert related(session, write) == [("a", False), ("a", True), ("a", True)]


def test_packets_cut_behind_the_announcement_still_announce(write):
    session = Session()
    session.reply("229 Entering Extended Passive Mode (|||50000|) and much more than is captured")
    session.client_opens(50000)
    session.reply("229 Entering Extended Passive Mode (|||50001|) and much more than is captured")
    session.client_opens(50001, sport=50001)
    session.frames = [Captured(f.time, f.data[:90], len(f.data)) for f in session.frames]
    assert related(session, write) == [("a", False), ("a", True), ("a", True)]


def test_when_its_uplink_fails_control_and_data_begin_anew_together(write):
    session = Session()
    session.command("EPSV")
    session.reply("229 x (|||50000|)")
    session.time = 10
    session.client_opens(50000)  # announced on a connection that is gone: decided by itself
    session.command("NOOP")
    session.reply("200 fine")
    session.command("EPSV")
    session.reply("229 x (|||50001|)")
    session.client_opens(50001)
    found = decisions(session, write, at=["5s a down"])
    assert [(d.dport, d.uplink, d.reason) for d in found] == [
        (21, "a", "nth"), (50000, "b", "nth"), (21, "b", "nth"), (50001, "b", "related"),
    ]  # fmt: skip


def interleaved(sessions: Iterable[Session]) -> list[Captured]:
    return sorted((frame for s in sessions for frame in s.frames), key=lambda frame: frame.time)


def test_thousands_of_sessions_at_once_keep_theirs_apart(write):
    """More control connections than there is room for at first, and as many that end."""
    chance = random.Random(1)
    sessions = []
    for n in range(1500):
        session = Session(port=20000 + n, client=f"192.168.{n % 200}.{n % 7 + 1}")
        for transfer in range(2):
            session.time += chance.random()
            session.reply(f"229 x (|||{50000 + n % 500 + 1000 * transfer}|)")
            session.time += chance.random() / 100
            session.client_opens(50000 + n % 500 + 1000 * transfer, sport=3000 + n)
        sessions.append(session)
    path = write(pcap(interleaved(sessions), link=RAW))
    uplinks: dict[tuple[str, int], str | None] = {}
    wrong = 0
    for decision in replay(HELPED, path, seed=1).decisions:
        if decision.dport == 21:
            uplinks[decision.src, decision.sport - 20000] = decision.uplink
        else:
            wrong += decision.reason != "related"
            if decision.reason == "related":
                assert decision.uplink == uplinks[decision.src, decision.sport - 3000]
    assert len(uplinks) == 1500
    # Where two sessions of one client wait at the same port at once, the second is not expected.
    assert wrong < 30


LINES = st.one_of(
    st.binary(max_size=80),
    st.tuples(
        st.sampled_from([b"227 ", b"229 ", b"PORT", b"EPRT", b"eprt "]),
        st.text("0123456789,.|!( )\r\nab:", max_size=70).map(str.encode),
    ).map(b"".join),
)


@given(st.lists(st.tuples(st.booleans(), LINES), max_size=12), st.integers(30, 200))
def test_any_bytes_on_a_control_connection_are_read_within_their_bounds(
    tmp_path_factory, lines, cut
):
    session = Session()
    for from_server, line in lines:
        sender, sport, dport = (SERVER, 21, 40000) if from_server else (CLIENT, 40000, 21)
        session.send(sender, sport, dport, ACK, line + b"\n")
    frames = [Captured(f.time, f.data[:cut], len(f.data)) for f in session.frames]
    path = tmp_path_factory.mktemp("any") / "any.pcap"
    path.write_bytes(pcap(frames, link=RAW))
    run = Replay(HELPED, seed=1)
    run.read(path)
    assert run.report().packets == len(frames)
