"""HTTP and HTTPS requests through one uplink, by aiohttp; names are looked up through it too."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import socket
import ssl
from typing import Any

import aiohttp
import aiohttp.abc
import dns.rdatatype
import dns.resolver

from classifier.policy import Target
from classifier.uplinks.probes.binding import Binding, NoAnswerError, bound_socket
from classifier.uplinks.probes.dns import ask_server

RESOLV_CONF = "/etc/resolv.conf"
_DNS_PORT = 53
_HEADERS = {"User-Agent": "nfq-classifier health probe", "Connection": "close"}


async def probe(target: Target, binding: Binding) -> None:
    """Returns when the target has answered a GET with a status from 200 to 299.

    The body is not read, redirects are not followed, no proxy is used.
    """

    def make_socket(address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        return bound_socket(family, kind, protocol, binding)

    connector = aiohttp.TCPConnector(
        resolver=_Resolver(binding),
        socket_factory=make_socket,
        use_dns_cache=False,
        force_close=True,
        ssl=_tls(),
    )
    try:
        async with (
            aiohttp.ClientSession(connector=connector, headers=_HEADERS) as session,
            session.get(target.text, allow_redirects=False) as response,
        ):
            if not 200 <= response.status <= 299:
                raise NoAnswerError(f"HTTP status {response.status}")
    except aiohttp.ClientConnectorCertificateError as error:
        raise NoAnswerError(f"certificate: {error.certificate_error}") from None
    except aiohttp.ClientConnectorSSLError as error:
        raise NoAnswerError(f"TLS: {error.os_error}") from None
    except aiohttp.ClientConnectorError as error:
        raise error.os_error from None
    except aiohttp.ClientError as error:
        raise NoAnswerError(str(error) or type(error).__name__) from None


@functools.cache
def _tls() -> ssl.SSLContext:
    """Reading the host's certificates takes longer than a request does."""
    return ssl.create_default_context()


class _Resolver(aiohttp.abc.AbstractResolver):
    """IPv4 addresses of a name, from the host's DNS servers asked through an uplink."""

    def __init__(self, binding: Binding) -> None:
        self._binding = binding

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[aiohttp.abc.ResolveResult]:
        addresses = await _first_answer(host, self._binding)
        return [
            aiohttp.abc.ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    async def close(self) -> None:
        pass


async def _first_answer(host: str, binding: Binding) -> list[str]:
    """The addresses of a name by the first server that knows any. All are asked at once, since one
    provider's server often answers nobody who comes by another's line."""
    servers = _servers()
    if not servers:
        raise NoAnswerError(f"no DNS server in {RESOLV_CONF} can be asked through an uplink")
    asked = [asyncio.ensure_future(_addresses(server, host, binding)) for server in servers]
    failures: list[str] = []
    try:
        for answered in asyncio.as_completed(asked):
            try:
                return await answered
            except (OSError, NoAnswerError) as error:
                failures.append(str(error))
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    raise NoAnswerError("; ".join(failures))


async def _addresses(server: str, host: str, binding: Binding) -> list[str]:
    response = await ask_server((server, _DNS_PORT), host, dns.rdatatype.A, binding)
    found = [
        str(record)
        for answer in response.answer
        if answer.rdtype == dns.rdatatype.A
        for record in answer
    ]
    if not found:
        raise NoAnswerError(f"{server} knows no IPv4 address of {host}")
    return found


def _servers() -> list[str]:
    """The DNS servers of this host that are not on it."""
    try:
        listed = dns.resolver.Resolver(filename=RESOLV_CONF).nameservers
    except dns.resolver.NoResolverConfiguration:
        return []
    return [str(server) for server in listed if not ipaddress.ip_address(str(server)).is_loopback]
