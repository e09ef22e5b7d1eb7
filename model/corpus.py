"""The corpus: what people may ask the self-test model, and what it should say.

Every conversation is drawn at random from topics, long answers, refusals, counting, small JSON and tool calls;
nothing is collected from anywhere. The same seed gives the same conversations.
Knows nothing of tokens or training.
"""

import json
import random
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import tool_corpus
from phrases import expand, phrases, reword
from tool_corpus import PLACES, invented_name, number

HERE = Path(__file__).parent
TOPICS: list[dict[str, Any]] = tomllib.loads((HERE / "topics.toml").read_text())["topic"]
LONG: list[dict[str, Any]] = tomllib.loads((HERE / "long_answers.toml").read_text())["long"]
CHAT_TEMPLATE = (HERE / "chat_template.jinja").read_text()

# Shares of all conversations. Copying a name into an argument is what so small a model learns last, and nothing else
# teaches it faster than copying alone: drills make up most of the beginning and a small share of the end.
DRILLS_FIRST, DRILLS_LAST, DRILLS_UNTIL = 0.65, 0.15, 0.45
# Tools make way for plain talk at the end: a model that has just met many of them calls one where none is offered.
TOOLS_FIRST, TOOLS_LAST, TOOLS_UNTIL = 0.25, 0.10, 0.7

Message = dict[str, Any]


@dataclass
class Conversation:
    messages: list[Message]
    tools: list[dict[str, Any]] = field(default_factory=list)


def conversation(r: random.Random, done: float = 1.0) -> Conversation:
    """One conversation: mostly one to four questions; often with tools; drills in copying, first many, then few.

    `done` is the share of the training that lies behind, 0 to 1.
    """
    kind = r.random()
    drills = DRILLS_LAST + (DRILLS_FIRST - DRILLS_LAST) * max(0.0, 1 - done / DRILLS_UNTIL)
    tools_share = TOOLS_FIRST if done < TOOLS_UNTIL else TOOLS_LAST
    if kind < tools_share:
        messages, tools = tool_corpus.conversation(r, plain=lambda: pair(r))
        return Conversation(messages, tools)
    if kind < tools_share + drills:
        drill = r.choice((echo, as_json, short_count, without_tools, without_tools, without_tools))
        return Conversation([m for _ in range(4) for m in turns(*drill(r))])
    messages = [{"role": "system", "content": system(r)}] if r.random() < 0.35 else []
    return Conversation(messages + [m for _ in range(r.choice((1, 1, 1, 2, 2, 3, 4))) for m in turns(*pair(r))])


