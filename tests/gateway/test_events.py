"""What changes on the host is noticed, and what cannot matter never reaches the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from typing import Any

import pytest
from host_snapshots import shell

from classifier.lab.namespace import Namespace
from classifier.service.events import HostEvents
from classifier.service.link_change import LinkChange

SECONDS = 30.0
HOST = """
for i in 0 1; do
    ip link add eth$i type veth peer name peer$i
    for end in eth$i peer$i; do ip link set $end up addrgenmode none; done
    ip addr add 10.$i.0.1/24 dev eth$i
    ip addr add 2001:db8:$i::1/64 dev eth$i nodad
done
sysctl -qw net.ipv4.conf.eth1.rp_filter=0 net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0
for family in -4 -6; do ip $family rule add pref 20801 fwmark 0x100/0x3f00 lookup 20801; done
ip route add 192.0.2.0/24 via 10.0.0.2 table 20801 proto 78
ip -6 route add 2001:db8:99::/48 via 2001:db8::2 table 20801 proto 78
iptables-nft -t mangle -A PREROUTING -p udp -j ACCEPT
nft add table inet theirs
nft add table inet sets
nft 'add set inet sets s { type ipv4_addr; elements = { 192.0.2.1 } ; }'
"""
ELEMENTS_AND_A_RULE = """
nft -f - <<END
add element inet sets s { 1.1.1.1 }
add chain inet sets c
add rule inet sets c accept
add element inet sets s { 1.1.1.2 }
END
"""
Story = Callable[["Watch"], Coroutine[Any, Any, None]]


class Watch:
    """`HostEvents` of a host, with what they told, while a test changes it."""

    def __init__(self, host: Namespace) -> None:
        self.host = host
        self._again = asyncio.Event()
        self._fences = 0
        self.kinds: list[str] = []
        self.links: list[LinkChange] = []
        with host.enter():
            self.events = HostEvents(self._changed, own_protocol=78, link_changed=self.links.append)

    def _changed(self, kind: str) -> None:
        self.kinds.append(kind)
        self._again.set()

    async def change(self, script: str) -> None:
        await asyncio.to_thread(shell, self.host, script)

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(SECONDS):
            while not holds():
                self._again.clear()
                await self._again.wait()

    async def told_link(self, **values: object) -> LinkChange:
        def fitting() -> list[LinkChange]:
            return [
                link
                for link in self.links
                if all(getattr(link, name) == value for name, value in values.items())
            ]

        await self.until(lambda: bool(fitting()))
        return fitting()[-1]

    async def received_beside(self, script: str) -> int:
        """Messages that reached us because of `script`: each socket delivers them in order."""
        before = self.events.received
        self._fences += 1
        self.kinds.clear()
        await self.change(f"{script}\nip rule add pref {self._fences} lookup 9")
        await self.until(lambda: "rule" in self.kinds)
        self.kinds.clear()
        await self.change(f"nft add table fence{self._fences}")
        await self.until(lambda: "firewall" in self.kinds)
        return self.events.received - before - 2


def routes(number: int, protocol: str) -> str:
    """A script that adds so many routes of a protocol by way of a gateway, and deletes them."""
    return f"""
        for ((i = 0; i < {number}; i++)); do
            echo route add 172.16.$((i / 256)).$((i % 256)) via 10.0.0.2 table 333 proto {protocol}
        done | ip -batch -
        ip route flush table 333
    """


@pytest.fixture
def watched(host: Namespace) -> Iterator[Callable[[Story], None]]:
    """`watched(story)` runs it on a loop, with a `Watch` of a host on which all is told."""

    async def tell(story: Story) -> None:
        watch = Watch(host)
        with closing(watch.events):
            await story(watch)

    shell(host, HOST)
    yield lambda story: asyncio.run(tell(story))


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        ("ip link set eth0 down", "link"),
        ("ip link set peer0 down", "link"),
        ("ip link del eth0", "link"),
        ("ip addr add 10.7.0.1/24 dev eth0", "address"),
        ("ip addr del 10.0.0.1/24 dev eth0", "address"),
        ("ip addr add 2001:db8:7::1/64 dev eth0 nodad", "address"),
        ("ip addr del 2001:db8::1/64 dev eth0", "address"),
        ("ip rule del pref 20801", "rule"),
        ("ip -6 rule del pref 20801", "rule"),
        ("ip route del 192.0.2.0/24 table 20801", "route"),
        ("ip -6 route del 2001:db8:99::/48 table 20801", "route"),
        ("ip route flush table 20801", "route"),
        ("ip route add default via 10.0.0.2 table 333 proto static", "route"),
        ("ip -6 route add default via 2001:db8::2 proto ra", "route"),
        ("ip route add 10.8.0.0/24 dev eth0", "route"),
        ("ip -6 route del 2001:db8::/64 dev eth0", "route"),
        ("sysctl -qw net.ipv4.conf.eth1.rp_filter=1", "sysctl"),
        ("sysctl -qw net.ipv4.ip_forward=1", "sysctl"),
        ("sysctl -qw net.ipv6.conf.all.forwarding=1", "sysctl"),
        ("iptables-nft -t mangle -F", "firewall"),
        ("iptables-nft -t mangle -F PREROUTING", "firewall"),
        ("iptables-nft-restore <<< $'*mangle\\nCOMMIT'", "firewall"),
        ("nft flush ruleset", "firewall"),
        ("nft delete table inet theirs", "firewall"),
        # A rule among elements of sets, which come as one.
        (ELEMENTS_AND_A_RULE, "firewall"),
    ],
)
def test_a_change_of_the_host_is_told(
    watched: Callable[[Story], None], script: str, kind: str
) -> None:
    async def story(watch: Watch) -> None:
        assert watch.kinds == []
        await watch.change(script)
        await watch.until(lambda: kind in watch.kinds)

    watched(story)


@pytest.mark.parametrize(
    "script",
    [
        "ip route add 10.8.0.0/24 via 10.0.0.2 proto static",
        "ip route add 10.8.0.0/24 via 10.0.0.2 table 333 proto static",
        "ip route add 10.8.0.7/32 dev eth0 proto bird",
        "ip route add 10.8.0.0/24 dev eth0 table 333 proto static",
        "ip route add blackhole 10.8.0.0/16",
        "ip -6 route add 2001:db8:8::/64 via 2001:db8::2 proto static",
        "ip -6 route add 2001:db8:8::7/128 dev eth0 proto bird",
        "ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev eth0",
        # A limit of the kernel's, and why there is also a look now and then.
        "iptables-legacy -t mangle -A PREROUTING -p udp -j ACCEPT; iptables-legacy -t mangle -F",
    ],
)
def test_a_change_that_cannot_matter_or_makes_no_event_reaches_nobody(
    watched: Callable[[Story], None], script: str
) -> None:
    async def story(watch: Watch) -> None:
        assert await watch.received_beside(script) == 0

    watched(story)


def test_of_ten_thousand_foreign_route_changes_none_reaches_the_service(
    watched: Callable[[Story], None],
) -> None:
    async def story(watch: Watch) -> None:
        assert await watch.received_beside(routes(5000, "bird")) == 0
        assert await watch.received_beside(routes(100, "78")) == 200, "the same changes, but ours"

    watched(story)


def test_elements_of_sets_that_others_change_all_day_wake_nobody(
    watched: Callable[[Story], None],
) -> None:
    async def story(watch: Watch) -> None:
        ban = "for i in {1..50}; do nft add element inet sets s { 10.0.0.$i }; done"
        assert await watch.received_beside(ban) == 0
        assert await watch.received_beside("nft delete element inet sets s { 10.0.0.1 }") == 0
        # A list that is loaded: as many elements at a time as go into a page.
        load = "nft add element inet sets s { $(echo 10.{1..50}.0.{1..100} | tr ' ' ,) }"
        assert await watch.received_beside(load) == 0
        assert await watch.received_beside("nft flush set inet sets s") == 0

    watched(story)


def test_a_kernel_that_allows_less_memory_for_filters_wakes_the_service_all_the_same(
    host: Namespace,
) -> None:
    """20 KiB were the default before Linux 6.8."""
    shell(host, HOST + "sysctl -qw net.core.optmem_max=20480")

    async def story() -> None:
        watch = Watch(host)
        with closing(watch.events):
            assert await watch.received_beside("nft add element inet sets s { 10.0.0.1 }") == 0
            assert await watch.received_beside(ELEMENTS_AND_A_RULE) > 0

    asyncio.run(story())


def test_a_big_transaction_of_nftables_is_few_messages(
    watched: Callable[[Story], None],
) -> None:
    async def story(watch: Watch) -> None:
        script = """
            {
                echo add table ip many
                for i in {1..3000}; do echo add chain ip many c$i; done
            } | nft -f -
        """
        assert 1 <= await watch.received_beside(script) < 100

    watched(story)


def test_events_that_were_lost_are_a_sign_to_look_at_everything(
    watched: Callable[[Story], None],
) -> None:
    async def story(watch: Watch) -> None:
        # The loop reads nothing meanwhile: more than the socket's buffer holds.
        shell(watch.host, routes(5000, "78"))
        await watch.until(lambda: "everything" in watch.kinds)
        assert watch.events.received < 10_000
        # Not empty yet: this is lost too, without another ENOBUFS. It has to be told too.
        shell(watch.host, "ip link set eth0 down")
        watch.kinds.clear()
        await watch.until(lambda: "everything" in watch.kinds)
        async with asyncio.timeout(SECONDS):
            while "link" not in watch.kinds:  # until the socket is empty
                await watch.change("ip link set eth0 up; ip link set eth0 down")
        await watch.received_beside("")
        assert await watch.received_beside("") == 0
        assert "everything" not in watch.kinds, "once the socket was empty, nothing is lost"

    watched(story)


def test_a_flood_of_changes_that_matter_is_told_a_few_times_only(
    watched: Callable[[Story], None],
) -> None:
    async def story(watch: Watch) -> None:
        begun = asyncio.get_running_loop().time()
        await watch.change(routes(5000, "78"))
        took = asyncio.get_running_loop().time() - begun
        assert 1 <= watch.kinds.count("route") <= took / 0.005 + 1, "a socket rests for 5 ms"

    watched(story)


def test_a_link_tells_how_it_is(watched: Callable[[Story], None]) -> None:
    async def story(watch: Watch) -> None:
        await watch.change("ip link set peer0 down")
        lost = await watch.told_link(name="eth0", carrier=False)
        assert (lost.up, lost.gone) == (True, False)
        watch.links.clear()
        await watch.change("ip link set peer0 up")
        back = await watch.told_link(name="eth0", carrier=True)
        assert back == LinkChange(lost.index, "eth0", up=True, carrier=True, gone=False)
        await watch.change("ip link set eth0 down")
        down = await watch.told_link(name="eth0", up=False)
        assert (down.carrier, down.gone) == (False, False)
        await watch.change("ip link del eth0")
        gone = await watch.told_link(name="eth0", gone=True)
        assert (gone.index, gone.carrier) == (lost.index, False)

    watched(story)


def test_a_renamed_link_keeps_its_index(watched: Callable[[Story], None]) -> None:
    async def story(watch: Watch) -> None:
        await watch.change("ip link set eth0 down; ip link set eth0 name wan")
        old = await watch.told_link(name="eth0")
        assert (await watch.told_link(name="wan")).index == old.index

    watched(story)


def test_a_port_that_leaves_a_bridge_is_not_gone(watched: Callable[[Story], None]) -> None:
    async def story(watch: Watch) -> None:
        await watch.change(
            "ip link add br0 type bridge; ip link set eth0 master br0; ip link set eth0 nomaster"
        )
        await watch.change("ip link del br0")
        await watch.told_link(name="br0", gone=True)
        assert [link.name for link in watch.links if link.gone] == ["br0"]

    watched(story)


def test_other_namespaces_are_not_watched(watched: Callable[[Story], None]) -> None:
    async def story(watch: Watch) -> None:
        with Namespace.create("elsewhere") as elsewhere:
            await asyncio.to_thread(shell, elsewhere, "ip link set lo down; nft add table x")
            assert await watch.received_beside("") == 0

    watched(story)


def test_after_close_nothing_is_told(watched: Callable[[Story], None]) -> None:
    async def story(watch: Watch) -> None:
        await watch.change("ip link set eth0 down")
        await watch.until(lambda: "link" in watch.kinds)
        watch.events.close()  # while it rests
        watch.events.close()
        told = len(watch.kinds)
        await watch.change("ip link set eth0 up; nft flush ruleset")
        await asyncio.sleep(0.02)  # longer than a rest; a listener left over would fail by now
        assert len(watch.kinds) == told

    watched(story)
