"""One HTTP request to a rig's own page, on a bare socket, with digest authentication where it asks for it.

Rigs speak HTTP/1.0 or 1.1 and close when asked to. The nonce of the last challenge is used again, so that a poll is one
exchange.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Any

import msgspec

from tieline.edge.rigs.wire import RefusalError, SilentError, ask
from tieline.intake import IntakeError, read_json

PORT = 80


class RigPage:
    """The page of one rig. `user` and `password`: for digest authentication."""

    def __init__(self, address: str, port: int = PORT, user: str = "root", password: str = "root") -> None:
        self._address, self._port, self._user, self._password = address, port, user, password
        self._challenge: dict[str, str] = {}
        self._count = 0

    async def json(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """The answer's object, or a list as `items`. Raises SilentError, and RefusalError for 401 and 403 with the
        password given."""
        for again in (True, False):
            status, answer_head, content = await self._once(method, path, body, headers or {})
            if status in (401, 403) and again and answer_head.lower().startswith("digest"):
                self._challenge, self._count = _parts(answer_head[6:]), 0
                continue
            break
        if status in (401, 403):
            raise RefusalError(f"{path}: the password was refused")
        if 400 <= status < 500:
            raise RefusalError(f"{path}: {status} {content[:80].decode('ascii', 'replace')}")
        if not 200 <= status < 300:
            raise SilentError(f"{self._address}:{self._port}{path} answered {status}")
        try:
            decoded = read_json(content) if content.strip() else {}
        except IntakeError:
            decoded = None
        if isinstance(decoded, list):
            return {"items": decoded}
        if not isinstance(decoded, dict):
            shown = content[:40].decode("ascii", "replace")
            raise SilentError(f"{self._address}:{self._port}{path} answered no object: {shown!r}")
        return decoded

    async def _once(self, method: str, path: str, body: object, more: dict[str, str]) -> tuple[int, str, bytes]:
        content = b"" if body is None else msgspec.json.encode(body)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self._address}", "Connection: close", "Accept: */*"]
        lines += [f"{name}: {value}" for name, value in more.items()]
        if self._challenge:
            lines.append(f"Authorization: {self._digest(method, path)}")
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        answer = await ask(self._address, self._port, "\r\n".join(lines).encode() + b"\r\n\r\n" + content)
        return _parsed(answer, f"{self._address}:{self._port}")

    def _digest(self, method: str, path: str) -> str:
        """RFC 2617 with MD5, as rigs' web servers ask for it."""
        self._count += 1
        realm, nonce = self._challenge.get("realm", ""), self._challenge.get("nonce", "")
        count, own = f"{self._count:08x}", secrets.token_hex(8)
        one = _md5(f"{self._user}:{realm}:{self._password}")
        two = _md5(f"{method}:{path}")
        response = _md5(f"{one}:{nonce}:{count}:{own}:auth:{two}")
        return (
            f'Digest username="{self._user}", realm="{realm}", nonce="{nonce}", uri="{path}", response="{response}", '
            f'algorithm=MD5, qop=auth, nc={count}, cnonce="{own}"'
        )


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _parsed(answer: bytes, where: str) -> tuple[int, str, bytes]:
    """Status, challenge and body. Raises SilentError for what is no HTTP answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    words = first.split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/") or not words[1].isdigit():
        raise SilentError(f"{where} answered no HTTP: {first[:40]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body, where)
    return int(words[1]), headers.get("www-authenticate", ""), body


def _unchunked(body: bytes, where: str) -> bytes:
    out = bytearray()
    while True:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            raise SilentError(f"{where} cut its answer off") from None
        if length == 0:
            return bytes(out)
        out += rest[:length]
        body = rest[length + 2 :]


def _parts(text: str) -> dict[str, str]:
    """`a="b", c=d` as a mapping."""
    parts = {}
    for part in text.split(","):
        name, _, value = part.strip().partition("=")
        parts[name.lower()] = value.strip('"')
    return parts
