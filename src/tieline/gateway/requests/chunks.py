"""What a later hop of a stream says, whatever form it says it in, and the form its client began to read. Pure.

A stream that began on a chat endpoint may go on on llama.cpp's `/completion` or on `/v1/completions`: each
frame is read into a Chunk and written anew, under the names of the first chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tieline.gateway.wire import loose
from tieline.gateway.wire.decoding import json_reader, read_json
from tieline.gateway.wire.sse import Names, TokenUsage

_write = msgspec.json.Encoder().encode


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """What one frame says."""

    text: str = ""
    finish: str | None = None
    usage: TokenUsage | None = None
    logprobs: bytes | None = None  # entries of chat's `logprobs.content`, a JSON list
    ids: tuple[int, ...] = ()
    last: bool = False
    error: Any = None


# --- read -------------------------------------------------------------------


class _LlamaFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame of llama.cpp's own /completion stream."""

    content: str = ""
    stop: bool = False
    stop_type: str = "none"
    tokens: tuple[int, ...] = ()
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    completion_probabilities: list[msgspec.Raw] | None = None
    error: Any = None


class _Delta(msgspec.Struct, frozen=True, gc=False):
    content: str | None = None


class _ChunkChoice(msgspec.Struct, frozen=True, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw | None = None
    token_ids: tuple[int, ...] | None = None


class _OpenAIChunk(msgspec.Struct, frozen=True, gc=False):
    choices: tuple[_ChunkChoice, ...] = ()
    usage: TokenUsage | None = None
    error: Any = None


_read_llama = json_reader(_LlamaFrame)
_read_chunk = json_reader(_OpenAIChunk)


def of_llama(data: bytes) -> Chunk:
    """llama.cpp's /completion. Raises msgspec.DecodeError."""
    frame = _read_llama(data)
    if frame.error is not None:
        return Chunk(error=frame.error)
    logprobs = None if frame.completion_probabilities is None else _write(frame.completion_probabilities)
    if not frame.stop:
        return Chunk(frame.content, logprobs=logprobs, ids=frame.tokens)
    finish = "length" if frame.stop_type == "limit" else "stop"
    usage = TokenUsage(frame.tokens_evaluated, frame.tokens_predicted)
    return Chunk(frame.content, finish, usage, logprobs, frame.tokens, last=True)


def of_chunk(data: bytes) -> Chunk:
    """A chunk of a chat or text completion with one choice. Raises msgspec.DecodeError."""
    if data == b"[DONE]":
        return Chunk(last=True)
    chunk = _read_chunk(data)
    if chunk.error is not None:
        return Chunk(error=chunk.error)
    if not chunk.choices:
        return Chunk(usage=chunk.usage)
    choice = chunk.choices[0]
    text = choice.text if choice.delta is None else choice.delta.content
    return Chunk(
        text or "", choice.finish_reason or None, chunk.usage, _entries(choice.logprobs), choice.token_ids or (),
    )  # fmt: skip


def _entries(raw: msgspec.Raw | None) -> bytes | None:
    """Chat's entries of log-probabilities, from either form."""
    if raw is None:
        return None
    plain = read_json(raw)
    if not isinstance(plain, dict):
        return None
    if "content" in plain:
        return _write(plain["content"] or [])
    tokens, chances = plain.get("tokens") or [], plain.get("token_logprobs") or []
    tops = plain.get("top_logprobs") or [None] * len(tokens)
    return _write(
        [
            _entry(token, chance) | {"top_logprobs": [_entry(*pair) for pair in (top or {}).items()]}
            for token, chance, top in zip(tokens, chances, tops, strict=False)
        ]
    )


def _entry(token: str, chance: float | None) -> dict[str, object]:
    return {"token": token, "logprob": chance, "bytes": list(token.encode())}


# --- write ------------------------------------------------------------------


def frame(
    names: Names,
    kind: str,
    text: str | None,
    finish: str | None,
    logprobs: bytes | None = None,
    *,
    index: int = 0,
    ids: list[int] | None = None,
) -> bytes:
    """One chunk in the form the stream began in. `ids`: for a client that asked for token ids."""
    choice: dict[str, object] = {"index": index, "finish_reason": finish}
    if kind == "completions":
        choice["text"] = text or ""
    else:
        choice["delta"] = {} if text is None else {"content": text}
    if logprobs is not None and kind == "chat":
        choice["logprobs"] = {"content": msgspec.Raw(logprobs)}
    if ids is not None:
        choice["token_ids"] = ids
    return _chunk(names, kind, [choice])


def opening(names: Names, kind: str, index: int) -> bytes:
    """The first chunk of an answer whose replica was lost before it began it."""
    if kind == "completions":
        return frame(names, kind, None, None, index=index)
    return _chunk(names, kind, [{"index": index, "finish_reason": None, "delta": {"role": "assistant", "content": ""}}])


def _chunk(names: Names, kind: str, choices: list[dict[str, object]], usage: object = None) -> bytes:
    body: dict[str, object] = {
        "id": names.id,
        "object": "text_completion" if kind == "completions" else "chat.completion.chunk",
        "created": names.created,
        "model": names.model,
        "choices": choices,
    }
    if usage is not None:
        body["usage"] = usage
    return b"data: " + loose.encode(body) + b"\n\n"


def usage_frame(names: Names, kind: str, usage: dict[str, object]) -> bytes:
    """The one last chunk of `include_usage`: no choices, the totals over all hops."""
    return _chunk(names, kind, [], usage)


def usage_object(prompt: int, cached: int, output: int, reasoning: int | None = None) -> dict[str, object]:
    usage: dict[str, object] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    if reasoning is not None:
        usage["completion_tokens_details"] = {"reasoning_tokens": min(reasoning, output)}
    return usage


def renamed(
    data: bytes, names: Names, index: int | None = None, drop: tuple[str, ...] = (), ids: list[int] | None = None
) -> bytes:
    """A chunk under the stream's first names, at `index` and with token ids if given, without what its client did
    not ask for; parsed anew because this is rare."""
    body = loose.decode(data)
    body["id"], body["created"], body["model"] = names.id, names.created, names.model
    for choice in body.get("choices") or ():
        if index is not None:
            choice["index"] = index
        if ids is not None:
            choice["token_ids"] = ids
        for name in drop:
            choice.pop(name, None)
    for name in drop:
        body.pop(name, None)
    return b"data: " + loose.encode(body) + b"\n\n"
