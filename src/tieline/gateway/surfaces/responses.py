"""OpenAI's Responses as a chat of any engine, and the chat's answer as a response. Its state is kept here, see `kept`.

What has no counterpart is refused by name: tools that run elsewhere, prompts kept elsewhere, work in the background.
Reasoning items that a client sends back are left out of the prompt: an engine's template makes its own.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.surfaces.chat import ChatOutput, ChatToolCall, Inner, Surface
from tieline.gateway.wire import loose

_encode = msgspec.json.Encoder().encode
_PASSED: Final = (
    "model", "stream", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "parallel_tool_calls", "user", "safety_identifier", "prompt_cache_key",
    "service_tier", "ignore_eos",
)  # fmt: skip
_KNOWN: Final = frozenset(
    {
        *_PASSED, "input", "instructions", "max_output_tokens", "tools", "tool_choice", "text", "reasoning",
        "truncation", "include", "top_logprobs", "previous_response_id", "conversation", "store", "metadata",
        "stream_options",
    }
)  # fmt: skip
# What a response says of its request again, and what it says where that was silent. The form has a number for sampling
# always; an engine that was told none takes its own.
_DEFAULTS: Final[dict[str, Any]] = {
    "temperature": 1.0, "top_p": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0, "top_logprobs": 0,
    "parallel_tool_calls": True, "tool_choice": "auto", "text": {"format": {"type": "text"}}, "metadata": {},
    "reasoning": {"effort": None, "summary": None}, "service_tier": "default",
}  # fmt: skip
_ECHOED: Final = (
    *_DEFAULTS, "model", "instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "user",
    "safety_identifier", "prompt_cache_key",
)  # fmt: skip
_TOOL: Final[dict[str, Any]] = {"description": None, "parameters": None, "strict": None}
_STATUS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}


def to_chat(plain: dict[str, Any], before: list[dict[str, Any]]) -> dict[str, Any] | Refusal:
    """The chat that a response is asked for by. `before`: items of the conversation so far."""
    for name, value in plain.items():
        if name not in _KNOWN and value not in (None, False):
            return bad_request(f"'{name[:64]}' is not offered here", "unsupported_parameter", name[:64])
    messages = _messages(plain, before)
    if isinstance(messages, Refusal):
        return messages
    chat = {name: plain[name] for name in _PASSED if plain.get(name) is not None} | {"messages": messages}
    if plain.get("max_output_tokens") is not None:
        chat["max_tokens"] = plain["max_output_tokens"]
    if plain.get("stream"):
        chat["stream_options"] = {"include_usage": True}
    if isinstance(plain.get("reasoning"), dict) and plain["reasoning"].get("effort"):
        chat["reasoning_effort"] = plain["reasoning"]["effort"]
    refusal = _format(plain.get("text"), chat) or _tools(plain, chat)
    return chat if refusal is None else refusal


def _messages(plain: dict[str, Any], before: list[dict[str, Any]]) -> list[dict[str, Any]] | Refusal:
    """Instructions and items as the messages of a chat."""
    given = items(plain.get("input"))
    if isinstance(given, Refusal):
        return given
    if not given and not before:
        return bad_request("give 'input'", "missing_required_parameter", "input")
    messages: list[dict[str, Any]] = []
    if plain.get("instructions"):
        messages.append({"role": "system", "content": plain["instructions"]})
    for index, item in enumerate([*before, *given]):
        refusal = _item(item, messages, f"input[{index - len(before)}]")
        if refusal is not None:
            return refusal
    return messages


def items(given: Any) -> list[dict[str, Any]] | Refusal:
    """`input` as items."""
    if given is None:
        return []
    if isinstance(given, str):
        return [{"type": "message", "role": "user", "content": given}]
    if isinstance(given, list) and all(isinstance(one, dict) for one in given):
        return given
    return bad_request("'input' must be a string or a list of items", "invalid_type", "input")


def _format(text: Any, chat: dict[str, Any]) -> Refusal | None:
    if not isinstance(text, dict):
        return None
    if text.get("verbosity") is not None:
        chat["verbosity"] = text["verbosity"]
    form = text.get("format")
    if not isinstance(form, dict):
        return None
    kind = form.get("type")
    if kind == "json_schema":
        schema = {
            name: form[name] for name in ("name", "schema", "strict", "description") if form.get(name) is not None
        }
        chat["response_format"] = {"type": "json_schema", "json_schema": schema}
    elif kind == "json_object":
        chat["response_format"] = {"type": "json_object"}
    elif kind not in (None, "text"):
        return bad_request(f"'text.format' of type {kind!r} is not offered", "unsupported_parameter", "text.format")
    return None


def _tools(plain: dict[str, Any], chat: dict[str, Any]) -> Refusal | None:
    tools = []
    given = plain.get("tools") or ()
    if not isinstance(given, list | tuple):
        return bad_request("'tools' must be a list", "invalid_type", "tools")
    for index, tool in enumerate(given):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            where = f"tools[{index}]"
            return bad_request(f"{where}: a tool of type {kind!r} is not offered here", "unsupported_parameter", where)
        names = ("name", "description", "parameters", "strict")
        tools.append({"type": "function", "function": {n: tool[n] for n in names if tool.get(n) is not None}})
    if tools:
        chat["tools"] = tools
    choice = plain.get("tool_choice")
    if isinstance(choice, str):
        if tools or choice != "auto":
            chat["tool_choice"] = choice
    elif isinstance(choice, dict):
        if choice.get("type") != "function":
            return bad_request("'tool_choice' names no function", "unsupported_parameter", "tool_choice")
        chat["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    return None


def _item(item: dict[str, Any], messages: list[dict[str, Any]], where: str) -> Refusal | None:
    """One item as a part of a chat's messages."""
    kind = item.get("type", "message")
    if kind == "message":
        content = _content(item.get("content"), f"{where}.content")
        if isinstance(content, Refusal):
            return content
        messages.append({"role": item.get("role"), "content": content})
    elif kind == "function_call":
        function = {"name": item.get("name"), "arguments": item.get("arguments") or "{}"}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        last = messages[-1] if messages else {}
        if last.get("role") == "assistant":
            last.setdefault("tool_calls", []).append(call)
        else:
            messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
    elif kind == "function_call_output":
        output = _content(item.get("output"), f"{where}.output")
        if isinstance(output, Refusal):
            return output
        messages.append({"role": "tool", "tool_call_id": item.get("call_id"), "content": output})
    elif kind != "reasoning":
        return bad_request(f"{where}: an item of type {kind!r} is not offered here", "unsupported_parameter", where)
    return None


