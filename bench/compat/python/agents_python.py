"""openai-agents: loops over Responses and over chat, with tools, types, sessions and handoffs."""

from __future__ import annotations

from typing import Annotated, Literal

import openai
from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIConversationsSession,
    Runner,
    SQLiteSession,
    function_tool,
    set_default_openai_client,
    set_tracing_disabled,
)
from cases import CUT, HEARD, LOST, REAL, REAL_CUT, SENSE, URL, case, main, real_case, told_async
from pydantic import BaseModel, Field

client = openai.AsyncOpenAI(base_url=URL, api_key="any", max_retries=0)
set_default_openai_client(client, use_for_tracing=False)
set_tracing_disabled(True)
ASK = "What is the price in 'ERCOT'?"


class Site(BaseModel):
    name: str
    feeders: int


@function_tool
def price(market: str) -> str:
    """The price of a market."""
    return f"{market}: 42"


def agent(model=SENSE, **more) -> Agent:
    return Agent(name="desk", instructions="be brief", model=model, **more)


async def streamed(one: Agent, asked: str) -> tuple[str, list[str]]:
    result = Runner.run_streamed(one, asked)
    deltas = [
        event.data.delta
        async for event in result.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    return result.final_output, deltas


@case
async def run() -> None:
    assert (await Runner.run(agent(), "hello")).final_output == HEARD


@case
async def run_streamed() -> None:
    final, deltas = await streamed(agent(), "hello")
    assert final == "".join(deltas) == HEARD
    assert len(deltas) > 2


@case
async def tools() -> None:
    assert "ERCOT: 42" in (await Runner.run(agent(tools=[price]), ASK)).final_output


@case
async def tools_streamed() -> None:
    final, _ = await streamed(agent(tools=[price]), ASK)
    assert "ERCOT: 42" in final


@case
async def output_type() -> None:
    found = await Runner.run(agent(output_type=Site), "Describe 'Aurora' with 3 feeders")
    assert found.final_output == Site(name="Aurora", feeders=3)


@case
async def session() -> None:
    kept = SQLiteSession("one")
    await Runner.run(agent(), "My name is 'Ada'", session=kept)
    assert (await Runner.run(agent(), "hello", session=kept)).final_output == HEARD
    assert len(await kept.get_items()) == 4


@case
async def conversation_session() -> None:
    kept = OpenAIConversationsSession(openai_client=client)
    await Runner.run(agent(), "My name is 'Ada'", session=kept)
    assert (await Runner.run(agent(), "hello", session=kept)).final_output == HEARD
    assert len(await kept.get_items()) == 4
    await kept.clear_session()


@case
async def previous_response() -> None:
    first = await Runner.run(agent(), "My name is 'Ada'")
    again = await Runner.run(agent(), "hello", previous_response_id=first.last_response_id)
    assert again.final_output == HEARD


@case
async def handoff() -> None:
    other = Agent(name="trader", instructions="trade", model=SENSE)
    found = await Runner.run(agent(handoffs=[other]), "hello")
    assert found.last_agent is other


@case
async def agent_as_tool() -> None:
    other = agent().as_tool(tool_name="ask_trader", tool_description="asks the trader")
    assert "scripted" in (await Runner.run(agent(tools=[other]), ASK)).final_output


@case
async def chat_completions() -> None:
    model = OpenAIChatCompletionsModel(model=SENSE, openai_client=client)
    final, _ = await streamed(agent(model, tools=[price]), ASK)
    assert "ERCOT: 42" in final


@case
async def cut_loop() -> None:
    final, _ = await streamed(agent(CUT, tools=[price]), ASK)
    assert "ERCOT: 42" in final


@case
async def cut_loop_not_streamed() -> None:
    assert "ERCOT: 42" in (await Runner.run(agent(CUT, tools=[price]), ASK)).final_output


@case
async def cut_chat_loop() -> None:
    model = OpenAIChatCompletionsModel(model=CUT, openai_client=client)
    final, _ = await streamed(agent(model, tools=[price]), ASK)
    assert "ERCOT: 42" in final


@case
async def lost_loop() -> str:
    return await told_async(Exception, streamed(agent(LOST, tools=[price]), ASK))


# --- with a small model on a real engine ---------------------------------------------------


@function_tool  # of a name with a bound: a small model would write one without an end
def price_of(market: Annotated[str, Field(max_length=10)]) -> str:
    """The price of one of two markets."""
    return f"{market}: 42"


class Short(BaseModel):
    unit: Literal["MW", "kW"]


def small(model=REAL, *, choice: str | None = None, **more) -> Agent:
    """Its answers end soon; after a tool that it must call it may say what it likes."""
    settings = ModelSettings(temperature=0, max_tokens=100, tool_choice=choice)
    return Agent(name="desk", instructions="be brief", model=model, model_settings=settings, **more)


def called(items) -> None:
    kinds = [one.type for one in items]
    assert kinds.index("tool_call_item") < kinds.index("tool_call_output_item") < kinds.index("message_output_item")


@real_case
async def real_run() -> None:
    assert (await Runner.run(small(), "What is a rig?")).final_output


@real_case
async def real_run_streamed() -> None:
    final, deltas = await streamed(small(), "What is a rig?")
    assert final == "".join(deltas)
    assert len(deltas) > 2


@real_case
async def real_tools() -> None:
    found = await Runner.run(small(choice="required", tools=[price_of]), ASK)
    called(found.new_items)
    assert found.final_output


@real_case
async def real_tools_streamed() -> None:
    final, deltas = await streamed(small(choice="required", tools=[price_of]), ASK)
    assert final == "".join(deltas) != ""


@real_case
async def real_output_type() -> None:
    found = await Runner.run(small(output_type=Short), "What unit has power?")
    assert found.final_output.unit in ("MW", "kW")


@real_case
async def real_session() -> None:
    kept = SQLiteSession("real")
    await Runner.run(small(), "What is a rig?", session=kept)
    assert (await Runner.run(small(), "What is a pool?", session=kept)).final_output
    assert len(await kept.get_items()) == 4


@real_case
async def real_conversation_session() -> None:
    kept = OpenAIConversationsSession(openai_client=client)
    await Runner.run(small(), "What is a rig?", session=kept)
    assert (await Runner.run(small(), "What is a pool?", session=kept)).final_output
    assert len(await kept.get_items()) == 4
    await kept.clear_session()


@real_case
async def real_previous_response() -> None:
    first = await Runner.run(small(), "What is a rig?")
    again = await Runner.run(small(), "What is a pool?", previous_response_id=first.last_response_id)
    assert again.final_output


@real_case
async def real_cut_run() -> None:
    whole = (await Runner.run(small(), "What is a rig?")).final_output
    final, deltas = await streamed(small(REAL_CUT), "What is a rig?")
    assert final == "".join(deltas) == whole


@real_case
async def real_cut_loop() -> None:
    """Every answer of the loop is cut once, the calls too: it ends as the undisturbed one."""
    whole, _ = await streamed(small(choice="required", tools=[price_of]), ASK)
    final, _ = await streamed(small(REAL_CUT, choice="required", tools=[price_of]), ASK)
    assert final == whole


@real_case
async def real_cut_loop_not_streamed() -> None:
    found = await Runner.run(small(REAL_CUT, choice="required", tools=[price_of]), ASK)
    called(found.new_items)
    assert found.final_output


if __name__ == "__main__":
    main()
