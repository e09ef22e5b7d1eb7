"""openai-python: chat, Responses, conversations."""

from __future__ import annotations

import openai
from cases import CUT, HEARD, LOST, REAL, SENSE, URL, case, main, told
from pydantic import BaseModel

client = openai.OpenAI(base_url=URL, api_key="any", max_retries=0)
HELLO = [{"role": "user", "content": "hello"}]
PRICE = {
    "type": "object",
    "properties": {"market": {"type": "string"}},
    "required": ["market"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "price", "description": "the price", "parameters": PRICE}}
RESPONSES_TOOL = {"type": "function", "name": "price", "description": "the price", "parameters": PRICE, "strict": True}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Site(BaseModel):
    name: str
    feeders: int


def text_of(stream) -> str:
    return "".join(one.choices[0].delta.content or "" for one in stream if one.choices)


@case
def chat() -> None:
    answer = client.chat.completions.create(model=REAL or SENSE, messages=HELLO, max_tokens=20, temperature=0)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens > 0


@case
def chat_stream() -> None:
    given = {"model": REAL or SENSE, "messages": HELLO, "max_tokens": 30, "temperature": 0}
    chunks = list(client.chat.completions.create(**given, stream=True, stream_options={"include_usage": True}))
    assert text_of(chunks) == client.chat.completions.create(**given).choices[0].message.content
    assert chunks[-1].usage.completion_tokens > 0
    assert len({one.id for one in chunks}) == 1


@case
def chat_several() -> None:
    answer = client.chat.completions.create(model=REAL or SENSE, messages=HELLO, max_tokens=8, n=2 if REAL else 1)
    assert len(answer.choices) == (2 if REAL else 1)


@case
def chat_tools() -> None:
    messages = [{"role": "user", "content": "What is the price in 'ERCOT'?"}]
    first = client.chat.completions.create(model=SENSE, messages=messages, tools=[TOOL]).choices[0].message
    call = first.tool_calls[0]
    assert call.function.arguments == '{"market": "ERCOT"}'
    messages += [first, {"role": "tool", "tool_call_id": call.id, "content": "42"}]
    last = client.chat.completions.create(model=SENSE, messages=messages, tools=[TOOL])
    assert "42" in last.choices[0].message.content


@case
def chat_parse() -> None:
    asked = [{"role": "user", "content": "Describe 'Aurora' with 3 feeders"}]
    found = client.chat.completions.parse(model=SENSE, messages=asked, response_format=Site)
    assert found.choices[0].message.parsed == Site(name="Aurora", feeders=3)


@case
def chat_stream_helper() -> None:
    with client.chat.completions.stream(model=SENSE, messages=HELLO) as stream:
        kinds = {event.type for event in stream}
    assert {"content.delta", "content.done", "chunk"} <= kinds
    assert stream.get_final_completion().choices[0].message.content == HEARD


@case
def responses_text() -> None:
    answer = client.responses.create(model=SENSE, input="hello", instructions="be brief")
    assert (answer.output_text, answer.status) == (HEARD, "completed")
    assert answer.usage.output_tokens > 0


@case
def responses_stream() -> None:
    events = list(client.responses.create(model=SENSE, input="hello", stream=True))
    assert [one.sequence_number for one in events] == list(range(len(events)))
    kinds = [one.type for one in events]
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    assert "".join(one.delta for one in events if one.type == "response.output_text.delta") == HEARD


@case
def responses_tools() -> None:
    asked = [{"role": "user", "content": "What is the price in 'ERCOT'?"}]
    first = client.responses.create(model=SENSE, input=asked, tools=[RESPONSES_TOOL])
    call = next(item for item in first.output if item.type == "function_call")
    more = {"type": "function_call_output", "call_id": call.call_id, "output": "42"}
    last = client.responses.create(model=SENSE, previous_response_id=first.id, input=[more], tools=[RESPONSES_TOOL])
    assert "42" in last.output_text


@case
def responses_image() -> None:
    parts = [
        {"type": "input_text", "text": "hello"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"},
    ]
    answer = client.responses.create(model=SENSE, input=[{"role": "user", "content": parts}])
    assert answer.status == "completed"
    assert "hello" in answer.output_text


@case
def responses_several_turns() -> None:
    turns = [
        {"role": "user", "content": "My name is 'Ada'"},
        {"role": "assistant", "content": "Hello Ada"},
        {"role": "user", "content": "hello"},
    ]
    assert client.responses.create(model=SENSE, input=turns).output_text == HEARD


@case
def responses_parse() -> None:
    found = client.responses.parse(model=SENSE, input="Describe 'Aurora' with 3 feeders", text_format=Site)
    assert found.output_parsed == Site(name="Aurora", feeders=3)


@case
def responses_kept() -> None:
    first = client.responses.create(model=SENSE, input="hello")
    again = client.responses.retrieve(first.id)
    assert again.output_text == first.output_text
    second = client.responses.create(model=SENSE, input="hello", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    assert len(list(client.responses.input_items.list(second.id))) >= 1
    client.responses.delete(first.id)
    told(openai.NotFoundError, lambda: client.responses.retrieve(first.id))


@case
def conversations() -> None:
    one = client.conversations.create(items=[{"role": "user", "content": "My name is 'Ada'"}])
    answer = client.responses.create(model=SENSE, input="hello", conversation=one.id)
    assert answer.output_text == HEARD
    assert len(list(client.conversations.items.list(one.id))) == 3
    client.conversations.delete(one.id)


@case
def embeddings() -> None:
    assert len(client.embeddings.create(model=SENSE, input=["a", "bc"]).data) == 2


@case
def models() -> None:
    assert SENSE in {one.id for one in client.models.list()}
    assert client.models.retrieve(SENSE).id == SENSE


@case
def missing_model() -> str:
    return told(openai.NotFoundError, lambda: client.chat.completions.create(model="nobody", messages=HELLO))


@case
def cut_stream() -> None:
    assert text_of(client.chat.completions.create(model=CUT, messages=HELLO, stream=True)) == HEARD


@case
def cut_tools() -> None:
    asked = [{"role": "user", "content": "What is the price in 'ERCOT'?"}]
    with client.chat.completions.stream(model=CUT, messages=asked, tools=[TOOL]) as stream:
        stream.until_done()
    call = stream.get_final_completion().choices[0].message.tool_calls[0]
    assert (call.function.name, call.function.arguments) == ("price", '{"market": "ERCOT"}')


@case
def cut_responses() -> None:
    with client.responses.stream(model=CUT, input="hello") as stream:
        stream.until_done()
    assert stream.get_final_response().output_text == HEARD


@case
def lost_stream() -> str:
    return told(
        openai.APIError, lambda: text_of(client.chat.completions.create(model=LOST, messages=HELLO, stream=True))
    )


@case
def lost_responses() -> str:
    events = list(client.responses.create(model=LOST, input="hello", stream=True))
    assert events[-1].type == "response.failed", events[-1].type
    return events[-1].response.error.message


if __name__ == "__main__":
    main()
