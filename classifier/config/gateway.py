"""The tables [gateway] and [queue]."""

from __future__ import annotations

from typing import Literal

from classifier.config import values
from classifier.config.reading import Table, WrongValueError
from classifier.policy import Gateway, Queue

HELPERS = (
    "amanda", "ftp", "h323", "irc", "netbios-ns", "pptp", "sane", "sip", "snmp", "tftp",
)  # fmt: skip
"""The conntrack helpers of the kernel (net/netfilter/nf_conntrack_*.c)."""

_MOST_QUEUES = 64
_LONGEST_QUEUE = 1_048_576


def read_gateway(table: Table) -> Gateway:
    gateway = Gateway(
        lan=table.many("lan", values.interface, may_be_empty=True, distinct=True),
        local=table.one("local", values.boolean, True),
        mask=table.one("mask", values.mask, Gateway().mask),
        firewall=table.one("firewall", _firewall, "auto"),
        helpers=table.many("helpers", values.choice(*HELPERS), may_be_empty=True, distinct=True),
        control_group=table.one("control_group", values.group, None),
        on_change=table.one("on_change", values.command, ()),
    )
    if not gateway.local and not table.raw("lan"):
        table.wrong("local", "false needs interfaces in lan, otherwise no flow would be classified")
    table.finish()
    return gateway


def read_queue(table: Table) -> Queue:
    defaults = Queue()
    queue = Queue(
        first=table.one("first", values.integer(0, 65535), defaults.first),
        count=table.one("count", values.integer(1, _MOST_QUEUES), defaults.count),
        length=table.one("length", values.integer(1, _LONGEST_QUEUE), defaults.length),
        backend=table.one("backend", values.choice("native", "netfilterqueue"), defaults.backend),
        overload=table.one("overload", values.choice("accept", "drop"), defaults.overload),
    )
    if queue.numbers[-1] > 65535:
        table.wrong("first", f"the last of {queue.count} queues would be above 65535")
    table.finish()
    return queue


def _firewall(value: object) -> Literal["auto", "nftables", "iptables"]:
    if value == "nftables":
        raise WrongValueError('is not built yet; use "auto" or "iptables"')
    values.choice("auto", "iptables")(value)
    return "iptables" if value == "iptables" else "auto"
