"""Kinds of probes: each asks one target through one uplink, and returns when it has answered.

A kind is a file with a function `probe(target, binding)` that returns on an answer that counts, and
raises otherwise: `OSError` as the kernel told it, or `NoAnswerError` with words of its own. `ask`
makes an `Answer` of either, within a time limit.

Names and addresses go to the kernel and to libraries as data; no program is started.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable

from classifier.policy import ProbeKind, Target
from classifier.uplinks.health import Answer
from classifier.uplinks.probes.binding import Binding, NoAnswerError

Probe = Callable[[Target, Binding], Awaitable[None]]


def probe_of(kind: ProbeKind) -> Probe:
    """The function of a kind. Imports what it needs, which may take a second: before it is due."""
    match kind:
        case "icmp":
            from classifier.uplinks.probes import icmp

            return icmp.probe
        case "tcp":
            from classifier.uplinks.probes import tcp

            return tcp.probe
        case "dns":
            from classifier.uplinks.probes import dns

            return dns.probe
        case "http":
            from classifier.uplinks.probes import http

            return http.probe


async def ask(probe: Probe, target: Target, binding: Binding, timeout: float) -> Answer:
    """What a target answers within `timeout` seconds; a failure says why."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(timeout):
            await probe(target, binding)
    except TimeoutError:
        return Answer(None, f"no answer within {timeout:g}s")
    except OSError as error:
        return Answer(None, os.strerror(error.errno) if error.errno else str(error))
    except NoAnswerError as error:
        return Answer(None, str(error))
    return Answer(loop.time() - began)
