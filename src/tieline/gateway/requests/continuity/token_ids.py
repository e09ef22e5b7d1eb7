"""`x-tieline-continuity: token`: the ids of what was delivered, so that another replica goes on from those. Pure.

vLLM: `return_token_ids` puts the prompt's ids (`prompt_token_ids`) in the first chunk and each chunk's own
(`token_ids`) in its choice. llama.cpp: its chat endpoint ignores such fields, but each entry of `logprobs` has
an `id`. Ids whose text has not been delivered (half a UTF-8 sequence, the beginning of a stop string) wait until
it is. Before they are used the new replica turns them back into text, and that must be what was delivered.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from tieline.gateway.requests.body import Request
from tieline.gateway.wire.decoding import json_reader, read_json

_TRUE = msgspec.Raw(b"true")
VLLM_FIELDS = ("token_ids", "prompt_token_ids")


class _Entry(msgspec.Struct, frozen=True, gc=False):
    id: int | None = None


class _Logprobs(msgspec.Struct, frozen=True, gc=False):
    content: tuple[_Entry, ...] | None = None


class _Choice(msgspec.Struct, frozen=True, gc=False):
    token_ids: tuple[int, ...] | None = None
    prompt_token_ids: list[int] | None = None
    logprobs: _Logprobs | None = None


class _Chunk(msgspec.Struct, frozen=True, gc=False):
    choices: tuple[_Choice, ...] | None = None
    prompt_token_ids: list[int] | None = None


_read_vllm = json_reader(_Chunk)


def possible(request: Request, engine: str) -> bool:
    """May this stream be continued from token ids on an engine of this kind? A grammar or a tool's parser would
    begin anew on a token prompt, and an image is no token."""
    if (
        request.continuity != "token" or not request.stream or request.answers != 1 or request.images
        or request.tools or request.structured or request.asks("echo")
    ):  # fmt: skip
        return False
    if engine == "vllm":  # completions give log-probabilities in a form of their own, which is not rebuilt
        return request.kind == "chat" or (request.kind == "completions" and "logprobs" not in request.fields)
    return engine == "llama.cpp" and request.kind == "chat"


class Ids:
    """The ids of one stream."""

    __slots__ = ("_asked", "delivered", "drop", "pending", "prompt", "shown")

    def __init__(self, request: Request, engine: str) -> None:
        self.prompt: list[int] = []
        self.delivered: list[int] = []
        self.pending: list[int] = []
        if engine == "vllm":
            self._asked = {"return_token_ids": _TRUE}
            self.shown = request.asks("return_token_ids")
            self.drop: tuple[str, ...] = () if self.shown else VLLM_FIELDS  # what the client did not ask for
        else:
            self.shown = False
            self._asked = {"logprobs": _TRUE}
            self.drop = () if request.asks("logprobs") else ("logprobs",)

    def ask(self, body: bytes) -> bytes:
        """The request as this engine has to be asked."""
        fields = read_json(body, dict[str, msgspec.Raw])
        return msgspec.json.encode(fields | self._asked)

    def read(self, data: bytes) -> list[int]:
        """The ids in a chunk; the prompt's are remembered."""
        chunk = _read_vllm(data)
        prompt = chunk.prompt_token_ids
        choice = chunk.choices[0] if chunk.choices else None
        if choice is not None and prompt is None:
            prompt = choice.prompt_token_ids
        if prompt and not self.prompt:
            self.prompt = prompt
        if choice is None:
            return []
        if choice.token_ids is not None:
            return list(choice.token_ids)
        entries = choice.logprobs.content if choice.logprobs is not None else None
        return [entry.id for entry in entries or () if entry.id is not None]

    def came(self, ids: Iterable[int], *, with_text: bool) -> list[int]:
        """Ids came, and with them text that is delivered, or none: the ids that this delivers."""
        self.pending.extend(ids)
        if not with_text:
            return []
        ready, self.pending = self.pending, []
        self.delivered += ready
        return ready

    def lost(self) -> None:
        """The replica is gone, and with it what had not been delivered."""
        self.pending.clear()
