"""What single TOML values mean: durations, ports, networks, protocols, users and the like.

Each function takes the value as tomllib gave it and returns its meaning, or raises
`WrongValueError` with the rule that it breaks.
"""

from __future__ import annotations

import grp
import ipaddress
import pwd
import re
from collections.abc import Collection
from typing import TypeVar

from classifier.config.names import DSCP_NAMES, PROTOCOL_NAMES
from classifier.config.reading import Parse, WrongValueError, did_you_mean
from classifier.policy import RESERVED_NAMES, Network, PortRange

W = TypeVar("W", bound=str)

_DURATION = re.compile(r"([0-9]+)(ms|s|m|h)")
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_RATE = re.compile(r"([0-9]{1,9})([kmg])bit")
_BYTES_PER_SECOND = {"k": 125, "m": 125_000, "g": 125_000_000}
_LONGEST_DURATION = 366 * 24 * 3_600_000
_PORTS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_PREFIX = re.compile(r"[^/%]+(/[0-9]{1,3})?")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,32}")
_LARGEST_USER = 2**32 - 2  # the last number is how the kernel says "none"


def boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise WrongValueError("must be true or false")
    return value


def integer(first: int, last: int) -> Parse[int]:
    """A parser of integers from `first` to `last`."""

    def parse(value: object) -> int:
        number = _integer(value)
        if number is None or not first <= number <= last:
            raise WrongValueError(f"must be an integer from {first} to {last}")
        return number

    return parse


def choice(*words: W) -> Parse[W]:
    """A parser of one of `words`."""

    def parse(value: object) -> W:
        for word in words:
            if word == value:
                return word
        hint = did_you_mean(value, words) if isinstance(value, str) else ""
        raise WrongValueError(f"must be {one_of(words)}{hint}")

    return parse


def one_of(words: Collection[str]) -> str:
    quoted = [f'"{word}"' for word in words]
    return f"{', '.join(quoted[:-1])} or {quoted[-1]}" if len(quoted) > 1 else quoted[0]


def duration(value: object) -> float:
    """Seconds, from integer seconds or text such as "90s"; milliseconds are the finest unit."""
    rule = 'must be whole seconds or text such as "500ms", "90s", "10m" or "4h"'
    seconds = _integer(value)
    if seconds is not None:
        milliseconds = seconds * 1000
    elif isinstance(value, str) and (match := _DURATION.fullmatch(value)) and len(value) < 20:
        milliseconds = int(match[1]) * _MILLISECONDS[match[2]]
    else:
        raise WrongValueError(rule)
    if not 0 < milliseconds <= _LONGEST_DURATION:
        raise WrongValueError(f"{rule}, longer than 0 and at most a year")
    return milliseconds / 1000


def rate(value: object) -> int:
    """Bytes per second, from text such as "20mbit"; 1 kbit is 1000 bits."""
    rule = 'must be a rate such as "500kbit", "20mbit" or "1gbit"'
    match = _RATE.fullmatch(value) if isinstance(value, str) else None
    if match is None or not int(match[1]):
        raise WrongValueError(rule)
    return int(match[1]) * _BYTES_PER_SECOND[match[2]]


def ports(value: object) -> PortRange:
    rule = 'must be a port from 0 to 65535 or a range such as "6660-6669"'
    number = _integer(value)
    if number is not None:
        first = last = number
    elif isinstance(value, str) and (match := _PORTS.fullmatch(value)):
        first, last = int(match[1]), int(match[2])
    else:
        raise WrongValueError(rule)
    if first > last:
        raise WrongValueError(
            f'the first port of a range must not be above the last: "{last}-{first}"'
        )
    if not 0 <= first <= last <= 65535:
        raise WrongValueError(rule)
    return first, last


def protocol(value: object) -> int:
    number = _integer(value)
    if isinstance(value, str):
        number = PROTOCOL_NAMES.get(value.lower())
        if number is None:
            hint = did_you_mean(value.lower(), PROTOCOL_NAMES)
            raise WrongValueError(
                f'must be the name of a protocol such as "tcp", or its number{hint}'
            )
    if number is None or not 0 <= number <= 255:
        raise WrongValueError(
            'must be the name of a protocol such as "tcp", or a number from 0 to 255'
        )
    return number


def dscp(value: object) -> int:
    number = _integer(value)
    if isinstance(value, str):
        number = DSCP_NAMES.get(value.lower())
    if number is None or not 0 <= number <= 63:
        raise WrongValueError(
            'must be a number from 0 to 63 or a name such as "ef", "cs1" or "af41"'
        )
    return number


def network(value: object) -> Network:
    """An IPv4 or IPv6 network; a single address is a network of its own."""
    rule = 'must be an address or a network such as "192.168.0.0/16" or "2001:db8::/32"'
    if not isinstance(value, str) or not _PREFIX.fullmatch(value):
        raise WrongValueError(rule)
    try:
        return ipaddress.ip_network(value)
    except ValueError:
        pass
    try:
        loose = ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise WrongValueError(rule) from None
    raise WrongValueError(f'has host bits set; the network is "{loose}"')


