"""LangChain's chat models in loops of LangGraph: chat, Responses, Messages."""

from __future__ import annotations

from cases import CUT, HEARD, LOST, SENSE, URL, case, main, told
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

ASK = "What is the price in 'ERCOT'?"


@tool
def price(market: str) -> str:
    """The price of a market."""
    return f"{market}: 42"


def chat(model: str = SENSE, **more):
    return ChatOpenAI(model=model, base_url=URL, api_key="any", max_retries=0, stream_usage=True, **more)


def anthropic(model: str = SENSE):
    return ChatAnthropic(model=model, base_url=URL.removesuffix("/v1"), api_key="any", max_retries=0, max_tokens=100)


def loop(model, asked: str = ASK) -> str:
    """A loop of a model and its tools, streamed to its end; the last message's text."""
    graph = StateGraph(MessagesState)
    bound = model.bind_tools([price])

    def think(state: MessagesState):
        whole = None
        for part in bound.stream(state["messages"]):
            whole = part if whole is None else whole + part
        return {"messages": [whole]}

    graph.add_node("model", think)
    graph.add_node("tools", ToolNode([price]))
    graph.add_edge(START, "model")
    graph.add_conditional_edges("model", tools_condition)
    graph.add_edge("tools", "model")
    found = graph.compile().invoke({"messages": [("user", asked)]})
    return found["messages"][-1].text


@case
def text() -> None:
    assert chat().invoke("hello").text == HEARD


@case
def responses() -> None:
    assert chat(use_responses_api=True).invoke("hello").text == HEARD


@case
def messages() -> None:
    assert anthropic().invoke("hello").text == HEARD


@case
def chat_loop() -> None:
    assert "ERCOT: 42" in loop(chat())


@case
def responses_loop() -> None:
    assert "ERCOT: 42" in loop(chat(use_responses_api=True))


@case
def messages_loop() -> None:
    assert "ERCOT: 42" in loop(anthropic())


@case
def cut_chat_loop() -> None:
    assert "ERCOT: 42" in loop(chat(CUT))


@case
def cut_responses_loop() -> None:
    assert "ERCOT: 42" in loop(chat(CUT, use_responses_api=True))


@case
def cut_messages_loop() -> None:
    assert "ERCOT: 42" in loop(anthropic(CUT))


@case
def lost_chat_loop() -> str:
    return told(Exception, lambda: loop(chat(LOST)))


@case
def lost_responses_loop() -> str:
    return told(Exception, lambda: loop(chat(LOST, use_responses_api=True)))


@case
def lost_messages_loop() -> str:
    return told(Exception, lambda: loop(anthropic(LOST)))


if __name__ == "__main__":
    main()
