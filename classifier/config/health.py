"""The tables [uplinks.NAME.health]."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from urllib.parse import urlsplit

from classifier.config import values
from classifier.config.reading import Parse, Table, WrongValueError
from classifier.policy import Health, ProbeKind, Target

_PROBE: Parse[ProbeKind] = values.choice("icmp", "tcp", "dns", "http")
_DNS_PORT = 53
_WEB_PORTS = {"http": 80, "https": 443}
_SHORTEST_INTERVAL = 0.1
_MOST_ROUNDS = 1000
_LONGEST_URL = 2048
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*\.?")
_WITH_PORT = re.compile(r"(?:\[([^][]+)\]|([^][:]+)):([0-9]{1,5})")


def read_health(uplink: Table) -> Health | None:
    """The health table of an uplink; None where it has none."""
    if "health" not in uplink:
        return None
    table = uplink.table("health")
    if not isinstance(uplink.raw("health"), Mapping):
        return None
    default = Health("icmp", ())
    probe = table.required("probe", _PROBE, None)
    name = table.one("name", _dns_name, ".")
    if "name" in table and probe not in ("dns", None):
        table.wrong("name", 'only has a meaning with probe = "dns"')
    loss = table.one("loss", values.integer(1, 100), default.loss)
    latency = table.one("latency", values.duration, default.latency)
    rounds = values.integer(1, _MOST_ROUNDS)
    health = Health(
        probe=probe or default.probe,
        targets=_read_targets(table, probe, name),
        interval=table.one("interval", _interval, default.interval),
        timeout=table.one("timeout", values.duration, default.timeout),
        down=table.one("down", rounds, default.down),
        up=table.one("up", rounds, default.up),
        need=table.one("need", values.integer(1, _MOST_ROUNDS), default.need),
        window=table.one("window", rounds, default.window),
        loss=loss,
        loss_ok=table.one("loss_ok", values.integer(0, 100), loss // 4),
        latency=latency,
        latency_ok=table.one("latency_ok", values.duration, latency / 2),
    )
    _check(health, table, uplink)
    table.finish()
    return health


def _check(health: Health, table: Table, uplink: Table) -> None:
    if health.loss_ok > health.loss:
        table.wrong("loss_ok", f"must not be above loss, which is {health.loss}")
    if health.latency_ok > health.latency:
        table.wrong("latency_ok", "must not be above latency")
    written = table.raw("targets")
    if not isinstance(written, list) or len(written) == len(health.targets):  # none was wrong
        for family, count in Counter(target.family for target in health.targets).items():
            if health.need > count:
                rule = f"is more than the IPv{family} targets, of which there are {count}"
                table.wrong("need", rule)
    if "gateway6" not in uplink:
        for index, target in enumerate(health.targets):
            if target.family == 6:
                table.wrong("targets", "needs gateway6: this uplink takes no IPv6 flows", index)


def _read_targets(table: Table, probe: ProbeKind | None, name: str) -> tuple[Target, ...]:
    def parse(value: object) -> Target:
        # Without a kind of probe, which is a mistake of its own, a target cannot be judged.
        return _target(value, probe, name) if probe else Target(str(value), "")

    if "targets" not in table:
        table.required("targets", parse, None)
        return ()
    return table.many("targets", parse, distinct=True)


def _target(value: object, probe: ProbeKind, name: str) -> Target:
    if probe == "icmp":
        rule = 'must be an address such as "192.0.2.1"'
        return Target(str(value), _host(value, rule))
    if probe == "http":
        return _url(value)
    if probe == "tcp":
        rule = 'must be an address with a port such as "192.0.2.1:443" or "[2001:db8::1]:443"'
        return _with_port(value, rule)
    rule = 'must be the address of a DNS server such as "192.0.2.1" or "192.0.2.1:5353"'
    if isinstance(value, str) and _WITH_PORT.fullmatch(value):
        found = _with_port(value, rule)
        return Target(found.text, found.host, found.port, name)
    return Target(str(value), _host(value, rule), _DNS_PORT, name)


def _host(value: object, rule: str) -> str:
    address = values.address(value, rule)
    if not values.is_unicast(address):
        raise WrongValueError(f"{rule}, not an unspecified, loopback or multicast address")
    return str(address)


def _with_port(value: object, rule: str) -> Target:
    match = _WITH_PORT.fullmatch(value) if isinstance(value, str) else None
    if match is None or not 0 < int(match[3]) <= 65535:
        raise WrongValueError(rule)
    host = _host(match[1] or match[2], rule)
    if (":" in host) != bool(match[1]):
        raise WrongValueError(rule)
    return Target(match[0], host, int(match[3]))


def _url(value: object) -> Target:
    rule = 'must be a URL such as "http://192.0.2.1/" or "https://example.org/health"'
    if not isinstance(value, str) or len(value) > _LONGEST_URL or not value.isascii():
        raise WrongValueError(rule)
    if not value.isprintable() or " " in value:
        raise WrongValueError(rule)
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        raise WrongValueError(rule) from None
    if parts.scheme not in _WEB_PORTS or not parts.hostname or port == 0:
        raise WrongValueError(rule)
    if parts.username is not None or parts.fragment:
        raise WrongValueError(f"{rule}, without a user or a fragment")
    host = parts.hostname
    if ":" in host or re.fullmatch(r"[0-9.]+", host):
        host = _host(host, rule)
    elif not _HOST_NAME.fullmatch(host):
        raise WrongValueError(rule)
    return Target(value, host, port or _WEB_PORTS[parts.scheme])


def _dns_name(value: object) -> str:
    if not isinstance(value, str) or not (value == "." or _HOST_NAME.fullmatch(value)):
        raise WrongValueError('must be a name such as "example.org"')
    return value


def _interval(value: object) -> float:
    seconds = values.duration(value)
    if seconds < _SHORTEST_INTERVAL:
        raise WrongValueError('must be at least "100ms"')
    return seconds