def network_of(family: str | None) -> Parse[Network]:
    """A parser of networks of the family "ipv4" or "ipv6", or of either."""

    def parse(value: object) -> Network:
        parsed = network(value)
        if family is not None and family != f"ipv{parsed.version}":
            raise WrongValueError(f'is not of family "{family}", which this rule requires')
        return parsed

    return parse


def gateway4(value: object) -> str:
    """An IPv4 address in its usual spelling, or "auto"."""
    if value == "auto":
        return "auto"
    rule = 'must be the IPv4 address of a gateway, or "auto"'
    found = address(value, rule)
    if found.version != 4:
        raise WrongValueError(f"{rule}; an IPv6 address belongs in gateway6")
    if not is_unicast(found) or found == ipaddress.IPv4Address("255.255.255.255"):
        raise WrongValueError(
            f"{rule}, not an unspecified, loopback, multicast or broadcast address"
        )
    return str(found)


def gateway6(value: object) -> str:
    """An IPv6 address in its usual spelling, or "auto"."""
    if value == "auto":
        return "auto"
    rule = 'must be the IPv6 address of a gateway, or "auto"'
    found = address(value, rule)
    if found.version != 6:
        raise WrongValueError(f"{rule}; an IPv4 address belongs in gateway")
    if not is_unicast(found):
        raise WrongValueError(f"{rule}, not an unspecified, loopback or multicast address")
    return str(found)


def interface(value: object) -> str:
    """The name of a network interface.

    Kernel: dev_valid_name in net/core/dev.c, sysctl_dev_name_is_allowed in net/ipv4/devinet.c.
    Quotes and backslashes, which the kernel would allow, mean something to iptables-restore.
    """
    if (
        not isinstance(value, str)
        or not 1 <= len(value.encode(errors="surrogatepass")) <= 15
        or value in (".", "..")
        or any(c in "/:\"'\\" or c.isspace() or not c.isprintable() for c in value)
    ):
        raise WrongValueError(
            'must be the name of an interface: 1 to 15 characters, no space, quote, "/" or ":"'
        )
    if value in ("all", "default"):
        raise WrongValueError(
            f'must be the name of an interface; "{value}" is reserved by the kernel'
        )
    if value.endswith("+"):  # iptables would take it for every interface that begins so
        raise WrongValueError(
            "must name one interface, not a pattern; list each interface by its full name"
        )
    return value


def user(value: object) -> int:
    """A numeric user id, or a user name of this host."""
    number = _integer(value)
    if isinstance(value, str):
        try:
            return pwd.getpwnam(value).pw_uid
        except (KeyError, ValueError):
            raise WrongValueError("must be a user of this host, or a numeric user id") from None
    if number is None or not 0 <= number <= _LARGEST_USER:
        raise WrongValueError(f"must be a user name or a numeric user id from 0 to {_LARGEST_USER}")
    return number


def group(value: object) -> str:
    """The name of a group of this host."""
    rule = "must be the name of a group of this host"
    if not isinstance(value, str):
        raise WrongValueError(rule)
    try:
        return grp.getgrnam(value).gr_name
    except (KeyError, ValueError):
        raise WrongValueError(rule) from None


def command(value: object) -> tuple[str, ...]:
    """A program and its arguments, as execve(2) takes them: no shell reads any of it."""
    if (
        not isinstance(value, list)
        or not value
        or not all(isinstance(word, str) and "\0" not in word for word in value)
        or not value[0].startswith("/")
    ):
        raise WrongValueError(
            "must be a list of the absolute path of a program, and its arguments, each by itself:"
            ' no shell reads them, so ["/bin/sh", "-c", "..."] if you want one'
        )
    return tuple(value)


def mask(value: object) -> int:
    number = _integer(value)
    rule = "must be at least 3 contiguous bits within 32 bits, such as 0x3f00"
    if number is None or not 0 < number < 2**32:
        raise WrongValueError(rule)
    lowest = number & -number
    if number.bit_count() < 3 or (number + lowest) & number:
        raise WrongValueError(rule)
    return number


def text(value: object) -> str:
    """A name for people to read: 1 to 64 printable characters."""
    if not isinstance(value, str) or not 1 <= len(value) <= 64 or not value.isprintable():
        raise WrongValueError("must be text of 1 to 64 printable characters")
    return value


def string(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValueError("must be a name in quotes")
    return value


def name_rule(name: str) -> str | None:
    """The rule that `name` breaks as the name of an uplink or balancer, or None."""
    if name in RESERVED_NAMES:
        return f'"{name}" is reserved and cannot be a name'
    if not _NAME.fullmatch(name):
        return 'a name has 1 to 32 characters: letters, digits, "_", "." and "-"'
    return None


def _integer(value: object) -> int | None:
    """`value` if it is a TOML integer; to Python, true and false are integers too."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def address(value: object, rule: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address without a zone; `rule` is what a wrong value is told."""
    if not isinstance(value, str) or "%" in value:
        raise WrongValueError(rule)
    try:
        return ipaddress.ip_address(value)
    except ValueError:
        raise WrongValueError(rule) from None


def is_unicast(found: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return not (found.is_unspecified or found.is_loopback or found.is_multicast)
