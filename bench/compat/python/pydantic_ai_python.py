"""pydantic-ai: its models of chat, of Responses and of Messages."""

from __future__ import annotations

from cases import CUT, HEARD, LOST, SENSE, URL, case, main, told_async
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

OPENAI = OpenAIProvider(base_url=URL, api_key="any")
ANTHROPIC = AnthropicProvider(base_url=URL.removesuffix("/v1"), api_key="any")
ASK = "What is the price in 'ERCOT'?"


class Site(BaseModel):
    name: str
    feeders: int


def chat(name: str = SENSE) -> OpenAIChatModel:
    return OpenAIChatModel(name, provider=OPENAI)


def desk(model, **more) -> Agent:
    agent = Agent(model, **more)

    @agent.tool_plain
    def price(market: str) -> str:
        """The price of a market."""
        return f"{market}: 42"

    return agent


async def streamed(agent: Agent, asked: str) -> str:
    async with agent.run_stream(asked) as found:
        return "".join([one async for one in found.stream_text(delta=True, debounce_by=None)])


@case
async def run() -> None:
    found = await Agent(chat()).run("hello")
    assert found.output == HEARD


@case
async def run_streamed() -> None:
    assert await streamed(Agent(chat()), "hello") == HEARD


@case
async def tools() -> None:
    assert "ERCOT: 42" in (await desk(chat()).run(ASK)).output


@case
async def output_by_tool() -> None:
    found = await Agent(chat(), output_type=Site).run("Describe 'Aurora' with 3 feeders")
    assert found.output == Site(name="Aurora", feeders=3)


@case
async def output_by_schema() -> None:
    found = await Agent(chat(), output_type=NativeOutput(Site)).run("Describe 'Aurora' with 3 feeders")
    assert found.output == Site(name="Aurora", feeders=3)


@case
async def history() -> None:
    agent = Agent(chat())
    first = await agent.run("My name is 'Ada'")
    assert (await agent.run("hello", message_history=first.all_messages())).output == HEARD


@case
async def responses() -> None:
    model = OpenAIResponsesModel(SENSE, provider=OPENAI)
    assert "ERCOT: 42" in (await desk(model).run(ASK)).output
    assert await streamed(Agent(model), "hello") == HEARD


@case
async def messages() -> None:
    model = AnthropicModel(SENSE, provider=ANTHROPIC)
    assert "ERCOT: 42" in (await desk(model).run(ASK)).output
    assert await streamed(Agent(model), "hello") == HEARD


@case
async def cut_loop() -> None:
    assert "ERCOT: 42" in await streamed(desk(chat(CUT)), ASK)


@case
async def cut_messages_loop() -> None:
    assert "ERCOT: 42" in await streamed(desk(AnthropicModel(CUT, provider=ANTHROPIC)), ASK)


@case
async def lost_loop() -> str:
    return await told_async(Exception, streamed(desk(chat(LOST)), ASK))


if __name__ == "__main__":
    main()
