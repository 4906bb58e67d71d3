"""A queue that cannot be bound: the error says who holds it, or which right is missing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest
from queued import Backend, both_backends
from queued import bound as queue_bound

from classifier import policy
from classifier.engine.classifier import Classifier
from classifier.engine.engine import Engine
from classifier.errors import QueueError
from classifier.lab.namespace import Namespace
from classifier.queue.binding import Binding, bind
from classifier.queue.netfilterqueue import LibraryQueue
from classifier.queue.packet_queue import QueueSettings

pytestmark = pytest.mark.gateway

NUMBER = 7
NETLINK_NETFILTER = 12
HOLD = f"""
from classifier.queue.binding import bind
from classifier.queue.netfilterqueue import LibraryQueue
from classifier.queue.packet_queue import QueueSettings
held = bind({NUMBER}, QueueSettings())
print("bound", flush=True)
input()
"""


def engine_of_no_rules() -> Engine:
    uplinks = (policy.Uplink("wired", 1, "eth0"),)
    return Classifier(policy.Policy(policy.Gateway(), policy.Queue(), uplinks), seed=7).engine


def bound(host: Namespace) -> Binding:
    with host.enter():
        return bind(NUMBER, QueueSettings())


def test_process_that_holds_the_queue_is_named(host: Namespace) -> None:
    holder = host.popen(
        [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    assert holder.stdout is not None
    assert holder.stdout.readline() == "bound\n"
    with pytest.raises(QueueError) as refused:
        bound(host)
    said = str(refused.value)
    assert said.startswith(f"cannot bind queue {NUMBER}: it is bound by process {holder.pid} (")
    assert sys.executable in said


def test_process_is_named_when_the_kernel_gave_its_socket_another_number(host: Namespace) -> None:
    """The first netlink socket of a process has its pid as address, the next ones have not."""
    with host.enter():
        first = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    with first:
        first.bind((0, 0))
        held = bound(host)
        with held.socket:
            assert held.socket.getsockname()[0] != os.getpid()
            with pytest.raises(QueueError, match=rf"bound by process {os.getpid()} \("):
                bound(host)


def test_missing_right_is_told_from_a_queue_that_is_taken(host: Namespace) -> None:
    held = bound(host)
    with held.socket:
        tried = host.run(
            ["setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin",
             "--", sys.executable, "-c", HOLD],
            check=False,
        )  # fmt: skip
    assert tried.returncode == 1
    assert f"cannot bind queue {NUMBER}: this process lacks CAP_NET_ADMIN" in tried.stderr


def test_queue_of_another_namespace_is_free_here(host: Namespace) -> None:
    with bound(host).socket, Namespace.create("other") as other, bound(other).socket:
        pass


@both_backends
def test_second_reader_is_told_of_the_first_by_either_backend(
    host: Namespace, backend: Backend
) -> None:
    by = engine_of_no_rules()
    held = queue_bound(host, backend, by)
    with pytest.raises(QueueError, match=rf"bound by process {os.getpid()} \("):
        queue_bound(host, backend, by)
    held.close()


def test_backend_that_is_not_installed_names_what_to_install(
    host: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "netfilterqueue", None)  # as if it were not installed
    with pytest.raises(QueueError, match=r"pip install 'nfq-classifier\[netfilterqueue\]'"):
        queue_bound(host, LibraryQueue, engine_of_no_rules())
