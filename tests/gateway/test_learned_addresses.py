"""Addresses and gateways that others hand out, by DHCP, by router advertisements or with a tunnel
that is made anew: new flows follow each change without a reload."""

from __future__ import annotations

import fcntl
import os
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from host_service import eventually
from host_snapshots import shell

from classifier.host.state import TABLE_BASE
from classifier.lab.flow_keys import five_tuple, flow_key
from classifier.lab.topology import ISP_INTERFACE

if TYPE_CHECKING:
    from conftest import Configuration, StartLab

    from classifier.lab.lab import Lab
    from classifier.lab.namespace import Namespace

WEIGHTS = {"wired": 1, "wifi1": 1}

# What clients do with a lease, as Debian's default.script does but for /etc/resolv.conf.
LEASED = """\
#!/bin/sh
case $1 in
bound|renew)
    busybox ifconfig $interface $ip netmask $subnet
    ip -4 route flush exact 0.0.0.0/0 dev $interface
    ip -4 route add default via $router dev $interface metric 200 ;;
deconfig)
    busybox ifconfig $interface 0.0.0.0 ;;
esac
"""

ADVERTISED = """\
interface customer {
    AdvSendAdvert on;
    MinRtrAdvInterval 200;
    MaxRtrAdvInterval 600;
    prefix 2001:db8:99::/64 { AdvOnLink on; AdvAutonomous on; };
};
"""

_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x1, 0x1000  # linux/if_tun.h


def routed_by(gateway: Lab, uplink: str, family: int = 4) -> str:
    """The default route of the uplink's table, in words; empty: there is none."""
    table = gateway.policy.uplink(uplink).id + TABLE_BASE
    routes = gateway.gateway.run(f"ip -{family} route show table all".split()).stdout
    return "".join(line for line in routes.splitlines() if f" table {table} " in line)


def sources(gateway: Lab, uplink: str, family: int = 4) -> set[str]:
    """The source addresses of new flows on an uplink; only when all new flows are answered."""
    gateway.tap.clear()
    flows = gateway.flows(10, "tcp", 8080, family=family)
    if None in gateway.connect(flows).values():
        return set()
    seen = gateway.tap.flows().items()
    return {flow.src for flow, names in seen if uplink in names and flow.src and flow.dport == 8080}


