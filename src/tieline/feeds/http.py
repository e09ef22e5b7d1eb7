"""One way to ask a public source: short, bounded, polite, and never with a traceback.

A source that fails is left alone for a while (a minute, then twice as long, up to an hour); one that has not
changed is not sent again (ETag, Last-Modified). What came back is a result: `Fetched`, `Unchanged` or
`Unavailable` with the reason in words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from tieline import __version__
from tieline.intake import IntakeError, read_json

TIMEOUT_S = 8.0
# Fifteen blocks with their pools are 60 KB, fifty stations of weather 30 KB.
MAX_BODY_BYTES = 2_000_000
FIRST_BACKOFF_S, MAX_BACKOFF_S = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class Fetched:
    body: Any


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Asked too soon, or the source said that nothing is new."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    why: str


@dataclass
class Source:
    """One address. `every_s`: it is not asked more often than this in real seconds, whatever the world's
    clock does."""

    url: str
    every_s: float
    timeout_s: float = TIMEOUT_S
    _failures: int = 0
    _not_before_s: float | None = None
    _tags: dict[str, str] = field(default_factory=dict)

    async def get(self, params: Mapping[str, str | int | float] | None = None) -> Fetched | Unchanged | Unavailable:
        now_s = asyncio.get_running_loop().time()
        if self._not_before_s is not None and now_s < self._not_before_s:
            return Unchanged()
        answer = await self._ask(params)
        if isinstance(answer, Unavailable):
            failed_s = asyncio.get_running_loop().time()  # a source that hung is left alone as long as any other
            self._not_before_s = failed_s + min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2.0**self._failures)
            self._failures = min(self._failures + 1, 10)
        else:
            self._not_before_s, self._failures = now_s + self.every_s, 0
        return answer

    async def _ask(self, params: Mapping[str, str | int | float] | None) -> Fetched | Unchanged | Unavailable:
        headers = {"user-agent": f"tieline/{__version__}", "accept": "application/json", **self._tags}
        try:
            async with (
                asyncio.timeout(self.timeout_s),
                httpx.AsyncClient(timeout=self.timeout_s, follow_redirects=False) as client,
                client.stream("GET", self.url, params=params, headers=headers) as response,
            ):
                if response.status_code == 304:
                    return Unchanged()
                if response.status_code != 200:
                    return Unavailable(f"{self.url} answered {response.status_code}")
                body = bytearray()
                async for piece in response.aiter_bytes():
                    body += piece
                    if len(body) > MAX_BODY_BYTES:
                        return Unavailable(f"{self.url} sent more than {MAX_BODY_BYTES:,} bytes")
        except TimeoutError:
            return Unavailable(f"{self.url} did not answer within {self.timeout_s:g} s")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return Unavailable(f"{self.url} cannot be reached ({type(error).__name__})")
        try:
            content = read_json(bytes(body), MAX_BODY_BYTES)
        except IntakeError:
            return Unavailable(f"{self.url} sent something that is not JSON")
        self._tags = {
            ask: response.headers[validator]
            for validator, ask in (("etag", "if-none-match"), ("last-modified", "if-modified-since"))
            if validator in response.headers
        }
        return Fetched(content)
