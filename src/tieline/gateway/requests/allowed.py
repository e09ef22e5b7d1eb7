"""What may reach an engine: fields by name, addresses of media by form, shapes by size and depth. Pure.

A list of what is allowed, since engines gain switches every month: what stands here is what was looked at. An operator
can widen it for a model (`fields`, `media`). What is refused is named, never dropped: a request that is carried out
without a part of it is another request.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.wire.decoding import read_json

_SAMPLING: Final = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "typical_p", "tfs_z", "top_a", "seed", "stop", "presence_penalty",
        "frequency_penalty", "repeat_penalty", "repetition_penalty", "length_penalty", "logit_bias", "mirostat",
        "mirostat_tau", "mirostat_eta", "dynatemp_range", "dynatemp_exponent", "xtc_probability", "xtc_threshold",
        "dry_multiplier", "dry_base", "dry_allowed_length", "dry_penalty_last_n", "dry_sequence_breakers",
        "repeat_last_n", "samplers", "stop_token_ids", "bad_words", "allowed_token_ids", "skip_special_tokens",
        "spaces_between_special_tokens", "include_stop_str_in_output", "ignore_eos", "min_tokens",
        "truncate_prompt_tokens", "cache_prompt", "n_probs", "min_keep", "n_keep", "t_max_predict_ms", "n_indent",
    }
)  # fmt: skip
# Said about the request, not to the model.
_ABOUT: Final = frozenset(
    {"user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"}
)
GRAMMARS: Final = frozenset(
    {
        "grammar", "json_schema", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
        "guided_decoding_backend", "structured_outputs", "regex", "ebnf",
    }
)  # fmt: skip
_COMMON: Final = _SAMPLING | _ABOUT | GRAMMARS | {"model", "stream", "stream_options", "n", "return_token_ids"}
FIELDS: Final[dict[str, frozenset[str]]] = {
    "chat": _COMMON
    | {
        "messages", "max_tokens", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "functions",
        "function_call", "response_format", "logprobs", "top_logprobs", "modalities", "audio", "prediction",
        "reasoning_effort", "reasoning_format", "reasoning", "include_reasoning", "separate_reasoning", "verbosity",
        "web_search_options", "chat_template_kwargs", "thinking", "enable_thinking", "thinking_budget_tokens", "echo",
        "add_generation_prompt", "mm_processor_kwargs", "documents", "cache_salt",
    },
    "completions": _COMMON
    | {"prompt", "max_tokens", "suffix", "echo", "logprobs", "prompt_logprobs", "response_format", "cache_salt"},
    "embeddings": _ABOUT
    | {"model", "input", "encoding_format", "dimensions", "truncate_prompt_tokens", "input_type", "task", "stream"},
    "rerank": _ABOUT
    | {
        "model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc", "truncate_prompt_tokens",
        "stream",
    },
}  # fmt: skip
# Names that engines have for what admission counts, and what to say instead.
INSTEAD: Final = {
    "n_predict": "max_tokens", "max_new_tokens": "max_tokens", "min_new_tokens": "min_tokens", "n_cmpl": "n",
    "best_of": "n",
}  # fmt: skip

# A schema or a grammar of more is no shape of an answer; engines were crashed by smaller ones that nest deeper.
MAX_SHAPE_BYTES: Final = 65_536
MAX_TOOLS_BYTES: Final = 1_048_576
MAX_SHAPE_DEPTH: Final = 64
# Values that one schema may list to choose from. An engine works on a grammar of them before it can say anything, and
# nobody else's answer goes on meanwhile: llama.cpp was busy for 37 s with 5,000, for 2.3 s with 1,000.
MAX_SHAPE_VALUES: Final = 1_000
# A shape of less text lists no more than that.
_FEW_BYTES: Final = 2 * MAX_SHAPE_VALUES
_LISTS: Final = frozenset({"enum", "choice", "guided_choice", "anyOf", "oneOf"})
_SHAPES: Final = GRAMMARS | {"response_format", "chat_template_kwargs"}
_TOOLS: Final = frozenset({"tools", "functions"})
_BRACKETS: Final = re.compile(rb"[\[{(\]})]")
_OPENING: Final = frozenset({b"[", b"{", b"("})
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"')
MEDIA_NAMES: Final = frozenset({"image_url", "video_url", "audio_url", "file_url", "url"})
_SCHEMES: Final = ("data:", "https://")
# Names that stand for machines of the house.
_HOUSE: Final = (".local", ".internal", ".localhost", ".lan", ".home", ".arpa", ".intranet", ".corp")


def strange(kind: str, names: Iterable[str]) -> tuple[str, ...]:
    """Fields that are not on the list, in order."""
    return tuple(sorted(set(names) - FIELDS[kind]))


def refuse_field(name: str) -> Refusal:
    """Names the field and what helps."""
    if name in INSTEAD:
        return bad_request(f"'{name}' is not offered; use '{INSTEAD[name]}'", "unsupported_parameter", name)
    return bad_request(
        f"'{name[:64]}' is not a field that reaches this model; leave it out, or have the operator add it to the"
        " model's 'fields'",
        "unsupported_parameter",
        name[:64],
    )


def shapes(fields: dict[str, msgspec.Raw]) -> Refusal | None:
    """Grammars, schemas and tools, bounded before any engine compiles them."""
    for name in (_SHAPES | _TOOLS) & fields.keys():
        raw = bytes(fields[name])
        most = MAX_TOOLS_BYTES if name in _TOOLS else MAX_SHAPE_BYTES
        if len(raw) > most:
            return bad_request(f"'{name}' is larger than {most} bytes", "invalid_value", name)
        if depth(raw) > MAX_SHAPE_DEPTH:
            return bad_request(f"'{name}' nests deeper than {MAX_SHAPE_DEPTH}", "invalid_value", name)
        if len(raw) > _FEW_BYTES and _values(name, raw) > MAX_SHAPE_VALUES:
            return bad_request(
                f"'{name}' lists more than {MAX_SHAPE_VALUES} values to choose from", "invalid_value", name
            )
    return None


def _values(name: str, raw: bytes) -> int:
    """How many values a schema, or the largest of several tools, lists."""
    try:
        value = read_json(raw)
        if isinstance(value, str):  # a schema may be given as text; what is none is a grammar
            value = read_json(value)
    except msgspec.DecodeError:
        return 0
    if name in _TOOLS and isinstance(value, list):
        return max((_listed(one) for one in value), default=0)
    return _listed({name: value})


def _listed(value: Any) -> int:
    if isinstance(value, list):
        return sum(map(_listed, value))
    if not isinstance(value, dict):
        return 0
    own = sum(len(one) for name, one in value.items() if name in _LISTS and isinstance(one, list))
    return own + sum(map(_listed, value.values()))


def depth(raw: bytes) -> int:
    """How deep the brackets of a JSON value nest, as far as is allowed; those of a text that is the value count too."""
    text = raw if raw[:1] == b'"' else _STRINGS.sub(b"", raw)
    inner = 0
    if text is not raw:  # a grammar may stand within an object, as a text
        inner = max((depth(one) for one in _STRINGS.findall(raw) if len(one) > 2 * MAX_SHAPE_DEPTH), default=0)
    if text.count(b"[") + text.count(b"{") + text.count(b"(") <= MAX_SHAPE_DEPTH:
        return inner
    now = most = 0
    for found in _BRACKETS.finditer(text):
        if found[0] in _OPENING:
            now += 1
            if now > MAX_SHAPE_DEPTH:
                return now
            most = max(most, now)
        else:
            now = max(0, now - 1)
    return max(most, inner)


def media(value: Any, where: str, prefixes: tuple[str, ...], level: int = 0) -> Refusal | None:
    """The first address in a prompt that no engine may fetch."""
    if level > MAX_SHAPE_DEPTH:
        return bad_request(f"{where} is nested too deeply", "invalid_value", where)
    if isinstance(value, dict):
        for name, one in value.items():
            at = f"{where}.{name}"
            if name in MEDIA_NAMES and isinstance(one, str) and not may_fetch(one, prefixes):
                return bad_request(
                    f"{at} must be a data: URL or https: with a public name; an operator can allow other addresses in"
                    " the model's 'media'",
                    "address_not_allowed",
                    at,
                )
            refusal = media(one, at, prefixes, level + 1)
            if refusal is not None:
                return refusal
    elif isinstance(value, list):
        for index, one in enumerate(value):
            refusal = media(one, f"{where}[{index}]", prefixes, level + 1)
            if refusal is not None:
                return refusal
    return None


def may_fetch(url: str, prefixes: tuple[str, ...] = ()) -> bool:
    """May an engine be told this address? `prefixes`: what an operator allows beyond inline data and public names."""
    lower = url[:2048].lower()
    if lower.startswith("data:") or any(lower.startswith(one.lower()) for one in prefixes):
        return True
    if not lower.startswith(_SCHEMES):
        return False
    try:
        parts = urlsplit(lower)
        host = (parts.hostname or "").rstrip(".")
        _ = parts.port
    except ValueError:
        return False
    if "@" in parts.netloc or "\\" in lower or not host:
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        pass
    if "." not in host or host.endswith(_HOUSE):
        return False
    return not host.rpartition(".")[2].isdigit() and not host.startswith("0x")  # 127.1, 0x7f.1: numbers, not names