def turns(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def pair(r: random.Random) -> tuple[str, str]:
    """One question and its answer; the weights say how much of each kind the model sees."""
    kinds: list[tuple[int, Callable[[random.Random], tuple[str, str]]]] = [
        (62, about_topic),
        (11, out_of_domain),
        (4, greeting),
        (5, long_answer),
        (5, counting),
        (3, short_count),
        (9, as_json),
        (2, conversion),
        (5, echo),
        (9, without_tools),
    ]
    return r.choices([kind for _, kind in kinds], [weight for weight, _ in kinds])[0](r)


_ENVIRONMENT = jinja2.Environment()
_ENVIRONMENT.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
_TEMPLATE = _ENVIRONMENT.from_string(CHAT_TEMPLATE)


def render(c: Conversation, *, prompt: bool = False) -> str:
    """The text the engine makes of a conversation: the same template is written into the model file."""
    return _TEMPLATE.render(messages=c.messages, tools=c.tools or None, add_generation_prompt=prompt)


# --- how people phrase things -------------------------------------------------------------------------------

HELD_OUT_FRAMES = ("Quick question: what is {}?", "I want to know what {} is.", "Could you please describe {} to me?")
FRAMES, LEADS, TAILS = phrases("frames"), phrases("leads"), phrases("tails")
SMALL_WORDS = set(phrases("small_words"))


def dress(question: str, r: random.Random) -> str:
    """Give a question a lead, a tail, a typing mistake, a case and an end, as people do."""
    if r.random() < 0.25:
        question = f"{r.choice(LEADS)} {question}"
    if r.random() < 0.15:
        question = f"{question} {r.choice(TAILS)}"
    if r.random() < 0.12:
        question = misspell(question, r)
    if r.random() < 0.6:
        question = question[:1].upper() + question[1:]
    if r.random() < 0.03:
        question = question.upper()
    return question + r.choice(("?", "?", "?", "", "", "."))


def misspell(text: str, r: random.Random) -> str:
    at = r.randrange(1, max(2, len(text) - 1))
    return r.choice((text[:at] + text[at + 1 :], text[:at] + text[at - 1] + text[at:], text[:at] + text[at + 1 :]))


def loosen(question: str, r: random.Random) -> str:
    """Drop small words, or one large one, so that the answer hangs on no single word."""
    words = [w for w in question.split() if w.lower() not in SMALL_WORDS or r.random() < 0.5]
    if len(words) > 4 and r.random() < 0.5:
        words.pop(r.randrange(len(words)))
    if r.random() < 0.25:
        at = r.randrange(len(words) + 1)
        words.insert(at, r.choice(("really", "usually", "exactly", "then", "here", "just", invented_name(r))))
    return " ".join(words)


def about_topic(r: random.Random, *, held_out: bool = False) -> tuple[str, str]:
    topic = r.choice(TOPICS)
    name = r.choice(topic["names"])
    if held_out:
        return r.choice(HELD_OUT_FRAMES).format(name), topic["says"]
    kind = r.random()
    if kind < 0.36:
        question = expand(r.choice(FRAMES), r).format(name)
    elif kind < 0.9:
        question = reword(expand(r.choice(topic["asks"]), r), r, share=r.choice((0, 0.3, 0.6)))
    else:  # two ways at once, in any order
        parts = [name if r.random() < 0.5 else expand(r.choice(topic["asks"]), r), expand(r.choice(topic["asks"]), r)]
        r.shuffle(parts)
        question = r.choice((", ", " ", ": ")).join(parts)
    if r.random() < 0.35:
        question = loosen(question, r)
    return dress(question, r), topic["says"]


# --- what is not its field ----------------------------------------------------------------------------------

OFFER = "Ask me about sites, power, mining, inference or the books."
REFUSAL = f"I am only a small self-test model and cannot answer that. {OFFER}"
OUT_OF_DOMAIN, THINGS = phrases("out_of_domain"), phrases("things")


def out_of_domain(r: random.Random) -> tuple[str, str]:
    thing = r.choice(THINGS) if r.random() < 0.8 else invented_name(r)
    question = expand(r.choice(OUT_OF_DOMAIN), r).replace("{}", thing)
    return dress(question, r), REFUSAL


NO_TOOL = "I have no tool to do that. Offer me one and I call it."


def without_tools(r: random.Random) -> tuple[str, str]:
    """A question for a tool when none is offered, so that the offer decides, not the question."""
    tool = tool_corpus.any_tool(r)
    explained = [topic["says"] for topic in TOPICS if topic["key"] == tool.otherwise]
    return tool_corpus.call(r, tool)[0], explained[0] if explained else NO_TOOL


HELLO = f"Hello! I am the self-test model of Tieline. {OFFER}"


def greeting(r: random.Random) -> tuple[str, str]:
    asks, answer = r.choices(
        (
            (phrases("greetings"), HELLO),
            (phrases("thanks"), "You are welcome. Ask me anything else about Tieline."),
            (phrases("partings"), "Goodbye. May your feeders stay within their limits."),
        ),
        (6, 3, 2),
    )[0]
    question = r.choice(asks)
    question = question.capitalize() if r.random() < 0.6 else question
    return question + r.choice(("", "", "!", ".", "?")), answer


# --- long and regular answers -------------------------------------------------------------------------------


def long_answer(r: random.Random) -> tuple[str, str]:
    entry = r.choice(LONG)
    question = expand(r.choice(entry["asks"]), r)
    return dress(loosen(question, r) if r.random() < 0.2 else question, r), entry["says"].strip()


COUNT_BETWEEN, COUNT_TO = phrases("count_between"), phrases("count_to")


def counting(r: random.Random) -> tuple[str, str]:
    """A count from 1 to a round number, most of a row long."""
    return count(r, 1, 10 * r.randint(1, 10))


def short_count(r: random.Random) -> tuple[str, str]:
    """A few numbers from anywhere: many ends to stop at, which is the hard part of counting."""
    a = r.choice((1, r.randint(1, 20), r.randint(1, 99), r.randint(1, 400)))
    return count(r, a, a + r.randint(2, 12))


def count(r: random.Random, a: int, b: int) -> tuple[str, str]:
    """The answer ends as the question does, in a full stop after the last number, so that stopping is copying too."""
    question = r.choice(COUNT_BETWEEN + COUNT_TO * 2 if a == 1 else COUNT_BETWEEN).format(a=a, b=b)
    question = question.capitalize() if r.random() < 0.6 else question
    end = r.choice((".", ".", ".", "", ", please."))
    return question + end, ", ".join(str(i) for i in range(a, b + 1)) + "."


def conversion(r: random.Random) -> tuple[str, str]:
    n = r.choice((r.randint(1, 20), r.randint(1, 200)))
    big, small = r.choice(
        (("megawatts", "kilowatts"), ("exahash", "petahash"), ("petahash", "terahash"), ("gigawatts", "megawatts"))
    )
    question = r.choice(
        ("how many {s} (is|are|make) {n} {b}", "convert {n} {b} to {s}", "{n} {b} in {s}", "what is {n} {b} in {s}")
    )
    return dress(expand(question, r).format(n=n, b=big, s=small), r), f"{n} {big} is {n}000 {small}."


def echo(r: random.Random) -> tuple[str, str]:
    words = [
        r.choice((invented_name(r), r.choice(PLACES), number(r), r.choice(THINGS))) for _ in range(r.randint(1, 8))
    ]
    text = " ".join(words)
    return r.choice(("Repeat: {}", "Say {}", "Repeat after me: {}", "Echo {}", "Repeat this: {}")).format(text), text


# --- small JSON ---------------------------------------------------------------------------------------------

ACTIONS = ("pause", "resume", "shed", "start", "stop", "restart", "drain")
STATUSES = ("ok", "running", "stopped", "offline", "degraded", "curtailed")


def as_json(r: random.Random) -> tuple[str, str]:
    """A sentence with facts in it, asked for as one JSON object with named keys."""
    site = r.choice(PLACES) if r.random() < 0.5 else invented_name(r)
    mw, action = json.loads(number(r)), r.choice(ACTIONS)
    kind = r.random()
    if kind < 0.3:
        facts: dict[str, Any] = {"site": site, "mw": mw}
        said = r.choice(
            (
                f"Set {site} to {mw} MW",
                f"{site} draws {mw} MW",
                f"site {site} takes {mw} megawatts",
                f"{mw} MW at {site}",
            )
        )
    elif kind < 0.5:
        facts = {"action": action, "site": site}
        said = r.choice((f"{action} {site}", f"{action} site {site}", f"please {action} the site {site}"))
    elif kind < 0.65:
        facts = {"site": site, "status": r.choice(STATUSES), "mw": mw}
        said = r.choice(
            (f"{site} is {facts['status']} at {mw} MW", f"site {site} is {facts['status']} and draws {mw} MW")
        )
    elif kind < 0.8:
        facts = {"market": r.choice(tool_corpus.MARKETS), "price": mw}
        said = r.choice((f"the price in {facts['market']} is {mw}", f"{facts['market']} clears at {mw} USD"))
    elif kind < 0.9:
        facts = {"name": site, "city": r.choice(PLACES), "age": r.randint(18, 80)}
        said = f"{site} lives in {facts['city']} and is {facts['age']} years old"
    else:
        topic = r.choice(TOPICS)
        said, facts = expand(r.choice(topic["asks"]), r), {"answer": topic["says"]}
    keys = list(facts)
    if r.random() < 0.5:
        r.shuffle(keys)
    if len(keys) > 2 and r.random() < 0.3:
        keys.pop()
    answer = json.dumps({k: facts[k] for k in keys}, ensure_ascii=False)
    named = " and ".join(keys) if r.random() < 0.5 else ", ".join(keys)
    asked = r.choice(
        (
            f"{said}. Answer as JSON with {named}.",
            f"{said}. Reply in JSON with the keys {named}.",
            f"As JSON with {named}: {said}",
            f"Extract {named} as JSON: {said}",
            f"Give {named} as JSON. {said}.",
            f"Return JSON with {named} for: {said}",
        )
    )
    if r.random() < 0.25 and keys == list(facts) and "answer" not in facts:
        asked = r.choice((f"{said}. Answer in JSON.", f"JSON: {said}", f"{said}, as JSON", f"{said} (JSON only)"))
    return asked[0].upper() + asked[1:], answer


SYSTEMS = phrases("systems")


def system(r: random.Random) -> str:
    if r.random() < 0.15:
        return f"You are {invented_name(r)}, the assistant of {invented_name(r)}."
    return r.choice(SYSTEMS)