def _content(content: Any, where: str) -> Any:
    """Text where there is nothing else, so that every template can print it."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return bad_request(f"{where} must be text or a list of parts", "invalid_type", where)
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        at = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("input_text", "output_text", "text", "refusal"):
            parts.append({"type": "text", "text": str(part.get("text") or part.get("refusal") or "")})
        elif kind == "input_image" and part.get("image_url"):
            image = {"url": part["image_url"]} | ({"detail": part["detail"]} if part.get("detail") else {})
            parts.append({"type": "image_url", "image_url": image})
        elif kind == "input_audio":
            parts.append({"type": "input_audio", "input_audio": part.get("input_audio")})
        else:
            return bad_request(f"{at}: a part of type {kind!r} is not offered here", "unsupported_parameter", at)
    return "".join(one["text"] for one in parts) if all(one["type"] == "text" for one in parts) else parts


def of_line(plain: Any) -> dict[str, Any] | Refusal:
    """The chat of a batch's line: a line goes on from nothing, and nothing goes on from it."""
    if not isinstance(plain, dict):
        return bad_request("the body is not a JSON object", "invalid_json")
    for name in ("previous_response_id", "conversation"):
        if plain.get(name) is not None:
            return bad_request(f"'{name}' is not offered in a batch", "unsupported_parameter", name)
    return to_chat(plain, [])


