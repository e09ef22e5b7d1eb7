"""Conversations in which a tool is offered: pick the right one, fill its arguments from the question, report.

Some tools are Tieline's own, some are invented on the spot, so that the model learns to copy names, not to know them.
"""

import json
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from phrases import phrases

PLACES, MARKETS = phrases("places"), phrases("markets")
HEADS, ENDS = phrases("heads"), phrases("ends")


def invented_name(r: random.Random) -> str:
    middle = r.choice(HEADS) if r.random() < 0.4 else ""
    name = (r.choice(HEADS) + middle + r.choice(ENDS)).capitalize()
    if r.random() < 0.15:
        name += r.choice((f" {r.randint(1, 30)}", f"-{r.randint(1, 99)}", " North", " West", " Creek"))
    return name


def number(r: random.Random) -> str:
    return r.choice((str(r.randint(1, 20)), str(r.randint(1, 400)), f"{r.randint(0, 60)}.{r.randint(1, 9)}"))


def _text(r: random.Random) -> str:
    return r.choice(PLACES) if r.random() < 0.4 else invented_name(r)


# --- parameters: name, JSON type, how a value is drawn, how a question says it ------------------------------


@dataclass(frozen=True)
class Parameter:
    name: str
    type: str
    draw: Callable[[random.Random], Any]
    spoken: tuple[str, ...]  # each with {} for the value
    enum: tuple[str, ...] = ()


def _num(r: random.Random) -> Any:
    return json.loads(number(r))


def _whole(r: random.Random) -> int:
    return r.choice((r.randint(1, 12), r.randint(1, 100)))


def _date(r: random.Random) -> str:
    return f"202{r.randint(4, 7)}-{r.randint(1, 12):02}-{r.randint(1, 28):02}"


def _code(r: random.Random) -> str:
    return f"{r.choice('ABCDEFGHKMRSTX')}{r.choice(('', '-'))}{r.randint(1, 999)}"


SITE = Parameter("site", "string", _text, ("at {}", "of {}", "at site {}", "for {}", "of site {}", "in {}"))
CITY = ("in {}", "for {}", "at {}", "in the city of {}")
MARKET = Parameter("market", "string", lambda r: r.choice(MARKETS), ("in {}", "on {}", "for {}", "at {}"))
UNITS = ("celsius", "fahrenheit")
UNIT = Parameter("unit", "string", lambda r: r.choice(UNITS), ("in {}", "with unit {}", "in degrees {}"), UNITS)
MORE = (
    Parameter("customer", "string", _text, ("for {}", "of {}", "for customer {}", "of the customer {}")),
    Parameter("name", "string", _text, ("for {}", "named {}", "of {}", "with name {}", "called {}")),
    Parameter("city", "string", _text, CITY),
    Parameter("location", "string", _text, CITY),
    Parameter("region", "string", _text, ("in {}", "for region {}", "in region {}")),
    Parameter("rig", "string", _code, ("of rig {}", "for {}", "for rig {}", "of {}")),
    Parameter("id", "string", _code, ("with id {}", "for {}", "number {}", "for id {}")),
    Parameter("date", "string", _date, ("on {}", "for {}", "for date {}", "of {}")),
    Parameter("user", "string", _text, ("for user {}", "of {}", "for {}")),
    Parameter("query", "string", _text, ("for {}", "about {}", "for the query {}")),
    Parameter("hours", "integer", _whole, ("for {} hours", "over {} hours", "with hours {}")),
    Parameter("days", "integer", _whole, ("for {} days", "over {} days", "for the next {} days")),
    Parameter("limit", "integer", _whole, ("with limit {}", "at most {}", "limit {}")),
    Parameter("count", "integer", _whole, ("{} times", "with count {}", "count {}")),
    Parameter("percent", "number", _num, ("by {} percent", "at {} percent", "to {} percent")),
    Parameter("amount", "number", _num, ("of {}", "with amount {}", "amount {}")),
    Parameter("price", "number", _num, ("at {} USD", "with price {}", "at price {}")),
    Parameter("mw", "number", _num, ("to {} MW", "at {} MW", "with {} MW")),
    UNIT,
)


@dataclass(frozen=True)
class Tool:
    name: str
    description: str
    parameters: tuple[Parameter, ...]
    spoken: tuple[str, ...]  # the question before its parameters are said, or with {name} where they belong
    optional: frozenset[str] = frozenset()
    otherwise: str | None = None  # the topic to explain when the tool is not offered

    def offered(self) -> dict[str, Any]:
        """As a client of the OpenAI API writes it."""
        properties: dict[str, Any] = {}
        for p in self.parameters:
            properties[p.name] = {"type": p.type} | ({"enum": list(p.enum)} if p.enum else {})
        required = [p.name for p in self.parameters if p.name not in self.optional]
        parameters = {"type": "object", "properties": properties, "required": required}
        return {
            "type": "function",
            "function": {"name": self.name, "description": self.description, "parameters": parameters},
        }


