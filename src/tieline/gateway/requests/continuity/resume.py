"""Continuing a stream on another replica from exactly the text that was delivered. Pure.

What each engine can do, and how exact it is:

- The ids of what was delivered (see `exact`): vLLM's `/v1/completions` and llama.cpp's `/completion` take the
  prompt as ids. Exact for greedy sampling on the same weights and build.
- llama.cpp, plain text: the chat template is applied and tokenised by the new replica, the delivered text is
  tokenised by itself and appended, and `/completion` continues from those tokens. Exact for greedy sampling
  wherever the delivered text tokenises the way it was generated. What may become a stop string is held back, and the
  text may then end within a token; a greedy answer is made anew there.
- llama.cpp, structured output: a grammar would begin anew on `/completion`, so the delivered text becomes the
  beginning of an assistant turn on the chat endpoint, which continues grammar and text. A reasoning model's template
  writes more before a begun turn than before a new one; a greedy answer is made anew there.
- vLLM: the same assistant turn with `continue_final_message`; not with structured output, whose grammar begins anew
  inside it.
- Reasoning, tool calls, and what else no prompt can hold; prompts with images; every chat on SGLang and others,
  where nobody has seen a begun turn go on: the request is made anew, and what was delivered has to come again (see
  `replay`).
- `/v1/completions` of any engine, whose prompt is plain text: prompt and delivered text.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

import msgspec

from tieline.gateway.requests.body import Request
from tieline.gateway.requests.media.asked import FORMS
from tieline.gateway.wire.decoding import read_json

_write = msgspec.json.Encoder().encode


PATHS: Final[dict[str, str]] = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "rerank": "/v1/rerank",
    **{kind: form.path for kind, form in FORMS.items()},
}


# What nothing is written for.
SILENT: Final = ("embeddings", "rerank")


# Engines that take a prompt of token ids, and such that were seen to go on with a begun turn.
_BY_IDS: Final = ("vllm", "llama.cpp")
_BY_TURN: Final = ("vllm",)


class Way(Enum):
    """How a broken stream goes on."""

    AFRESH = "afresh"  # nothing was delivered: the same request again
    IDS = "ids"  # the ids of what was delivered
    TOKENS = "tokens"  # /completion, prompt and delivered text made into tokens
    TURN = "turn"  # a begun assistant turn on the chat endpoint
    PROMPT = "prompt"  # prompt + text on /v1/completions
    REPLAY = "replay"  # the same request again; what was delivered has to come again, and is left out
    NONE = "none"


def way(
    request: Request, engine: str, text: bool, *, ids: bool = False, special: bool = False, delivered: bool = True
) -> Way:
    """How `request` can go on on an engine of this kind, after `text` was delivered, or something (`delivered`).

    `ids`: the stream was promised to go on from token ids. `special`: reasoning or a tool call was delivered, which
    no prompt can hold."""
    if request.continuity == "none":
        return Way.NONE
    if not delivered:
        return Way.AFRESH
    if request.continuity == "regenerate":
        return Way.NONE
    if special:
        return Way.IDS if ids and text and engine in _BY_IDS else _replayed(request)
    if request.answers > 1:
        return _replayed(request)
    if ids:
        return Way.IDS if engine in _BY_IDS else Way.NONE
    if request.images or ("stop" in request.fields and engine != "llama.cpp"):
        # What may become a stop string is held back letter by letter: the text ends within a token, and from there
        # it would go on otherwise. Beside a picture no begun turn was seen to go on.
        return _replayed(request)
    return _from_text(request, engine)


def _from_text(request: Request, engine: str) -> Way:
    """How it can go on from the text that was delivered."""
    if request.kind == "completions":
        if request.asks("echo"):
            return Way.REPLAY
        return Way.TOKENS if engine == "llama.cpp" else Way.PROMPT
    if request.kind != "chat":
        return Way.NONE
    if engine == "llama.cpp":
        return Way.TURN if request.tools or request.structured else Way.TOKENS
    if request.structured:  # their grammars begin anew inside a begun turn
        return _replayed(request)
    return Way.TURN if engine in _BY_TURN else _replayed(request)


def greedy(request: Request) -> bool:
    """Does the same request bring the same answer, whoever gives it?"""
    fields = request.fields
    return any(
        name in fields and (value := read_json(fields[name])) is not None and value == only
        for name, only in (("temperature", 0), ("top_k", 1))
    )


def _replayed(request: Request) -> Way:
    return Way.REPLAY if request.kind in ("chat", "completions") and request.prompts == 1 else Way.NONE


def each(request: Request) -> bool:
    """May the answers of this request be continued one by one?"""
    return (
        request.choices > 1
        and request.prompts == 1
        and request.kind in ("chat", "completions")
        and not request.tools
        and request.continuity in ("text", "token")
    )


def holds(request: Request, engine: str, *, ids: bool) -> str:
    """What may be said of a stream when its first byte goes out."""
    if request.continuity == "none":
        return "none"
    if ids:
        return "token"
    text = each(request) and not request.images and engine in ("llama.cpp", "vllm")
    goes_on = way(request, engine, True) not in (Way.NONE, Way.AFRESH, Way.REPLAY)
    return "text" if text or goes_on else "regenerate"


_NOT_SAMPLING: Final = frozenset(
    {
        "messages", "prompt", "model", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n", "tools",
        "tool_choice", "parallel_tool_calls", "response_format", "logprobs", "top_logprobs", "seed", "user", "echo",
        "suffix", "store", "metadata", "chat_template_kwargs", "reasoning_effort", "reasoning_format",
        "return_token_ids",
    }
)  # fmt: skip


def remaining(request: Request, delivered_tokens: int) -> int:
    """Output tokens still allowed."""
    return request.limit - delivered_tokens


def stops(request: Request) -> list[str]:
    """Strings that end the answer."""
    raw = request.fields.get("stop")
    given = None if raw is None else read_json(raw)
    return [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, str) and one]


def template_body(request: Request, begun: str = "") -> bytes:
    """For llama.cpp's /apply-template: whatever the template may look at. `begun`: the assistant's turn, so far."""
    names = ("messages", "tools", "tool_choice", "chat_template_kwargs", "reasoning_format", "reasoning_effort")
    fields: dict[str, object] = {name: request.fields[name] for name in names if name in request.fields}
    if begun:
        fields["messages"] = _begun(request, begun)
    return _write(fields)


def _begun(request: Request, text: str) -> list[object]:
    """Its messages, and the assistant's turn so far."""
    return [*read_json(request.fields["messages"], list[msgspec.Raw]), {"role": "assistant", "content": text}]


