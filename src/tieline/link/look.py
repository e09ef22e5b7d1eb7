"""Whether a server of the link answers: it speaks first, to whoever connects."""

from __future__ import annotations

import socket
import ssl
from typing import Final

# A server says who it is at once; one behind a cut cable says nothing.
PATIENCE_S: Final = 2.0
_FIRST: Final = b"INFO {"


def answers(server: str, authority: str | None) -> str:
    """Why there is no server of the link at HOST:PORT; "": there is one. `authority`: who signed its certificate (PEM),
    where it speaks over TLS. No password is shown to it."""
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_connection((host, int(port)), PATIENCE_S) as connection:
            if authority is None:
                return _said(connection)
            with ssl.create_default_context(cadata=authority).wrap_socket(connection, server_hostname=host) as private:
                return _said(private)
    except TimeoutError:
        return f"no answer within {PATIENCE_S:.0f} s"
    except (OSError, ValueError) as error:
        return str(error)


def _said(connection: socket.socket) -> str:
    said = connection.recv(len(_FIRST))
    return "" if said and _FIRST.startswith(said) else "something else listens there"