@contextmanager
def running(host: Namespace, command: str) -> Iterator[subprocess.Popen[str]]:
    """A program in a namespace, stopped by SIGTERM in the end."""
    output = subprocess.PIPE
    process = host.popen(command.split(), stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        print(command, *process.communicate(timeout=20), sep="\n")


def dhcp_server(isp: Namespace, network: str, router: str) -> str:
    """The command; the ISP has got the first address of the network, and the router's."""
    own = {f"{network}.1", router}
    shell(isp, "".join(f"ip addr replace {a}/24 dev {ISP_INTERFACE}\n" for a in sorted(own)))
    return (
        f"dnsmasq --no-daemon --conf-file=/dev/null --port=0 --interface={ISP_INTERFACE}"
        " --bind-interfaces --leasefile-ro --dhcp-authoritative --no-ping"
        f" --dhcp-range={network}.10,{network}.10,255.255.255.0,1h --dhcp-option=3,{router}"
    )


@pytest.mark.programs("dnsmasq", "udhcpc")
def test_a_dhcp_server_that_hands_out_another_gateway_or_network_is_followed(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    text = configuration(WEIGHTS).replace('gateway = "192.0.3.1"', 'gateway = "auto"')
    gateway = lab(text, service=False)
    isp = gateway.isps["wifi1"]
    shell(gateway.gateway, "ip addr flush dev eth1")
    shell(isp, f"ip addr flush dev {ISP_INTERFACE}")
    script = tmp_path / "leased"
    script.write_text(LEASED)
    script.chmod(0o755)
    gateway.start_service()
    assert gateway.status()["uplinks"]["wifi1"]["reason"] == "eth1 has no IPv4 address"

    client = f"udhcpc -f -i eth1 -t 10 -T 1 -A 1 -s {script}"
    with running(gateway.gateway, client) as udhcpc:

        def leased(network: str, router: str) -> None:
            """Ask the server of now, and see that it is followed."""
            with running(isp, dhcp_server(isp, network, router)):
                udhcpc.send_signal(signal.SIGUSR1)
                eventually(lambda: f"via {router} " in routed_by(gateway, "wifi1"), router)
            eventually(lambda: sources(gateway, "wifi1") == {f"{network}.10"}, network)

        leased("10.50.0", "10.50.0.1")
        leased("10.50.0", "10.50.0.254")
        shell(isp, f"ip addr flush dev {ISP_INTERFACE}")
        leased("10.51.0", "10.51.0.1")
    assert gateway.status()["healed"] == 0


def router_daemon(directory: Path) -> str:
    """The command; it advertises when it starts, and after that only when it is asked to."""
    config = directory / "radvd.conf"
    config.write_text(ADVERTISED)
    return f"radvd --nodaemon --logmethod=stderr --config={config} --pidfile={directory}/pid"


@pytest.mark.programs("radvd")
def test_router_advertisements_are_followed_to_another_router_and_when_one_is_withdrawn(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink='gateway6 = "auto"'), service=False)
    isp = gateway.isps["wifi1"]
    shell(gateway.gateway, "ip -6 route flush dev eth1; ip -6 addr flush dev eth1 scope global")
    shell(isp, f"ip -6 addr flush dev {ISP_INTERFACE}")
    gateway.gateway.sysctl("net.ipv6.conf.eth1.accept_ra", 1)
    gateway.start_service()
    command = router_daemon(tmp_path)
    for router in ("fe80::11", "fe80::12"):
        shell(isp, f"ip addr add {router}/64 dev {ISP_INTERFACE} nodad")
        shell(isp, f"ip -6 route replace 2001:db8:99::/64 dev {ISP_INTERFACE}")
        with running(isp, command):
            eventually(lambda: f"via {router} " in routed_by(gateway, "wifi1", 6), router)  # noqa: B023
            eventually(
                lambda: {s[:12] for s in sources(gateway, "wifi1", 6)} == {"2001:db8:99:"},
                "IPv6 flows leave with an address of the prefix",
            )
        # It has said good-bye: an advertisement with a lifetime of 0 (RFC 4861, 6.2.5).
        eventually(lambda: routed_by(gateway, "wifi1", 6) == "", "the router is withdrawn")
        assert sources(gateway, "wifi1", 6) == set()
        assert "IPv6: no IPv6 route by eth1" in gateway.status()["uplinks"]["wifi1"]["reason"]
        assert len(sources(gateway, "wifi1")) == 1, "IPv4 goes on"
        shell(isp, f"ip addr del {router}/64 dev {ISP_INTERFACE}")


# The port of a switch, where a router hears nothing of who comes and goes.
SWITCH = """\
ip link add customer type bridge
ip link set customer up addrgenmode none
ip addr add fe80::11/64 dev customer nodad
for name in port eth; do
    ip link add ${name}1 type veth peer name ${name}2
    ip link set ${name}2 master customer up
done
sysctl -qw net.ipv6.conf.eth1.accept_ra=1
for name in port eth; do ip link set ${name}1 up; done
"""


@pytest.mark.programs("radvd")
def test_a_link_that_comes_later_asks_for_its_router(
    lab: StartLab, configuration: Configuration, tmp_path: Path
) -> None:
    gateway = lab(configuration(WEIGHTS, uplink='gateway6 = "auto"'), service=False)
    shell(gateway.gateway, "ip link del eth1")
    gateway.gateway.sysctl("net.ipv6.conf.default.accept_ra", 1)
    gateway.start_service()
    isp = gateway.isps["wifi1"]
    shell(isp, SWITCH)
    with running(isp, router_daemon(tmp_path)):
        heard = "ip -6 route show default dev eth1"
        eventually(lambda: "fe80::11" in shell(isp, heard), "the router has advertised itself")
        shell(isp, "ip link set eth1 down")
        place = f"/proc/self/fd/{gateway.gateway.fileno()}"
        move = f"ip link set eth1 netns {place}".split()
        isp.run(move, pass_fds=[gateway.gateway.fileno()])
        begun = time.monotonic()
        shell(gateway.gateway, "ip link set eth1 up")
        eventually(lambda: "via fe80::11 " in routed_by(gateway, "wifi1", 6), "its router is known")
        assert time.monotonic() - begun < 12, "that was its next advertisement, after 16 s"


@contextmanager
def tunnel(host: Namespace, address: str) -> Iterator[Callable[[], set[str]]]:
    """A TUN device as a PPP program would make one; tells the sources of what was sent into it."""
    with host.enter():
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", b"tun9", _IFF_TUN | _IFF_NO_PI))

    def heard() -> set[str]:
        found: set[str] = set()
        while True:
            try:
                key = flow_key(os.read(device, 2048))
            except BlockingIOError:
                return found
            if key is not None and (source := five_tuple(key).src):
                found.add(source)

    try:
        shell(host, f"ip addr add {address}/32 dev tun9; ip link set tun9 up")
        yield heard
    finally:
        os.close(device)


def test_a_tunnel_made_anew_with_another_address_is_followed(
    lab: StartLab, configuration: Configuration
) -> None:
    if not Path("/dev/net/tun").exists():
        pytest.skip("there is no /dev/net/tun here")
    text = configuration(WEIGHTS).replace('"eth1"\ngateway = "192.0.3.1"', '"tun9"')
    gateway = lab(text, service=False)
    shell(gateway.gateway, "ip link del tun9")
    gateway.start_service()
    for address in ("192.0.2.200", "192.0.2.201", "192.0.2.202"):
        with tunnel(gateway.gateway, address) as heard:

            def follows(heard: Callable[[], set[str]] = heard, address: str = address) -> bool:
                heard()
                gateway.send(gateway.flows(10, "udp", 5000))
                return heard() == {address}

            eventually(follows, f"flows leave with {address}")
        eventually(
            lambda: gateway.status()["uplinks"]["wifi1"]["state"] == "down", "the tunnel is gone"
        )
        taken = gateway.connect(gateway.flows(4, "tcp", 8080))
        assert set(taken.values()) == {"wired"}
    assert gateway.status()["healed"] == 0