def tokenize_body(text: str | list[str], *, special: bool) -> bytes:
    """Of several texts llama.cpp takes each by itself and answers with all their tokens; what begins and ends a text,
    where `special`, it puts at the first only."""
    return _write({"content": text, "add_special": special, "parse_special": special})


def tokens_body(request: Request, prompt: list[int], delivered: list[int], hop: int) -> bytes:
    """For llama.cpp's /completion. A seed cannot be restored mid-way: each hop gets a new one."""
    fields: dict[str, object] = {k: v for k, v in request.fields.items() if k not in _NOT_SAMPLING}
    fields["prompt"] = prompt + delivered
    fields["n_predict"] = remaining(request, len(delivered))
    fields["stream"] = True
    if request.continuity == "token":
        fields["return_tokens"] = True
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    if (probs := _logprobs(request)) is not None:
        fields["n_probs"] = max(1, probs)
    return _write(fields)


def ids_body(request: Request, upstream_model: str, prompt: list[int], delivered: list[int], hop: int) -> bytes:
    """For vLLM's /v1/completions, which takes a prompt of token ids."""
    fields: dict[str, object] = {k: v for k, v in request.fields.items() if k not in _NOT_SAMPLING}
    fields["model"] = upstream_model
    fields["prompt"] = prompt + delivered
    fields["max_tokens"] = remaining(request, len(delivered))
    fields["stream"] = True
    fields["stream_options"] = {"include_usage": True}
    fields["return_token_ids"] = True
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    if (probs := _logprobs(request)) is not None:
        fields["logprobs"] = probs
    return _write(fields)


def turn_body(request: Request, engine: str, upstream_model: str, text: str, delivered_tokens: int, hop: int) -> bytes:
    """The chat endpoint again, with the delivered text as the beginning of the assistant's turn."""
    fields: dict[str, object] = dict(request.fields)
    fields["messages"] = _begun(request, text)
    for name in ("max_tokens", "max_completion_tokens"):
        fields.pop(name, None)
    fields["model"] = upstream_model
    fields["max_tokens"] = remaining(request, delivered_tokens)
    fields["stream"] = True
    fields["stream_options"] = {"include_usage": True}
    if engine in _BY_TURN:
        fields["continue_final_message"] = True
        fields["add_generation_prompt"] = False
    if (seed := _seed(request, hop)) is not None:
        fields["seed"] = seed
    return _write(fields)


def prompt_body(request: Request, upstream_model: str, text: str, delivered_tokens: int, hop: int) -> bytes | None:
    """/v1/completions again with prompt + text; None where the prompt is token ids."""
    prompt = read_json(request.fields["prompt"])
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
    value = read_json(raw)
    return (value + hop) % 2**31 if isinstance(value, int) else None


def _logprobs(request: Request) -> int | None:
    raw = request.fields.get("logprobs")
    if raw is None or bytes(raw) in (b"false", b"null"):
        return None
    if request.kind == "completions":
        value = read_json(raw)
        return value if isinstance(value, int) else None
    top = request.fields.get("top_logprobs")
    value = read_json(top) if top is not None else 0
    return value if isinstance(value, int) else 0
