"""The chat box's way to the gateway: the page never sees the key.

One request to the gateway's own OpenAI-compatible door, with the console's demo key, relayed as it streams.
It is an ordinary tenant's request: admitted, routed, billed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import httpx
import msgspec

# A chat box, not a batch: ten exchanges of a few paragraphs, and answers of a page.
MAX_MESSAGES, MAX_CHARS, MAX_TOKENS = 24, 12_000, 512
# The gateway keeps a stream alive itself; silence for this long means that nobody is there.
TIMEOUT = httpx.Timeout(60.0, connect=3.0)


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant", "system"]
    content: str


class ChatForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    messages: list[Message]
    model: str | None = None


class Chat:
    """Holds the key and one connection pool."""

    def __init__(self, gateway_url: str, key: str | None) -> None:
        self.url = gateway_url.rstrip("/").removesuffix("/v1")
        self._key = key
        self._client: httpx.AsyncClient | None = None

    @property
    def ready(self) -> bool:
        return self._key is not None

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def client(self) -> httpx.AsyncClient:
        """Made on first use: a console whose chat is never opened does not load it."""
        if self._client is None:
            limits = httpx.Limits(max_connections=32, max_keepalive_connections=4)
            self._client = httpx.AsyncClient(timeout=TIMEOUT, limits=limits, trust_env=False)
        return self._client

    async def ask(self, form: ChatForm, model: str | None, key: str | None = None) -> httpx.Response:
        """The gateway's streaming answer, open; the caller closes it. `key`: another one than the console's own.
        Raises httpx.HTTPError, ValueError."""
        key = key or self._key
        if not form.messages or len(form.messages) > MAX_MESSAGES:
            raise ValueError(f"messages: send 1 to {MAX_MESSAGES}; start a new conversation")
        if sum(len(m.content) for m in form.messages) > MAX_CHARS:
            raise ValueError(f"messages: over {MAX_CHARS} characters together; start a new conversation")
        model = form.model or model
        if model is None:
            model = await self._first_model(key)
        body = {
            "model": model,
            "messages": msgspec.to_builtins(form.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": MAX_TOKENS,
        }
        request = self.client().build_request(
            "POST", f"{self.url}/v1/chat/completions", content=msgspec.json.encode(body), headers=_headers(key)
        )
        return await self.client().send(request, stream=True)

    async def _first_model(self, key: str | None) -> str:
        answer = await self.client().get(f"{self.url}/v1/models", headers=_headers(key))
        answer.raise_for_status()
        listed = answer.json().get("data") or []
        if not listed:
            raise ValueError("the gateway serves no model yet; wait for a replica to be ready")
        return str(listed[0]["id"])


def _headers(key: str | None) -> dict[str, str]:
    return {"authorization": f"Bearer {key}", "content-type": "application/json"}


async def relay(answer: httpx.Response) -> AsyncIterator[bytes]:
    """The answer's bytes as they come; an answer that breaks off ends in an error event, never in silence."""
    try:
        async for chunk in answer.aiter_raw():
            yield chunk
    except httpx.HTTPError as error:
        why = msgspec.json.encode({"error": {"message": f"the answer broke off: {type(error).__name__}"}})
        yield b"\n\ndata: " + why + b"\n\n"
    finally:
        await answer.aclose()
