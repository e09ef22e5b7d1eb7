"""The six cases of the Open Responses acceptance tests by their names, asked without a client library: each answer has
every field that the form demands, with its type, and each event of a stream is whole.

They are asked of the real engine. A picture is asked of the scripted one: no small model sees."""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Literal

from cases import REAL, SENSE, URL, case, main
from pydantic import BaseModel, ConfigDict, TypeAdapter

MODEL = REAL or SENSE
# Room for its words and no more: the self-test model has a context of 1,024 tokens.
LIMIT = {"max_output_tokens": 200, "temperature": 0}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
CITY = {"type": "string", "maxLength": 20}
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "description": "the weather at a place",
    "parameters": {"type": "object", "properties": {"location": CITY}, "required": ["location"]},
}


class Strict(BaseModel):
    """Every field is demanded, and of its type: null only where it says so."""

    model_config = ConfigDict(strict=True)


class OutputText(Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class Message(Strict):
    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant"]
    content: list[OutputText]


class FunctionCall(Strict):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"]


class ReasoningText(Strict):
    type: Literal["reasoning_text"]
    text: str


class Reasoning(Strict):
    type: Literal["reasoning"]
    id: str
    summary: list[Any]
    content: list[ReasoningText]


class CachedTokens(Strict):
    cached_tokens: int


class ReasoningTokens(Strict):
    reasoning_tokens: int


class Usage(Strict):
    input_tokens: int
    input_tokens_details: CachedTokens
    output_tokens: int
    output_tokens_details: ReasoningTokens
    total_tokens: int


class Reason(Strict):
    reason: str


class Fault(Strict):
    type: str
    message: str


class Tool(Strict):
    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class Response(Strict):
    """A response as the form has it."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    incomplete_details: Reason | None
    model: str
    previous_response_id: str | None
    instructions: str | None
    output: list[Message | FunctionCall | Reasoning]
    error: Fault | None
    tools: list[Tool]
    tool_choice: Any
    truncation: Literal["auto", "disabled"]
    parallel_tool_calls: bool
    text: dict[str, Any]
    top_p: float
    presence_penalty: float
    frequency_penalty: float
    top_logprobs: int
    temperature: float
    reasoning: dict[str, Any] | None
    usage: Usage | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    store: bool
    background: bool
    service_tier: str
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None


def ask(model: str = MODEL, **more: Any) -> Any:
    """The answer's lines, as they came."""
    body = json.dumps({"model": model} | LIMIT | more).encode()
    asked = urllib.request.Request(f"{URL}/responses", body, {"content-type": "application/json"})
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return answer.read().decode()


def response(text: str) -> Response:
    """It has all that it must have; Pydantic says what not. Numbers that are whole are numbers too."""
    found = json.loads(text)
    for name in ("top_p", "presence_penalty", "frequency_penalty", "temperature"):
        assert isinstance(found[name], int | float), f"{name} is {found[name]!r}"
        found[name] = float(found[name])
    return Response.model_validate(found)


def completed(text: str, kind: str = "message") -> Response:
    found = response(text)
    assert found.status == "completed", f"{found.status}: {found.incomplete_details}"
    assert found.completed_at is not None
    assert kind in {one.type for one in found.output}, [one.type for one in found.output]
    assert found.usage is not None
    assert found.usage.total_tokens == found.usage.input_tokens + found.usage.output_tokens
    return found


def said(role: str, text: Any) -> dict[str, Any]:
    return {"type": "message", "role": role, "content": text}


@case
def basic_text_response() -> None:
    found = completed(ask(input=[said("user", "What is a rig?")]))
    assert "".join(part.text for one in found.output if isinstance(one, Message) for part in one.content)


@case
def streaming_response() -> None:
    blocks = [one for one in ask(input=[said("user", "What is a pool?")], stream=True).split("\n\n") if one.strip()]
    if blocks[-1] == "data: [DONE]":
        blocks.pop()
    events = []
    for block in blocks:
        named, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert named == f"event: {event['type']}"
        events.append(event)
    assert [one["sequence_number"] for one in events] == list(range(len(events)))
    kinds = [one["type"].removeprefix("response.") for one in events]
    assert kinds[:2] == ["created", "in_progress"]
    order = [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done", "completed",
    ]  # fmt: skip
    assert [one for one in dict.fromkeys(kinds) if one in order] == order
    for one in events:
        if "response" in one:
            response(json.dumps(one["response"]))
    last = completed(json.dumps(events[-1]["response"]))
    text = "".join(one["delta"] for one in events if one["type"] == "response.output_text.delta")
    assert text == "".join(part.text for one in last.output if isinstance(one, Message) for part in one.content)
    for one in events:
        if one["type"] == "response.output_item.done":
            TypeAdapter(Message | FunctionCall | Reasoning).validate_python(one["item"])


@case
def system_prompt() -> None:
    completed(ask(input=[said("system", "You are a miner. Be brief."), said("user", "What is a rig?")]))


@case
def tool_calling() -> None:
    asked = [said("user", "What is the weather in San Francisco?")]
    found = completed(ask(input=asked, tools=[WEATHER], tool_choice="required"), "function_call")
    call = next(one for one in found.output if isinstance(one, FunctionCall))
    assert call.name == "get_weather"
    assert isinstance(json.loads(call.arguments), dict)  # which fields, is the small model's sense


@case
def image_input() -> None:
    parts = [
        {"type": "input_text", "text": "What do you see?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}"},
    ]
    completed(ask(SENSE, input=[said("user", parts)]))


@case
def multi_turn() -> None:
    turns = [
        said("user", "My rig is an S19."),
        said("assistant", [{"type": "output_text", "text": "Good to know.", "annotations": [], "logprobs": []}]),
        said("user", "What is a rig?"),
    ]
    completed(ask(input=turns))


if __name__ == "__main__":
    main()
