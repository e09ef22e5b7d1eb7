"""Anthropic's Python SDK."""

from __future__ import annotations

import anthropic
from anthropic import beta_tool
from cases import CUT, HEARD, LOST, REAL, REAL_CUT, SENSE, URL, case, main, real_case, told

client = anthropic.Anthropic(base_url=URL.removesuffix("/v1"), api_key="any", max_retries=0)
GREEDY = {"temperature": 0}
HELLO = [{"role": "user", "content": "hello"}]
ASK = [{"role": "user", "content": "What is the price in 'ERCOT'?"}]
TOOL = {
    "name": "price",
    "description": "the price of a market",
    "input_schema": {"type": "object", "properties": {"market": {"type": "string"}}, "required": ["market"]},
}
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


@case
def message() -> None:
    answer = client.messages.create(model=REAL or SENSE, max_tokens=20, messages=HELLO, extra_body=GREEDY)
    assert answer.content[0].text
    assert answer.usage.output_tokens > 0
    assert answer.stop_reason in ("end_turn", "max_tokens")


@case
def stream() -> None:
    given = {"model": REAL or SENSE, "max_tokens": 30, "messages": HELLO, "extra_body": GREEDY}
    with client.messages.stream(**given) as found:
        text = "".join(found.text_stream)
    assert text == client.messages.create(**given).content[0].text
    assert found.get_final_message().usage.output_tokens > 0


@case
def raw_stream() -> None:
    events = list(client.messages.create(model=SENSE, max_tokens=50, messages=HELLO, stream=True))
    kinds = [one.type for one in events]
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    assert {"content_block_start", "content_block_delta", "content_block_stop", "message_delta"} <= set(kinds)


@case
def system_and_turns() -> None:
    turns = [*ASK, {"role": "assistant", "content": [{"type": "text", "text": "42"}]}, *HELLO]
    system = [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}]
    answer = client.messages.create(model=SENSE, max_tokens=50, system=system, messages=turns)
    assert answer.content[0].text == HEARD


@case
def tools() -> None:
    first = client.messages.create(model=SENSE, max_tokens=50, messages=ASK, tools=[TOOL])
    assert first.stop_reason == "tool_use"
    call = next(one for one in first.content if one.type == "tool_use")
    assert call.input == {"market": "ERCOT"}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    assert "42" in client.messages.create(model=SENSE, max_tokens=50, messages=turns, tools=[TOOL]).content[0].text


@case
def tool_runner() -> None:
    asked = []

    @beta_tool
    def price(market: str) -> str:
        """The price of a market.

        Args:
            market: its name
        """
        asked.append(market)
        return "42"

    runner = client.beta.messages.tool_runner(model=SENSE, max_tokens=50, messages=ASK, tools=[price])
    last = runner.until_done()
    assert asked == ["ERCOT"]
    assert "42" in last.content[0].text


@case
def image() -> None:
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    parts = [picture, {"type": "text", "text": "hello"}]
    answer = client.messages.create(model=SENSE, max_tokens=50, messages=[{"role": "user", "content": parts}])
    assert "hello" in answer.content[0].text


@case
def count_tokens() -> None:
    assert client.messages.count_tokens(model=REAL or SENSE, messages=HELLO).input_tokens > 0


@case
def models() -> None:
    assert SENSE in {one.id for one in client.models.list()}


@case
def missing_model() -> str:
    return told(anthropic.NotFoundError, lambda: client.messages.create(model="nobody", max_tokens=5, messages=HELLO))


@case
def cut_stream() -> None:
    with client.messages.stream(model=CUT, max_tokens=50, messages=HELLO) as found:
        assert "".join(found.text_stream) == HEARD


@case
def cut_tools() -> None:
    with client.messages.stream(model=CUT, max_tokens=50, messages=ASK, tools=[TOOL]) as found:
        found.until_done()
    assert found.get_final_message().content[0].input == {"market": "ERCOT"}


@case
def lost_stream() -> str:
    def work() -> str:
        with client.messages.stream(model=LOST, max_tokens=50, messages=HELLO) as found:
            return "".join(found.text_stream)

    return told(anthropic.APIError, work)


# --- with a small model on a real engine ---------------------------------------------------

SHORT = {"max_tokens": 100, "extra_body": GREEDY}
MUST = {"tools": [TOOL], "tool_choice": {"type": "any"}}


@real_case
def real_raw_stream() -> None:
    kinds = [one.type for one in client.messages.create(model=REAL, messages=HELLO, stream=True, **SHORT)]
    order = [
        "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
        "message_stop",
    ]  # fmt: skip
    assert [one for one in dict.fromkeys(kinds) if one != "ping"] == order


@real_case
def real_system_and_turns() -> None:
    turns = [*HELLO, {"role": "assistant", "content": [{"type": "text", "text": "Hello."}]}, *HELLO]
    assert client.messages.create(model=REAL, system="be brief", messages=turns, **SHORT).content[0].text


@real_case
def real_tools() -> None:
    first = client.messages.create(model=REAL, messages=ASK, **MUST, **SHORT)
    call = next(one for one in first.content if one.type == "tool_use")
    assert (first.stop_reason, call.name) == ("tool_use", "price")
    assert isinstance(call.input["market"], str)
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "42"}
    turns = [*ASK, {"role": "assistant", "content": first.content}, {"role": "user", "content": [result]}]
    last = client.messages.create(model=REAL, messages=turns, tools=[TOOL], tool_choice={"type": "none"}, **SHORT)
    assert last.content[0].text


@real_case
def real_tools_streamed() -> None:
    with client.messages.stream(model=REAL, messages=ASK, **MUST, **SHORT) as found:
        found.until_done()
    call = next(one for one in found.get_final_message().content if one.type == "tool_use")
    assert isinstance(call.input["market"], str)


@real_case
def real_cut_stream() -> None:
    with client.messages.stream(model=REAL_CUT, messages=HELLO, **SHORT) as found:
        text = "".join(found.text_stream)
    assert text == client.messages.create(model=REAL, messages=HELLO, **SHORT).content[0].text


@real_case
def real_cut_tools() -> None:
    inputs = []
    for model in (REAL, REAL_CUT):
        with client.messages.stream(model=model, messages=ASK, **MUST, **SHORT) as found:
            found.until_done()
        inputs.append(next(one.input for one in found.get_final_message().content if one.type == "tool_use"))
    assert inputs[0] == inputs[1]


if __name__ == "__main__":
    main()
