"""Anthropic's Messages as a chat of any engine, and the chat's answer as a message.

What has no counterpart is refused by name: documents, server tools, cited sources. Thinking blocks that a client sends
back are left out of the prompt: an engine's template makes its own.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.surfaces.chat import ChatOutput, ChatToolCall, Inner, Surface
from tieline.gateway.wire import loose

_encode = msgspec.json.Encoder().encode
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}
_ERRORS: Final = {
    400: "invalid_request_error", 401: "authentication_error", 402: "billing_error", 403: "permission_error",
    404: "not_found_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
    504: "timeout_error",
}  # fmt: skip
_PASSED: Final = ("model", "stream", "temperature", "top_p", "top_k", "seed")
_KNOWN: Final = frozenset(
    {
        *_PASSED, "max_tokens", "messages", "system", "stop_sequences", "tools", "tool_choice", "metadata", "thinking",
        "service_tier", "output_format", "output_config",
        "cache_control", "diagnostics", "speed",  # hints, which engines go without
    }
)  # fmt: skip


def to_chat(plain: dict[str, Any], *, counts: bool = False) -> dict[str, Any] | Refusal:
    """The chat that a message is asked for by. `counts`: only its tokens are asked for."""
    for name, value in plain.items():
        if name not in _KNOWN and value is not None:
            return bad_request(f"'{name[:64]}' is not offered here", "unsupported_parameter", name[:64])
    limit = plain.get("max_tokens")
    if not counts and (not isinstance(limit, int) or isinstance(limit, bool) or limit < 1):
        return bad_request("give 'max_tokens', a whole number from 1", "missing_required_parameter", "max_tokens")
    messages = _turns(plain)
    if isinstance(messages, Refusal):
        return messages
    chat = {name: plain[name] for name in _PASSED if plain.get(name) is not None} | {"messages": messages}
    if limit is not None:
        chat["max_tokens"] = limit
    _settings(plain, chat)
    refusal = _tools(plain, chat)
    return chat if refusal is None else refusal


def _turns(plain: dict[str, Any]) -> list[dict[str, Any]] | Refusal:
    """System prompt and turns as the messages of a chat."""
    messages: list[dict[str, Any]] = []
    if plain.get("system"):
        system = _texts(plain["system"], "system")
        if isinstance(system, Refusal):
            return system
        messages.append({"role": "system", "content": system})
    given = plain.get("messages")
    if not isinstance(given, list) or not given:
        return bad_request("'messages' must be a list of at least one message", "invalid_type", "messages")
    for index, one in enumerate(given):
        made = _message(one, f"messages[{index}]")
        if isinstance(made, Refusal):
            return made
        messages += made
    return messages


def _settings(plain: dict[str, Any], chat: dict[str, Any]) -> None:
    """What a chat calls by another name."""
    if plain.get("stop_sequences"):
        chat["stop"] = plain["stop_sequences"]
    if plain.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    metadata, thinking, config = plain.get("metadata"), plain.get("thinking"), plain.get("output_config")
    if isinstance(metadata, dict) and metadata.get("user_id"):
        chat["user"] = metadata["user_id"]
    if isinstance(thinking, dict):
        chat["chat_template_kwargs"] = {"enable_thinking": thinking.get("type") != "disabled"}
    form = plain.get("output_format") or (config.get("format") if isinstance(config, dict) else None)
    if isinstance(form, dict) and form.get("type") == "json_schema":
        schema = {"name": "answer", "strict": True, "schema": form.get("schema") or {}}
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}


def _tools(plain: dict[str, Any], chat: dict[str, Any]) -> Refusal | None:
    tools = []
    given = plain.get("tools") or ()
    if not isinstance(given, list | tuple):
        return bad_request("'tools' must be a list", "invalid_type", "tools")
    for index, tool in enumerate(given):
        ours = isinstance(tool, dict) and (tool.get("type") or "custom") == "custom"
        if not ours or not isinstance(tool.get("name"), str):
            where = f"tools[{index}]"
            return bad_request(f"{where} is no tool with a name and an input_schema", "unsupported_parameter", where)
        function = {"name": tool["name"], "parameters": tool.get("input_schema") or {"type": "object"}}
        if tool.get("description"):
            function["description"] = tool["description"]
        tools.append({"type": "function", "function": function})
    if tools:
        chat["tools"] = tools
    choice = plain.get("tool_choice")
    if not isinstance(choice, dict):
        return None
    kind = choice.get("type")
    if kind == "tool":
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif kind in ("auto", "any", "none"):
        chat["tool_choice"] = {"auto": "auto", "any": "required", "none": "none"}[kind]
    else:
        return bad_request("'tool_choice.type' is one of auto, any, tool, none", "invalid_value", "tool_choice")
    if choice.get("disable_parallel_tool_use"):
        chat["parallel_tool_calls"] = False
    return None


def _texts(value: Any, where: str) -> str | Refusal:
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, dict) and one.get("type") == "text" for one in value):
        return "\n".join(str(one.get("text") or "") for one in value)
    return bad_request(f"{where} must be text, or a list of text blocks", "invalid_type", where)


@dataclass(slots=True)
class _Blocks:
    """The blocks of one turn, by what becomes of them in a chat."""

    results: list[dict[str, Any]] = field(default_factory=list)  # of tools: messages of their own there
    parts: list[dict[str, Any]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)

    def add(self, block: Any, at: str) -> Refusal | None:
        kind = block.get("type") if isinstance(block, dict) else None
        if kind == "text":
            self.parts.append({"type": "text", "text": str(block.get("text") or "")})
        elif kind == "image":
            self.parts.append({"type": "image_url", "image_url": {"url": _image(block.get("source"))}})
        elif kind == "tool_use":
            function = {"name": block.get("name"), "arguments": loose.encode(block.get("input") or {}).decode()}
            self.calls.append({"id": block.get("id"), "type": "function", "function": function})
        elif kind == "tool_result":
            result = _texts(block.get("content") or "", f"{at}.content")
            if isinstance(result, Refusal):
                return result
            self.results.append({"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": result})
        elif kind not in ("thinking", "redacted_thinking"):
            return bad_request(f"{at}: a block of type {kind!r} is not offered here", "unsupported_parameter", at)
        return None

    def messages(self, role: str) -> list[dict[str, Any]]:
        if role == "assistant":
            text = "".join(part.get("text", "") for part in self.parts)
            turn: dict[str, Any] = {"role": "assistant", "content": text or None}
            if self.calls:
                turn["tool_calls"] = self.calls
            return [turn]
        if not self.parts:
            return self.results
        plain = all(part["type"] == "text" for part in self.parts)
        content = "\n".join(part["text"] for part in self.parts) if plain else self.parts
        return [*self.results, {"role": "user", "content": content}]


def _message(one: Any, where: str) -> list[dict[str, Any]] | Refusal:
    """One turn as the messages of a chat."""
    role = one.get("role") if isinstance(one, dict) else None
    if role not in ("user", "assistant"):
        return bad_request(f"{where}.role must be user or assistant", "invalid_value", f"{where}.role")
    content = one.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    if not isinstance(content, list):
        return bad_request(f"{where}.content must be text or a list of blocks", "invalid_type", f"{where}.content")
    blocks = _Blocks()
    for index, block in enumerate(content):
        refusal = blocks.add(block, f"{where}.content[{index}]")
        if refusal is not None:
            return refusal
    return blocks.messages(role)


def _image(source: Any) -> str:
    if not isinstance(source, dict):
        return ""
    if source.get("type") == "base64":
        return f"data:{source.get('media_type')};base64,{source.get('data')}"
    return str(source.get("url") or "")


class Messages(Surface):
    """A message, said block by block."""

    def __init__(self, inner: Inner, model: str) -> None:
        super().__init__(inner)
        self.model, self.id = model, f"msg_{secrets.token_hex(12)}"
        self._block = -1
        self._kind = ""  # of the block that is open

    def _event(self, kind: str, **more: Any) -> bytes:
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode({"type": kind, **more}))

    def _envelope(self, content: list[Any], stop: str | None, usage: dict[str, int]) -> dict[str, Any]:
        return {
            "id": self.id, "type": "message", "role": "assistant", "model": self.model, "content": content,
            "stop_reason": stop, "stop_sequence": None, "usage": usage,
        }  # fmt: skip

    def opening(self) -> bytes:
        usage = {"input_tokens": 0, "output_tokens": 0}
        return self._event("message_start", message=self._envelope([], None, usage))

    def _open(self, kind: str, block: dict[str, Any]) -> bytes:
        out = self._close()
        self._block += 1
        self._kind = kind
        return out + self._event("content_block_start", index=self._block, content_block=block)

    def _close(self) -> bytes:
        if not self._kind:
            return b""
        self._kind = ""
        return self._event("content_block_stop", index=self._block)

    def delta(self, kind: str, text: str) -> bytes:
        thinks = kind == "reasoning"
        out = b""
        if thinks and self._kind != "thinking":
            out = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        elif not thinks and self._kind != "text":
            out = self._open("text", {"type": "text", "text": ""})
        more = {"type": "thinking_delta", "thinking": text} if thinks else {"type": "text_delta", "text": text}
        return out + self._event("content_block_delta", index=self._block, delta=more)

    def call(self, index: int, call: ChatToolCall, arguments: str, *, new: bool) -> bytes:
        out = b""
        if new:
            out = self._open(f"tool{index}", {"type": "tool_use", "id": call.id, "name": call.name, "input": {}})
        if arguments:
            more = {"type": "input_json_delta", "partial_json": arguments}
            out += self._event("content_block_delta", index=self._block, delta=more)
        return out

    def ending(self) -> bytes:
        stop = {"stop_reason": _STOPS.get(self.said.finish, "end_turn"), "stop_sequence": None}
        usage = _usage(self.said)
        return self._close() + self._event("message_delta", delta=stop, usage=usage) + self._event("message_stop")

    def failed(self, error: dict[str, Any]) -> bytes:
        fault = {"type": "api_error", "message": str(error.get("message") or "the stream cannot go on")}
        return self._event("error", error=fault)

    def whole(self, said: ChatOutput) -> bytes:
        content: list[dict[str, Any]] = []
        if said.reasoning:
            content.append({"type": "thinking", "thinking": said.reasoning, "signature": ""})
        if said.text or said.refusal:
            content.append({"type": "text", "text": said.text or said.refusal})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": _input(call.arguments)}
            for call in said.calls.values()
        ]
        return _encode(self._envelope(content, _STOPS.get(said.finish, "end_turn"), _usage(said)))

    def refused(self, status: int, body: bytes) -> bytes:
        return error_body(status, body)


def _input(arguments: str) -> Any:
    try:
        return loose.decode(arguments.encode("utf-8", "replace")) if arguments else {}
    except msgspec.DecodeError:
        return {"arguments": arguments}  # no JSON: the model's own words, and nothing lost


def _usage(said: ChatOutput) -> dict[str, int]:
    prompt, cached, output, _ = said.tokens()
    return {
        "input_tokens": prompt - cached, "cache_creation_input_tokens": 0, "cache_read_input_tokens": cached,
        "output_tokens": output,
    }  # fmt: skip


def error_body(status: int, body: bytes) -> bytes:
    """An error of OpenAI's shape in Anthropic's."""
    try:
        error = loose.decode(body)["error"]
        fault: dict[str, Any] = {"message": error["message"]}
    except (msgspec.DecodeError, KeyError, TypeError):
        error, fault = {}, {"message": "the request failed"}
    if error.get("param") == "thread":  # Anthropic's libraries then send the whole conversation each time
        fault["details"] = {"error_code": "thread_unsupported_request"}
    kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
    return _encode({"type": "error", "error": {"type": kind} | fault})
