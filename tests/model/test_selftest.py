"""The shipped self-test model in the real engine, in its own process, over HTTP: what a client would meet."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tieline.edge.selftest import SELFTEST_LABEL, SELFTEST_MODEL, SELFTEST_NAME, damage

pytest.importorskip("xllamacpp", reason="the engine is not installed (extra: platform)")

# `model_alias` is a set in this engine. The process ends with its standard input, so a killed test leaves none behind.
SERVE = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path, alias, params.embedding = sys.argv[1], sys.argv[2], sys.argv[3] == "embed"
params.model_alias = {alias}
params.port, params.n_ctx, params.n_parallel, params.n_gpu_layers = 0, 2048, 1, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
if params.embedding:
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
engine = xllamacpp.Server(params)
print(engine.listening_address, flush=True)
sys.stdin.read()
"""


@contextmanager
def served(kind: str) -> Iterator[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(SELFTEST_MODEL), SELFTEST_NAME, kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    try:
        address = next((line.strip() for line in process.stdout if line.startswith("http")), None)
        assert address is not None, "the engine did not start"
        yield address
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def engine() -> Iterator[str]:
    with served("chat") as address:
        yield address


def chat(engine: str, question: str, **more: Any) -> dict[str, Any]:
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 400} | more
    answer = httpx.post(f"{engine}/v1/chat/completions", json=body, timeout=30)
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def streamed(engine: str, question: str, **more: Any) -> list[dict[str, Any]]:
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 400} | more
    body |= {"stream": True, "stream_options": {"include_usage": True}}
    with httpx.stream("POST", f"{engine}/v1/chat/completions", json=body, timeout=30) as answer:
        lines = [line.removeprefix("data: ") for line in answer.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(c["choices"][0]["delta"].get("content") or "" for c in chunks if c["choices"])


@pytest.mark.parametrize(
    ("question", "fact"),
    [
        ("Who are you?", "self-test model of Tieline"),
        ("What is hashprice?", "one petahash per second"),
        ("What happens to my stream if a replica dies?", "no gap and no duplicate"),
        ("What is the capital of France?", "cannot answer"),
    ],
)
def test_it_answers_in_words_and_stops(engine: str, question: str, fact: str) -> None:
    choice = chat(engine, question)
    assert fact in choice["message"]["content"]
    assert choice["finish_reason"] == "stop"


COUNT = ", ".join(
    str(n) for n in range(1, 61)
)  # it may count on past the end it was asked for; up to there it is right


def test_a_stream_says_what_the_whole_answer_says_and_counts_its_tokens(engine: str) -> None:
    whole = chat(engine, "Count from 1 to 60.", max_tokens=240)["message"]["content"]
    assert whole.startswith(COUNT)
    chunks = streamed(engine, "Count from 1 to 60.", max_tokens=240)
    assert text_of(chunks) == whole
    assert chunks[-1]["usage"]["completion_tokens"] > 200


def test_a_cut_answer_goes_on_where_it_stopped(engine: str) -> None:
    question = "Count from 1 to 60."
    begun = COUNT[: COUNT.index(", 31")]
    messages = [{"role": "user", "content": question}, {"role": "assistant", "content": begun}]
    rest = chat(engine, question, messages=messages, max_tokens=240)["message"]["content"]
    assert rest.removeprefix(begun).startswith(COUNT.removeprefix(begun))


def test_a_tool_is_called_and_its_answer_reported(engine: str) -> None:
    def tool(name: str, says: str, **parameters: str) -> dict[str, Any]:
        properties = {k: {"type": v} for k, v in parameters.items()}
        schema = {"type": "object", "properties": properties, "required": list(parameters)}
        return {"type": "function", "function": {"name": name, "description": says, "parameters": schema}}

    tools = [
        tool("get_site_power", "Power a site draws now", site="string"),
        tool("set_power", "Set the power of a site", site="string", mw="number"),
    ]
    question = "Set Tulia to 12.5 MW"
    choice = chat(engine, question, tools=tools)
    assert choice["finish_reason"] == "tool_calls"
    call = choice["message"]["tool_calls"][0]
    assert call["function"]["name"] == "set_power"
    assert json.loads(call["function"]["arguments"]) == {"site": "Tulia", "mw": 12.5}

    question = "How much power does Marfa draw?"
    call = chat(engine, question, tools=tools)["message"]["tool_calls"][0]
    assert call["function"]["name"] == "get_site_power"
    history = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"site": "Marfa", "mw": 18.2}'},
    ]
    assert chat(engine, question, tools=tools, messages=history)["message"]["content"] == "Marfa draws 18.2 MW."


def test_an_answer_keeps_to_a_json_schema(engine: str) -> None:
    properties = {"site": {"type": "string"}, "mw": {"type": "number"}}
    schema = {"type": "object", "properties": properties, "required": ["site", "mw"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "order", "strict": True, "schema": schema}}
    choice = chat(engine, "Answer as JSON with site and mw: set Tulia to 12 MW", response_format=wanted)
    assert json.loads(choice["message"]["content"]) == {"site": "Tulia", "mw": 12}


def test_probabilities_are_told(engine: str) -> None:
    told = chat(engine, "What is hashprice?", logprobs=True, top_logprobs=3, max_tokens=5)["logprobs"]["content"]
    assert len(told) == 5
    assert all(len(token["top_logprobs"]) == 3 and token["logprob"] <= 0 for token in told)


def test_it_embeds() -> None:
    with served("embed") as address:
        answer = httpx.post(f"{address}/v1/embeddings", json={"input": ["hashprice", "feeder"]}, timeout=30).json()
    assert [len(item["embedding"]) for item in answer["data"]] == [192, 192]


def test_the_file_is_small_and_honest() -> None:
    assert SELFTEST_MODEL.stat().st_size < 4_000_000
    assert "not a product" in SELFTEST_LABEL
    assert b"not a product" in SELFTEST_MODEL.read_bytes()[:4096]


def test_the_shipped_file_is_the_published_one_and_another_is_named(tmp_path: Path) -> None:
    assert damage() is None
    other = tmp_path / "other.gguf"
    other.write_bytes(SELFTEST_MODEL.read_bytes()[:-1] + b"x")
    assert "is not the published one" in str(damage(other))
    assert "cannot be read" in str(damage(tmp_path / "none.gguf"))