class Responses(Surface):
    """A response, said event by event."""

    ends_failed = True

    def __init__(
        self, inner: Inner, asked: dict[str, Any], now_s: Callable[[], float],
        save: Callable[[Responses], bool] | None = None,
    ) -> None:  # fmt: skip
        """`save` keeps a response that has ended, for a later request to go on from; False where it cannot."""
        super().__init__(inner)
        self.id, self.asked, self._now_s, self._save = f"resp_{secrets.token_hex(16)}", asked, now_s, save
        self.created = int(now_s())
        self.output: list[dict[str, Any]] = []  # finished items
        self.keep = save is not None
        self._number = -1
        self._open: dict[str, Any] | None = None
        self._text = ""

    def _event(self, kind: str, **more: Any) -> bytes:
        self._number += 1
        body = {"type": kind, "sequence_number": self._number, **more}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), loose.encode(body))

    def response(self, status: str, error: Any = None) -> dict[str, Any]:
        """The response as it is now: every field that the form has, whether or not it was asked for."""
        asked, said = self.asked, self.said
        why = _STATUS.get(said.finish) if status == "incomplete" else None
        prompt, cached, output, reasoning = said.tokens()
        usage = {
            "input_tokens": prompt, "input_tokens_details": {"cached_tokens": cached}, "output_tokens": output,
            "output_tokens_details": {"reasoning_tokens": reasoning}, "total_tokens": prompt + output,
        }  # fmt: skip
        given = {name: asked.get(name) for name in _ECHOED}
        defaults = {name: value for name, value in _DEFAULTS.items() if asked.get(name) is None}
        return given | defaults | {
            "id": self.id, "object": "response", "created_at": self.created, "status": status, "error": error,
            "completed_at": int(self._now_s()) if status == "completed" else None,
            "incomplete_details": {"reason": why} if why else None, "output": self.output, "store": self.keep,
            "tools": [_TOOL | tool for tool in asked.get("tools") or ()], "truncation": "disabled", "background": False,
            "usage": usage if status in ("completed", "incomplete") else None,
        }  # fmt: skip

    def opening(self) -> bytes:
        return self._event("response.created", response=self.response("in_progress")) + self._event(
            "response.in_progress", response=self.response("in_progress")
        )

    # --- items as they come ---------------------------------------------------------

    def _begin(self, item: dict[str, Any]) -> bytes:
        out = self._finish()
        self._open, self._text = item, ""
        return out + self._event("response.output_item.added", output_index=len(self.output), item=_shown(item))

    def _part(self, name: str, **more: Any) -> bytes:
        assert self._open is not None
        where = {"item_id": self._open["id"], "output_index": len(self.output), "content_index": 0}
        return self._event(name, **where, **more)

    def delta(self, kind: str, text: str) -> bytes:
        out = b""
        if self._open is None or self._open.get("_kind") != kind:
            out = self._begin(_new(kind))
            part = {"text": _TEXT_PART, "refusal": {"type": "refusal", "refusal": ""}}.get(kind, _REASONING_PART)
            out += self._part("response.content_part.added", part=part)
        self._text += text
        more: dict[str, Any] = {"logprobs": []} if kind == "text" else {}
        return out + self._part(f"response.{_WORDS[kind]}.delta", delta=text, **more)

    def call(self, index: int, call: ChatToolCall, arguments: str, *, new: bool) -> bytes:
        out = b""
        if new:
            out = self._begin(_function(call, "in_progress", ""))
        if arguments and self._open is not None:
            self._text += arguments
            where = {"item_id": self._open["id"], "output_index": len(self.output)}
            out += self._event("response.function_call_arguments.delta", **where, delta=arguments)
        return out

    def _finish(self) -> bytes:
        """The item that is open is whole."""
        item, text = self._open, self._text
        if item is None:
            return b""
        out = b""
        kind = item.get("_kind")
        if item["type"] == "function_call":
            item = item | {"arguments": text, "status": "completed"}
            where = {"item_id": item["id"], "output_index": len(self.output), "name": item["name"]}
            out = self._event("response.function_call_arguments.done", **where, arguments=text)
        else:
            part = _part_of(str(kind), text)
            said = {"refusal": text} if kind == "refusal" else {"text": text}
            more: dict[str, Any] = {"logprobs": []} if kind == "text" else {}
            out = self._part(f"response.{_WORDS[str(kind)]}.done", **said, **more)
            out += self._part("response.content_part.done", part=part)
            item = item | {"content": [part], "status": "completed"}
        item = _shown(item)
        out += self._event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        self._open, self._text = None, ""
        return out

    def ending(self) -> bytes:
        out = self._finish()
        status = self._over()
        return out + self._event(f"response.{status}", response=self.response(status))

    def failed(self, error: dict[str, Any]) -> bytes:
        fault = {
            "code": "server_error",
            "type": "server_error",
            "message": str(error.get("message") or "the stream cannot go on"),
        }
        return self._event("response.failed", response=self.response("failed", fault))

    def whole(self, said: ChatOutput) -> bytes:
        for kind, text in (("reasoning", said.reasoning), ("text", said.text), ("refusal", said.refusal)):
            if text:
                item = _new(kind) | {"content": [_part_of(kind, text)], "status": "completed"}
                self.output.append(_shown(item))
        self.output += [_function(one, "completed", one.arguments) for one in said.calls.values()]
        return loose.encode(self.response(self._over()))

    def _over(self) -> str:
        """All is said: keep it; how it ended."""
        if self._save is not None:
            self.keep = self._save(self)
        return "incomplete" if self.said.finish in _STATUS else "completed"


_WORDS: Final = {"text": "output_text", "refusal": "refusal", "reasoning": "reasoning_text"}
_TEXT_PART: Final[dict[str, Any]] = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
_REASONING_PART: Final[dict[str, Any]] = {"type": "reasoning_text", "text": ""}


def _shown(item: dict[str, Any]) -> dict[str, Any]:
    """Without what only this file knows."""
    return {name: value for name, value in item.items() if name != "_kind"}


def _new(kind: str) -> dict[str, Any]:
    """An item that begins."""
    if kind == "reasoning":
        return {"_kind": kind, "id": f"rs_{secrets.token_hex(12)}", "type": "reasoning", "summary": [], "content": []}
    return {
        "_kind": kind, "id": f"msg_{secrets.token_hex(12)}", "type": "message", "role": "assistant",
        "status": "in_progress", "content": [],
    }  # fmt: skip


def _part_of(kind: str, text: str) -> dict[str, Any]:
    if kind == "refusal":
        return {"type": "refusal", "refusal": text}
    return (_TEXT_PART if kind == "text" else _REASONING_PART) | {"text": text}


def _function(call: ChatToolCall, status: str, arguments: str) -> dict[str, Any]:
    return {
        "id": f"fc_{secrets.token_hex(12)}", "type": "function_call", "call_id": call.id, "name": call.name,
        "arguments": arguments, "status": status,
    }  # fmt: skip
