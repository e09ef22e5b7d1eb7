"""The web server of a fake rig: one request a connection, small bodies, digest login where the firmware asks for it."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

MAX_BODY, REQUEST_TIMEOUT_S = 65536, 5.0
NONCE = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as an object, an empty one where it is none."""
        try:
            content = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return content if isinstance(content, dict) else {}


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """An answer: an object, or text."""

    body: dict[str, Any] | list[Any] | str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


Respond = Callable[[PageRequest], PageAnswer]


async def serve_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, respond: Respond) -> None:
    """Answer requests of one connection until it is closed or asks to be."""
    while True:
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.rstrip().split("\r\n")
            headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
            method, path, _ = first.split(" ", 2)
            length = min(int(headers.get("content-length", "0") or 0), MAX_BODY)
            response = respond(PageRequest(method, path, headers, await reader.readexactly(length)))
            plain = isinstance(response.body, str)
            body = response.body.encode() if isinstance(response.body, str) else json.dumps(response.body).encode()
            close = headers.get("connection", "").lower() == "close"
            out = {
                "Content-Type": "text/html" if plain else "application/json",
                "Content-Length": str(len(body)),
                "Connection": "close" if close else "keep-alive",
                **response.headers,
            }
            top = f"HTTP/1.1 {response.status} {_REASONS.get(response.status, 'OK')}\r\n"
            writer.write((top + "".join(f"{n}: {v}\r\n" for n, v in out.items()) + "\r\n").encode() + body)
            await writer.drain()
            if close:
                return


def digest_refused(asked: PageRequest, realm: str, user: str, password: str) -> PageAnswer | None:
    """None where the request is logged in by digest, else the challenge."""
    given = asked.headers.get("authorization", "")
    parts = {}
    for part in given.removeprefix("Digest ").split(","):
        name, _, value = part.strip().partition("=")
        parts[name.lower()] = value.strip('"')
    one = _md5(f"{user}:{realm}:{password}")
    two = _md5(f"{asked.method}:{parts.get('uri', '')}")
    wanted = _md5(f"{one}:{NONCE}:{parts.get('nc')}:{parts.get('cnonce')}:{parts.get('qop')}:{two}")
    if given.startswith("Digest ") and parts.get("response") == wanted and parts.get("nonce") == NONCE:
        return None
    challenge = f'Digest realm="{realm}", nonce="{NONCE}", qop="auth", algorithm=MD5'
    return PageAnswer("401 Unauthorized", 401, {"WWW-Authenticate": challenge})


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


_REASONS = {200: "OK", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 500: "Internal Server Error"}