BY_NAME = {p.name: p for p in (SITE, MARKET, *MORE)}
BY_NAME |= {name: Parameter(name, "number", _num, ("{}",)) for name in "ab"}
KNOWN = tuple(
    Tool(
        t["name"],
        t["says"],
        tuple(BY_NAME[name] for name in t["parameters"]),
        tuple(t["asks"]),
        frozenset(t.get("optional", ())),
        t.get("otherwise"),
    )
    for t in tomllib.loads(Path(__file__).with_name("tools.toml").read_text())["tool"]
)
VERBS, NOUNS = phrases("verbs"), phrases("nouns")


def invented_tool(r: random.Random) -> Tool:
    verb, noun = r.choice(VERBS), r.choice(NOUNS)
    said, thing = verb.replace("_", " "), noun
    parameters = tuple({p.name: p for p in r.sample(MORE, r.choice((0, 1, 1, 1, 2, 2)))}.values())
    name = r.choice((f"{verb}_{noun}", f"{verb}_{noun}", f"{noun}_{verb}", f"{verb}{noun.capitalize()}"))
    description = r.choice(
        (
            f"{said.capitalize()} the {thing}",
            f"{said.capitalize()} a {thing}",
            f"{said.capitalize()} {thing}",
            f"To {said} the {thing}",
            "",
        )
    )
    asks = (
        f"{said} the {thing}",
        f"{said} a {thing}",
        f"please {said} the {thing}",
        f"can you {said} the {thing}",
        f"i want to {said} the {thing}",
        f"{thing}: {said}",
    )
    optional = frozenset(p.name for p in parameters[1:] if r.random() < 0.3)
    return Tool(name, description, parameters, asks, optional)


def any_tool(r: random.Random) -> Tool:
    return r.choice(KNOWN) if r.random() < 0.55 else invented_tool(r)


def call(r: random.Random, tool: Tool) -> tuple[str, dict[str, Any]]:
    """A question that needs this tool, and the arguments it should be called with."""
    question = r.choice(tool.spoken)
    arguments: dict[str, Any] = {}
    for p in tool.parameters:
        placed = "{" + p.name + "}" in question
        if not placed and p.name in tool.optional and r.random() < 0.7:
            continue
        value = p.draw(r)
        arguments[p.name] = value
        question = (
            question.replace("{" + p.name + "}", str(value))
            if placed
            else f"{question} {r.choice(p.spoken).format(value)}"
        )
    if r.random() < 0.2:
        question = (
            r.choice(("please", "now", "hey,", "use a tool:", "can you tell me", "tell me", "quick:")) + " " + question
        )
    if r.random() < 0.7:
        question = question[:1].upper() + question[1:]
    return question + r.choice(("?", "?", "", ".")), arguments


def result(r: random.Random, tool: Tool, arguments: dict[str, Any]) -> tuple[str, str]:
    """What the tool may answer, and how the model reports it."""
    if tool.name == "get_site_power":
        mw = _num(r)
        return json.dumps({"site": arguments["site"], "mw": mw}), f"{arguments['site']} draws {mw} MW."
    if tool.name == "set_power" and r.random() < 0.7:
        return json.dumps({"ok": True}), f"{arguments['site']} was set to {arguments['mw']} MW."
    if tool.name == "get_price":
        price = _num(r)
        return json.dumps({"usd_per_mwh": price}), f"The price in {arguments['market']} is {price} USD per MWh."
    if tool.name == "get_hashprice":
        price = _num(r)
        return json.dumps({"usd_per_ph_day": price}), f"Hashprice is {price} USD per PH/s per day."
    if r.random() < 0.4:
        text = " ".join(r.choice((_text(r), number(r), r.choice(NOUNS))) for _ in range(r.randint(1, 4)))
        return text, f"The tool says: {text}"
    facts = {
        k: r.choice((_text(r), _num(r), r.choice(("ok", "done", "closed", "open"))))
        for k in r.sample(NOUNS, r.choice((1, 1, 2)))
    }
    return json.dumps(facts), "The tool says: " + ", ".join(f"{k} {v}" for k, v in facts.items())


def conversation(
    r: random.Random, plain: Callable[[], tuple[str, str]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Messages and the tools on offer; now and then a plain question comes, that needs no tool."""
    tools = {t.name: t for t in (any_tool(r) for _ in range(r.choice((1, 1, 2, 3, 4))))}
    messages: list[dict[str, Any]] = []
    if r.random() < 0.25:
        messages.append(
            {
                "role": "system",
                "content": r.choice(
                    ("You are a helpful assistant.", "Use the tools.", "You are an operator's assistant.")
                ),
            }
        )
    for _ in range(r.choice((1, 1, 2))):
        if r.random() < 0.12:
            question, answer = plain()
            messages += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            continue
        tool = r.choice(list(tools.values()))
        question, arguments = call(r, tool)
        content, report = result(r, tool, arguments)
        made = {"type": "function", "function": {"name": tool.name, "arguments": arguments}}
        messages += [{"role": "user", "content": question}, {"role": "assistant", "content": "", "tool_calls": [made]}]
        if r.random() < 0.6:
            messages += [{"role": "tool", "content": content}, {"role": "assistant", "content": report}]
    return messages, [t.offered() for t in tools.values()]
