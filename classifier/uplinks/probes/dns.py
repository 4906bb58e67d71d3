"""DNS queries over UDP, RFC 1035, through one uplink; messages are made and read by dnspython."""

from __future__ import annotations

import asyncio
import socket

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from classifier.policy import Target
from classifier.uplinks.probes.binding import Binding, NoAnswerError, bound_socket, socket_family

_LONGEST = 65535
_ANSWERS = (dns.rcode.NOERROR, dns.rcode.NXDOMAIN)


async def probe(target: Target, binding: Binding) -> None:
    """Returns when the server has said what it knows of `target.name`, if only that it is not."""
    kind = dns.rdatatype.NS if target.name == "." else dns.rdatatype.A
    response = await ask_server((target.host, target.port), target.name, kind, binding)
    if response.rcode() not in _ANSWERS:
        raise NoAnswerError(f"the server answers {dns.rcode.to_text(response.rcode())}")


async def ask_server(
    server: tuple[str, int], name: str, kind: dns.rdatatype.RdataType, binding: Binding
) -> dns.message.Message:
    """The response of a server; packets that are none to this query are passed over."""
    loop = asyncio.get_running_loop()
    query = dns.message.make_query(dns.name.from_text(name), kind)
    family = socket_family(server[0])
    with bound_socket(family, socket.SOCK_DGRAM, socket.IPPROTO_UDP, binding) as sock:
        # From here on the kernel hands over what comes from this server only.
        sock.connect(server)
        sock.send(query.to_wire())
        while True:
            packet = await loop.sock_recv(sock, _LONGEST)
            try:
                response = dns.message.from_wire(packet, ignore_trailing=True)
            except dns.exception.DNSException:
                continue
            if query.is_response(response):
                return response
