"""A polite reader of other people's web servers: slow, cached, conditional, resumable, bounded.

Knows nothing of filings or releases. One request at a time, spaced; a page seen before is asked for with its
ETag or date and costs nothing where it did not change; an immutable one is not asked for again. A download
that broke off is continued by range. Redirects and links stay on the hosts that were allowed. Retries, waits
and sizes have bounds, and every refusal says what to do.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from tieline.intake import IntakeError, read

# A release has 1 MB, a filing's full text 20 MB.
MAX_BYTES = 50 * 2**20
# Waits double from one second; a server that asks for longer than a minute is left alone.
TRIES = 4
MAX_WAIT_S = 60.0
MAX_REDIRECTS = 5
TIMEOUT_S = 30.0
_RETRY = frozenset({429, 500, 502, 503, 504})

Status = Literal["new", "changed", "unchanged", "cached"]


class FetchError(RuntimeError):
    """A page could not be had; the message says what to do. What was fetched before stays in the cache."""


@dataclass(frozen=True)
class FetchedPage:
    """A page. `unchanged`: the server said so; `cached`: it was not asked."""

    url: str
    body: bytes
    content_type: str
    status: Status


class _Meta(msgspec.Struct, kw_only=True):
    """What is kept beside a page."""

    url: str
    etag: str | None = None
    last_modified: str | None = None
    content_type: str = ""
    encoding: str = ""


_read_meta = msgspec.json.Decoder(_Meta).decode


class CachedFetcher:
    """`hosts` bounds where requests may go, redirects included: `www.sec.gov`, `127.0.0.1:8080`."""

    def __init__(
        self,
        cache: Path,
        hosts: frozenset[str],
        user_agent: str,
        *,
        per_second: float = 5.0,
        max_bytes: int = MAX_BYTES,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if per_second <= 0:
            raise ValueError(f"per_second must be above 0, got {per_second}")
        self._cache, self._hosts = cache, hosts
        self._space_s = 1.0 / per_second
        self._max_bytes = max_bytes
        self._sleep = sleep
        self._turn = asyncio.Lock()
        self._last_s: float | None = None
        self._client = httpx.AsyncClient(
            headers={"User-Agent": user_agent, "Accept-Encoding": "gzip, deflate"},
            timeout=TIMEOUT_S,
            transport=transport,
            follow_redirects=False,
        )
        self.requests = 0

    async def __aenter__(self) -> CachedFetcher:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def get(self, url: str, *, immutable: bool = False) -> FetchedPage:
        """The page at `url`. Raises FetchError."""
        async with self._turn:
            cached, meta = self._load(url)
            if cached is not None and meta is not None and immutable:
                return FetchedPage(url, cached, meta.content_type, "cached")
            return await self._fetch(url, cached, meta)

    async def _fetch(self, url: str, cached: bytes | None, meta: _Meta | None) -> FetchedPage:
        why = ""
        for attempt in range(TRIES):
            try:
                return await self._once(url, cached, meta)
            except _AgainError as again:
                why = str(again)
                if again.wait_s is not None and again.wait_s > MAX_WAIT_S:
                    raise FetchError(f"{url}: {why}; it asks to wait {again.wait_s:.0f} s: come back then") from again
                if attempt + 1 < TRIES:
                    await self._sleep(again.wait_s if again.wait_s is not None else float(2**attempt))
        raise FetchError(f"{url}: {why}; tried {TRIES} times: come back later, what was fetched is kept")

    async def _once(self, url: str, cached: bytes | None, meta: _Meta | None) -> FetchedPage:
        part, part_meta = self._load_part(url)
        headers = {}
        if cached is not None and meta is not None:
            if meta.etag:
                headers["If-None-Match"] = meta.etag
            if meta.last_modified:
                headers["If-Modified-Since"] = meta.last_modified
        elif part and part_meta is not None:
            headers["Range"] = f"bytes={len(part)}-"
            headers["If-Range"] = part_meta.etag or part_meta.last_modified or ""
        target = url
        try:
            for _ in range(MAX_REDIRECTS + 1):
                self._allowed(target)
                await self._space()
                self.requests += 1
                async with self._client.stream("GET", target, headers=headers) as response:
                    if response.has_redirect_location:
                        target = urljoin(target, response.headers.get("location", ""))
                        continue
                    return await self._take(url, response, cached, meta, part)
        except httpx.TransportError as error:
            raise _AgainError(f"{type(error).__name__} {error}".strip()) from error
        except httpx.InvalidURL as error:
            raise FetchError(f"{url}: {error}") from error
        raise FetchError(f"{url}: more than {MAX_REDIRECTS} redirects")

    async def _take(
        self, url: str, response: httpx.Response, cached: bytes | None, meta: _Meta | None, part: bytes
    ) -> FetchedPage:
        code = response.status_code
        if code == 304 and cached is not None and meta is not None:
            return FetchedPage(url, cached, meta.content_type, "unchanged")
        self._refused(url, response)
        fresh = _Meta(
            url=url,
            etag=response.headers.get("etag"),
            last_modified=response.headers.get("last-modified"),
            content_type=response.headers.get("content-type", ""),
            encoding=response.headers.get("content-encoding", "").strip().lower(),
        )
        raw = bytearray(part if code == 206 else b"")
        try:
            async for chunk in response.aiter_raw():
                raw += chunk
                if len(raw) > self._max_bytes:
                    raise FetchError(f"{url}: more than {self._max_bytes:,} bytes; a release has less")
        except httpx.TransportError:
            # Kept only where a later request can ask whether it is still the same page.
            if raw and (fresh.etag or fresh.last_modified):
                self._save_part(url, bytes(raw), fresh)
            raise
        body = _decoded(url, bytes(raw), fresh.encoding, self._max_bytes)
        self._save(url, body, fresh)
        self._drop_part(url)
        return FetchedPage(
            url, body, fresh.content_type, "new" if cached is None else "unchanged" if body == cached else "changed"
        )

    def _refused(self, url: str, response: httpx.Response) -> None:
        """Raises for an answer that brings no page: _AgainError where asking once more may help."""
        code = response.status_code
        if code == 416:
            self._drop_part(url)
            raise _AgainError("the part kept of it no longer fits", 0.0)
        if code in _RETRY:
            raise _AgainError(f"the server answered {code}", _seconds(response.headers.get("retry-after")))
        if code == 403:
            raise FetchError(
                f"{url}: the server answered 403. Name yourself and an e-mail address in the User-Agent; if you did, "
                "you were too fast: wait ten minutes"
            )
        if code not in (200, 206):
            raise FetchError(f"{url}: the server answered {code}")

    def _allowed(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or parts.netloc not in self._hosts:
            raise FetchError(f"{url}: {parts.netloc or 'no host'} is not among the hosts allowed here")

    async def _space(self) -> None:
        """Wait for this request's turn."""
        loop = asyncio.get_running_loop()
        if self._last_s is not None and (left := self._last_s + self._space_s - loop.time()) > 0:
            await self._sleep(left)
        self._last_s = loop.time()

    # --- the cache: <hash>.body and <hash>.json, and .part while a download is broken off

    def _path(self, url: str, ending: str) -> Path:
        name = hashlib.sha256(url.encode()).hexdigest()
        return self._cache / name[:2] / f"{name}.{ending}"

    def _load(self, url: str) -> tuple[bytes | None, _Meta | None]:
        return self._read(url, "body", "json")

    def _load_part(self, url: str) -> tuple[bytes, _Meta | None]:
        body, meta = self._read(url, "part", "part.json")
        return body or b"", meta

    def _read(self, url: str, body: str, meta: str) -> tuple[bytes | None, _Meta | None]:
        try:
            stated = read(self._path(url, meta).read_bytes(), _read_meta)
            return self._path(url, body).read_bytes(), stated
        except (OSError, IntakeError):
            return None, None

    def _save(self, url: str, body: bytes, meta: _Meta) -> None:
        self._write(self._path(url, "body"), body)
        self._write(self._path(url, "json"), msgspec.json.encode(meta))

    def _save_part(self, url: str, raw: bytes, meta: _Meta) -> None:
        self._write(self._path(url, "part"), raw)
        self._write(self._path(url, "part.json"), msgspec.json.encode(meta))

    def _drop_part(self, url: str) -> None:
        for ending in ("part", "part.json"):
            self._path(url, ending).unlink(missing_ok=True)

    def _write(self, path: Path, content: bytes) -> None:
        """Whole or not at all: a cache torn by a power cut is asked for again."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draft = path.with_name(path.name + ".new")
            draft.write_bytes(content)
            os.replace(draft, path)
        except OSError as error:
            raise FetchError(
                f"cannot write the cache {self._cache}: {error.strerror}; give another with --cache"
            ) from error


class _AgainError(Exception):
    """Worth another try, after `wait_s` where the server named a time."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


def _seconds(header: str | None) -> float | None:
    """Retry-After in seconds; its other form, a date, counts as no time named."""
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:
        return None


def _decoded(url: str, raw: bytes, encoding: str, limit: int) -> bytes:
    """The page without its transfer encoding, never more than `limit` bytes of it."""
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "deflate", "x-gzip"):
        raise FetchError(f"{url}: sent as {encoding!r}, which was not asked for")
    try:
        # 32 + 15: zlib tells gzip from zlib streams by their head; a bare deflate stream has neither.
        machine = zlib.decompressobj(47)
        body = machine.decompress(raw, limit + 1)
    except zlib.error:
        try:
            machine = zlib.decompressobj(-15)
            body = machine.decompress(raw, limit + 1)
        except zlib.error as error:
            raise FetchError(f"{url}: cannot be unpacked ({error})") from error
    if len(body) > limit:
        raise FetchError(f"{url}: unpacks to more than {limit:,} bytes")
    if not machine.eof:
        raise FetchError(f"{url}: the packed page is cut off")
    return body
