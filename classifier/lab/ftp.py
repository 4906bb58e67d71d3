"""FTP through the virtual gateway: one control connection and a data connection of either kind."""

from __future__ import annotations

import ftplib
import importlib.util
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from classifier.errors import LabError
from classifier.lab import python
from classifier.lab.limits import scaled
from classifier.lab.namespace import Namespace

FTP_PORT = 21
FILE = "uplink"
"""The file to fetch; its content is the name of the uplink at which the server stands."""
_TIMEOUT = 5.0
_FAILURES: tuple[type[Exception], ...] = (*ftplib.all_errors, IndexError)


@dataclass(frozen=True, slots=True)
class FtpTransfer:
    passive: bool
    """Who opens the data connection: the client (passive) or the server (active)."""
    control: str | None
    """The uplink by which the control connection left; None when there was none."""
    data: str | None
    """The uplink by which the data came; None when there was no data connection."""
    error: str | None = None

    @property
    def held(self) -> bool:
        """Whether the data came, by the uplink of the control connection."""
        return self.data is not None and self.data == self.control


class _Client(ftplib.FTP):
    def makeport(self) -> socket.socket:
        # ftplib's own leaves the socket open when the server refuses the PORT command.
        assert self.sock is not None
        listener = socket.create_server((self.sock.getsockname()[0], 0), family=self.af, backlog=1)
        try:
            send = self.sendport if self.af == socket.AF_INET else self.sendeprt
            send(*listener.getsockname()[:2])
            listener.settimeout(scaled(_TIMEOUT))
        except BaseException:
            listener.close()
            raise
        return listener


def missing() -> str | None:
    """Why there can be no FTP server, or None when there can."""
    if importlib.util.find_spec("pyftpdlib") is None:
        return "the Python package pyftpdlib is not installed (pip install 'nfq-classifier[lab]')"
    return None


def start_servers(isps: Mapping[str, Namespace], directory: Path) -> None:
    """Start an FTP server at every ISP; they end with their namespaces. LabError when one fails."""
    if (problem := missing()) is not None:
        raise LabError(problem)
    started = []
    for name, isp in isps.items():
        home = directory / f"ftp-{name}"
        home.mkdir()
        (home / FILE).write_text(f"{name}\n")
        with (directory / f"ftp-{name}.log").open("w") as log:
            command = python.module("classifier.lab.ftp_server", name, str(home))
            started.append(isp.popen(command, stdout=subprocess.PIPE, stderr=log))
    for name, server in zip(isps, started, strict=True):
        assert server.stdout is not None
        if server.stdout.readline() != "ready\n":
            said = (directory / f"ftp-{name}.log").read_text().strip()
            raise LabError(f"the FTP server at the ISP of {name} does not start: {said}")


def transfer(lan: Namespace, source: str, remote: str, passive: bool) -> FtpTransfer:
    """Fetch the file from `remote` as the LAN host `source`; a failure is told in the result."""
    control: str | None = None
    lines: list[str] = []
    with lan.enter(), _Client(timeout=scaled(_TIMEOUT)) as client:
        try:
            client.connect(remote, FTP_PORT, source_address=(source, 0))
            control = (client.getwelcome() or "").split()[-1]
            client.login()
            client.set_pasv(passive)
            client.retrlines(f"RETR {FILE}", lines.append)
        except _FAILURES as error:
            return FtpTransfer(passive, control, None, f"{type(error).__name__}: {error}")
    return FtpTransfer(passive, control, lines[0] if lines else None)
