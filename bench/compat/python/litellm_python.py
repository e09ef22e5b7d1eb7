"""LiteLLM: its client before the gateway, and its proxy before it and behind it."""

from __future__ import annotations

import os

import litellm
import openai
from cases import CUT, HEARD, LOST, SENSE, URL, case, main, told

HELLO = [{"role": "user", "content": "hello"}]
ASK = [{"role": "user", "content": "What is the price in 'ERCOT'?"}]
PRICE = {"type": "object", "properties": {"market": {"type": "string"}}, "required": ["market"]}
TOOL = {"type": "function", "function": {"name": "price", "description": "the price", "parameters": PRICE}}
BASE = URL.removesuffix("/v1")
litellm.num_retries = 0
litellm.telemetry = False


def ask(model: str = SENSE, messages=HELLO, **more):
    return litellm.completion(
        model=f"openai/{model}", api_base=URL, api_key="any", messages=messages, max_retries=0, **more
    )


def text_of(stream) -> str:
    return "".join(one.choices[0].delta.content or "" for one in stream if one.choices)


@case
def text() -> None:
    found = ask()
    assert found.choices[0].message.content == HEARD
    assert found.usage.completion_tokens > 0


@case
def stream() -> None:
    assert text_of(ask(stream=True)) == HEARD


@case
def tools() -> None:
    assert ask(messages=ASK, tools=[TOOL]).choices[0].message.tool_calls[0].function.arguments == '{"market": "ERCOT"}'


@case
def messages() -> None:
    found = litellm.completion(
        model=f"anthropic/{SENSE}", api_base=BASE, api_key="any", messages=HELLO, max_tokens=50, max_retries=0
    )
    assert found.choices[0].message.content == HEARD


@case
def responses() -> None:
    found = litellm.responses(model=f"openai/{SENSE}", api_base=URL, api_key="any", input="hello")
    assert found.output[0].content[0].text == HEARD


@case
def cut_stream() -> None:
    assert text_of(ask(CUT, stream=True)) == HEARD


@case
def lost_stream() -> str:
    return told(Exception, lambda: text_of(ask(LOST, stream=True)))


def proxied() -> openai.OpenAI:
    return openai.OpenAI(base_url=os.environ["TIELINE_LITELLM"], api_key="sk-any", max_retries=0)


@case
def proxy_before() -> None:
    """A client, LiteLLM's proxy, this gateway."""
    assert proxied().chat.completions.create(model="tieline", messages=HELLO).choices[0].message.content == HEARD
    assert text_of(proxied().chat.completions.create(model="tieline", messages=HELLO, stream=True)) == HEARD


@case
def proxy_before_cut() -> None:
    assert text_of(proxied().chat.completions.create(model="tieline-cut", messages=HELLO, stream=True)) == HEARD


@case
def proxy_behind() -> None:
    """A client, this gateway, LiteLLM's proxy as its engine."""
    client = openai.OpenAI(base_url=URL, api_key="any", max_retries=0)
    whole = client.chat.completions.create(model="behind", messages=HELLO)
    assert whole.choices[0].message.content == HEARD
    assert whole.usage.completion_tokens > 0
    found = list(
        client.chat.completions.create(
            model="behind", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
    )
    assert text_of(found) == HEARD
    assert found[-1].usage.completion_tokens > 0
    call = client.chat.completions.create(model="behind", messages=ASK, tools=[TOOL]).choices[0].message.tool_calls[0]
    assert call.function.arguments == '{"market": "ERCOT"}'


if __name__ == "__main__":
    main()
