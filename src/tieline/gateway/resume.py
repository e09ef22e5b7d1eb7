"""Continuing a stream on another replica from exactly the text that was delivered. Pure.

What each engine can do, and how exact it is:

- llama.cpp, plain text: the chat template is applied and tokenised by the new replica, the delivered text is
  tokenised by itself and appended, and `/completion` continues from those tokens. Exact for greedy sampling
  wherever the delivered text tokenises the way it was generated.
- llama.cpp, structured output: a grammar would begin anew on `/completion`, so the delivered text becomes the
  beginning of an assistant turn on the chat endpoint, which continues grammar and text.
- vLLM and SGLang: the same assistant turn with `continue_final_message`.
- Anything else: only `/v1/completions`, whose prompt is plain text, can be continued.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec

from tieline.gateway.body import Request

_write = msgspec.json.Encoder().encode


class Way(Enum):
    """How a broken stream goes on."""

    AFRESH = "afresh"  # nothing was delivered: the same request again
    TOKENS = "tokens"  # /completion with token ids
    TURN = "turn"  # a begun assistant turn on the chat endpoint
    PROMPT = "prompt"  # prompt + text on /v1/completions
    NONE = "none"


def way(request: Request, engine: str, delivered: str) -> Way:
    """How `request` can go on on an engine of this kind."""
    if request.continuity == "none":
        return Way.NONE
    if not delivered:
        return Way.AFRESH
    if request.continuity == "regenerate" or request.choices * request.prompts > 1:
        return Way.NONE
    if request.kind == "completions":
        if request.fields.get("echo") is not None and bytes(request.fields["echo"]) == b"true":
            return Way.NONE
        return Way.TOKENS if engine == "llama.cpp" else Way.PROMPT
    if request.kind != "chat":
        return Way.NONE
    if engine == "llama.cpp":
        return Way.TURN if request.tools or request.structured else Way.TOKENS
    if engine in ("vllm", "sglang"):
        return Way.TURN
    return Way.NONE


@dataclass(frozen=True, slots=True)
class Names:
    """What must not change across a stream."""

    id: str
    created: int
    model: str


_NOT_SAMPLING: Final = frozenset(
    {
        "messages", "prompt", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "tools",
        "tool_choice", "parallel_tool_calls", "response_format", "logprobs", "top_logprobs", "seed", "user", "echo",
        "suffix", "store", "metadata", "chat_template_kwargs", "reasoning_effort", "reasoning_format",
    }
)  # fmt: skip


def remaining(request: Request, delivered_tokens: int) -> int:
    """Output tokens still allowed."""
    return request.limit - delivered_tokens


def template_body(request: Request) -> bytes:
    """For llama.cpp's /apply-template: whatever the template may look at."""
    names = ("messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_format", "reasoning_effort")
    return _write({name: request.fields[name] for name in names if name in request.fields})


def tokenize_body(text: str, *, special: bool) -> bytes:
    return _write({"content": text, "add_special": special, "parse_special": special})


def tokens_body(request: Request, prompt: list[int], delivered: list[int], hop: int) -> bytes:
    """For llama.cpp's /completion. A seed cannot be restored mid-way: each hop gets a new one."""
    fields: dict[str, object] = {k: v for k, v in request.fields.items() if k not in _NOT_SAMPLING}
    fields["prompt"] = prompt + delivered
    fields["n_predict"] = remaining(request, len(delivered))
    fields["stream"] = True
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    if (probs := _logprobs(request)) is not None:
        fields["n_probs"] = max(1, probs)
    return _write(fields)


def turn_body(request: Request, engine: str, upstream_model: str, text: str, delivered_tokens: int, hop: int) -> bytes:
    """The chat endpoint again, with the delivered text as the beginning of the assistant's turn."""
    fields: dict[str, object] = dict(request.fields)
    messages = msgspec.json.decode(request.fields["messages"], type=list[msgspec.Raw])
    fields["messages"] = [*messages, {"role": "assistant", "content": text}]
    for name in ("max_tokens", "max_completion_tokens"):
        fields.pop(name, None)
    fields["model"] = upstream_model
    fields["max_tokens"] = remaining(request, delivered_tokens)
    if engine in ("vllm", "sglang"):
        fields["continue_final_message"] = True
        fields["add_generation_prompt"] = False
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    return _write(fields)


def prompt_body(request: Request, upstream_model: str, text: str, delivered_tokens: int, hop: int) -> bytes | None:
    """/v1/completions again with prompt + text; None where the prompt is token ids."""
    prompt = msgspec.json.decode(request.fields["prompt"])
    if isinstance(prompt, list):
        prompt = prompt[0] if len(prompt) == 1 else None
    if not isinstance(prompt, str):
        return None
    fields: dict[str, object] = dict(request.fields)
    fields["prompt"] = prompt + text
    fields["model"] = upstream_model
    fields["max_tokens"] = remaining(request, delivered_tokens)
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    return _write(fields)


def _seed(request: Request, hop: int) -> int | None:
    raw = request.fields.get("seed")
    if raw is None or bytes(raw) == b"null":
        return None
    value = msgspec.json.decode(raw)
    return (value + hop) % 2**31 if isinstance(value, int) else None


def _logprobs(request: Request) -> int | None:
    raw = request.fields.get("logprobs")
    if raw is None or bytes(raw) in (b"false", b"null"):
        return None
    if request.kind == "completions":
        value = msgspec.json.decode(raw)
        return value if isinstance(value, int) else None
    top = request.fields.get("top_logprobs")
    value = msgspec.json.decode(top) if top is not None else 0
    return value if isinstance(value, int) else 0


class LlamaFrame(msgspec.Struct, frozen=True, gc=False):
    """A frame of llama.cpp's own /completion stream."""

    content: str = ""
    stop: bool = False
    stop_type: str = "none"
    tokens_predicted: int = 0
    tokens_evaluated: int = 0
    completion_probabilities: list[msgspec.Raw] | None = None
    error: Any = None


read_llama = msgspec.json.Decoder(LlamaFrame).decode


def finish_reason(frame: LlamaFrame) -> str:
    return "length" if frame.stop_type == "limit" else "stop"


def chat_frame(names: Names, kind: str, text: str | None, finish: str | None, logprobs: bytes | None = None) -> bytes:
    """One chunk in the form the stream began in."""
    choice: dict[str, object] = {"index": 0, "finish_reason": finish}
    if kind == "completions":
        choice["text"] = text or ""
    else:
        choice["delta"] = {} if text is None else {"content": text}
    if logprobs is not None and kind == "chat":
        choice["logprobs"] = {"content": msgspec.Raw(logprobs)}
    return _chunk(names, kind, [choice])


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
    return b"data: " + _write(body) + b"\n\n"


def usage_frame(names: Names, kind: str, prompt: int, cached: int, output: int) -> bytes:
    """The one last chunk of `include_usage`: no choices, the totals over all hops."""
    return _chunk(names, kind, [], usage_object(prompt, cached, output))


def usage_object(prompt: int, cached: int, output: int) -> dict[str, object]:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def renamed(frame: bytes, names: Names) -> bytes:
    """A chunk of a later hop under the stream's first names; parsed anew because later hops are rare."""
    body = msgspec.json.decode(frame)
    body["id"], body["created"], body["model"] = names.id, names.created, names.model
    return b"data: " + _write(body) + b"\n\n"
