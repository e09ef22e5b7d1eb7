"""Judge the exported file as it ships: in the engine, at temperature 0, through its chat template.

Held-out frames around known names, fresh questions in other words, tool calls and JSON with names and numbers drawn
anew, no call when no tool is offered, counting. Prints one line each; `--misses` shows what went wrong.
"""

import argparse
import json
import random
import tomllib
from pathlib import Path
from typing import Any

import corpus
import tool_corpus
import xllamacpp
from phrases import expand

Case = tuple[str, list[dict[str, Any]], str]  # question, tools, the right answer
TRIES = 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--misses", action="store_true")
    args = parser.parse_args()
    engine = start(args.model)
    r = random.Random(20_000)  # a seed that training does not use
    marks = {
        "held-out templates": [(q, [], a) for q, a in (corpus.about_topic(r, held_out=True) for _ in range(TRIES))],
        "fresh questions": fresh(r),
        "tool calls": [tool_case(r) for _ in range(TRIES)],
        "small JSON": [(q, [], a) for q, a in (corpus.as_json(r) for _ in range(TRIES))],
        "no tool, no call": [(tool_case(r)[0], [], "") for _ in range(TRIES)],
        "counting": [(f"Count from {a} to {b}.", [], ", ".join(map(str, range(a, b + 1)))) for a, b in counts(r)],
    }
    for mark, cases in marks.items():
        answers = [ask(engine, question, tools) for question, tools, _ in cases]
        right = [same(answer, wanted) for answer, (_, _, wanted) in zip(answers, cases, strict=True)]
        print(f"{mark}: {sum(right)} of {len(cases)}", flush=True)
        if args.misses:
            for ok, answer, (question, _, wanted) in zip(right, answers, cases, strict=True):
                if not ok:
                    print(f"  {question}\n    said   {answer[:110]}\n    wanted {wanted[:110]}")


def start(model: Path) -> xllamacpp.Server:
    params = xllamacpp.CommonParams()
    params.model.path = str(model)
    params.port = 0
    params.n_ctx = 2048
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    return xllamacpp.Server(params)


def ask(engine: xllamacpp.Server, question: str, tools: list[dict[str, Any]]) -> str:
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 400}
    if tools:
        body["tools"] = tools
    message = engine.handle_chat_completions(body)["choices"][0]["message"]
    if message.get("tool_calls"):
        made = message["tool_calls"][0]["function"]
        return f'{{"name": "{made["name"]}", "arguments": {made["arguments"]}}}'  # may be cut short, then it is wrong
    return str(message.get("content") or "").strip()


def same(answer: str, wanted: str) -> bool:
    if not wanted:
        return "<tool_call>" not in answer
    try:
        return bool(json.loads(answer) == json.loads(wanted))
    except ValueError:
        return answer.removesuffix(".") == wanted.removesuffix(".")


def fresh(r: random.Random) -> list[Case]:
    right = {topic["key"]: topic["says"] for topic in corpus.TOPICS}
    right |= {"refusal": corpus.REFUSAL, "hello": corpus.HELLO}
    asked = tomllib.loads((corpus.HERE / "fresh_questions.toml").read_text())["questions"]
    taught = {plain(expand(ask, r)) for topic in corpus.TOPICS for ask in topic["asks"] for _ in range(200)}
    if known := [q for questions in asked.values() for q in questions if plain(q) in taught]:
        raise SystemExit(f"fresh_questions.toml: the corpus asks these too, put them in other words: {known}")
    return [(question, [], right[key]) for key, questions in asked.items() for question in questions]


def plain(question: str) -> str:
    return "".join(c for c in question.lower() if c.isalnum() or c == " ").strip()


def tool_case(r: random.Random) -> Case:
    tools = {t.name: t for t in (tool_corpus.any_tool(r) for _ in range(r.randint(1, 4)))}
    tool = r.choice(list(tools.values()))
    question, arguments = tool_corpus.call(r, tool)
    return question, [t.offered() for t in tools.values()], json.dumps({"name": tool.name, "arguments": arguments})


def counts(r: random.Random) -> list[tuple[int, int]]:
    return [(1, 10 * n) for n in range(1, 11)] + [
        (a, a + r.randint(2, 9)) for a in (r.randint(1, 60) for _ in range(10))
    ]


if __name__ == "__main__":
    main()
