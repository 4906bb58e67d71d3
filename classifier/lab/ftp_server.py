"""An FTP server that says at which uplink it stands: `python -m classifier.lab.ftp_server`.

Runs as a child in an ISP's namespace. Its banner is the uplink's name, and so is the content of
the file `uplink`: where the control connection arrived is read from the one, which server sent
the data from the other.
"""

from __future__ import annotations

import socket
import sys
import warnings

with warnings.catch_warnings():
    # pyftpdlib stands on asyncore, which the standard library calls deprecated.
    warnings.simplefilter("ignore")
    from pyftpdlib.authorizers import DummyAuthorizer
    from pyftpdlib.handlers import FTPHandler
    from pyftpdlib.servers import FTPServer

from classifier.lab.ftp import FTP_PORT


def main() -> None:
    name, home = sys.argv[1:]
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(home)

    class Handler(FTPHandler):  # type: ignore[misc]
        pass

    Handler.authorizer = authorizer
    Handler.banner = name
    # The lab's addresses are made up: who asked is answered, wherever the data goes.
    Handler.permit_foreign_addresses = True
    # One for each family, on the event loop that all servers of pyftpdlib share.
    server = FTPServer(socket.create_server(("", FTP_PORT)), Handler)
    FTPServer(socket.create_server(("", FTP_PORT), family=socket.AF_INET6), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
