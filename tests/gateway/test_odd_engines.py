"""What engines really send: what is read for the bill does not decide whether it is delivered, and nothing waits."""

from __future__ import annotations

import asyncio
import itertools
import json
from typing import Any

import pytest
from tests.gateway.engines import Faults, Scripted
from tests.gateway.odd_engine import DIE, END, Odd, answer, chunk, usage
from tests.gateway.rig import Gateway, Start, settings
from tests.gateway.test_continuity import CHAT, run, stream

USAGE = {"stream_options": {"include_usage": True}}
ROLE = chunk({"role": "assistant", "content": ""})
COUNTS = usage(prompt_tokens=7, completion_tokens=3, total_tokens=10)


def frames(*words: str, **more: Any) -> list[Any]:
    return [ROLE | more, *(chunk({"content": word}, **more) for word in words), chunk({}, "stop", **more), COUNTS, END]


def surrogates() -> list[Any]:
    halves = [
        b'data: {"id":"x","object":"chat.completion.chunk","created":1,"model":"m","choices":'
        b'[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n' % half
        for half in (b"a\\ud83d", b"\\ude00b")
    ]
    return [*halves, chunk({}, "stop"), COUNTS, END]


def infinite() -> list[Any]:
    text = json.dumps(chunk({"content": "one two three"})).encode()
    odd = text[:-2].replace(b'"finish_reason"', b'"logprobs":{"content":[{"logprob":-Infinity}]},"finish_reason"')
    return [b"data: " + odd + b"]}\n\n", chunk({}, "stop"), COUNTS, END]


def no_index() -> list[Any]:
    made = frames("one ", "two ", "three")
    for one in made[:-2]:
        one["choices"][0]["index"] = None
    return made


def no_names() -> list[Any]:
    made = [dict(one) for one in frames("one ", "two ", "three")[:-1]]
    for one in made:
        for name in ("id", "created", "model"):
            del one[name]
    return [*made, END]


SAID = frames("one ", "two ", "three")[:-2]
LIST = [{"type": "text", "text": "one two three"}]
CASES: dict[str, tuple[list[Any], Any]] = {
    "a fraction as its time": (frames("one ", "two ", "three", created=1.5), "one two three"),
    "no id": (frames("one ", "two ", "three", id=None), "one two three"),
    "a number as its id": (frames("one ", "two ", "three", id=7), "one two three"),
    "no model": (frames("one ", "two ", "three", model=None), "one two three"),
    "none of its names": (no_names(), "one two three"),
    "no index": (no_index(), "one two three"),
    "halves of a character": (surrogates(), "a😀b"),
    "a probability of nothing": (infinite(), "one two three"),
    "content in parts": ([ROLE, chunk({"content": LIST}), chunk({}, "stop"), COUNTS, END], LIST),
    "usage in fractions": ([*SAID, usage(prompt_tokens=7.0, completion_tokens=3.0), END], "one two three"),
    "usage of nothing": ([*SAID, usage(prompt_tokens=None, completion_tokens=None), END], "one two three"),
}


def asked(*engines: Scripted) -> int:
    """How many answers they were asked for."""
    return sum(path == "/v1/chat/completions" for engine in engines for path, _ in engine.seen)


@pytest.mark.parametrize("case", CASES)
def test_an_odd_frame_is_delivered_once_and_nobody_is_struck_for_it(gateway: Start, case: str) -> None:
    async def body() -> None:
        given, expected = CASES[case]
        async with Odd(frames=given) as a, Odd(frames=given) as b, gateway(settings(a.url, b.url)) as g:
            _, events, well = await stream(g, CHAT | USAGE)
            assert well
            contents = [c["delta"].get("content") for e in events for c in e["choices"]]
            if isinstance(expected, str):
                text = "".join(one or "" for one in contents)
                assert text.encode("utf-16", "surrogatepass").decode("utf-16") == expected
            else:
                assert expected in contents
            chunks = [e for e in events if e["choices"]]
            assert len({(e["id"], e["model"]) for e in chunks}) == 1
            assert isinstance(chunks[0]["id"], str)
            assert chunks[0]["model"] == "m"
            assert asked(a, b) == 1
            assert not g.svc.stats.failures
            assert events[-1]["usage"]["completion_tokens"] >= 1
            await g.quiet()
            (record,) = g.usage()
            assert (record.finish, record.output_tokens > 0, len(record.hops)) == ("stop", True, 1)
            assert record.hops[0].output_tokens == record.output_tokens

    run(body())


def test_an_answer_with_a_probability_of_nothing_is_json_for_every_client(gateway: Start) -> None:
    async def body() -> None:
        whole = json.dumps(answer(usage={"prompt_tokens": 3, "completion_tokens": 2})).encode()
        whole = whole[:-1] + b',"created":1.5,"logprob":-Infinity}'
        async with Odd(whole=(200, "", whole)) as a, gateway(settings(a.url)) as g:
            status, _, got = await g.post("/v1/chat/completions", CHAT | {"stream": False})
            assert status == 200
            assert b"Infinity" not in got
            assert json.loads(got)["choices"][0]["message"]["content"] == "hello there"
            assert not g.svc.stats.failures

    run(body())


def test_an_empty_reason_to_finish_is_none(gateway: Start) -> None:
    async def body() -> None:
        cut = [ROLE, *(chunk({"content": word}, "") for word in ("one ", "two ")), DIE]
        rest = [
            ROLE,
            *(chunk({"content": word}, "") for word in ("one ", "two ", "three")),
            chunk({}, "stop"),
            COUNTS,
            END,
        ]
        async with (
            Odd("a", "someone", frames=cut) as a,
            Odd("b", "someone", frames=rest) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            text, _, well = await stream(g, CHAT)
            assert (text, well) == ("one two three", True)
            await g.quiet()
            assert [hop.ended for hop in g.usage()[0].hops] == ["died", "stop"]
        async with Odd("a", "someone", frames=cut) as a, gateway(settings(a.url)) as g:
            _, events, well = await stream(g, CHAT)
            assert not well
            assert events[-1]["error"]["code"] == "stream_interrupted"

    run(body())


@pytest.mark.parametrize("word", ["abort", "error"])
def test_an_engine_that_gives_an_answer_up_did_not_end_it(gateway: Start, word: str) -> None:
    async def body() -> None:
        cut = [ROLE, chunk({"content": "one "}), chunk({}, word), END]
        async with (
            Odd("a", "someone", frames=cut) as a,
            Odd("b", "someone", frames=frames("one ", "two ", "three")) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            text, events, well = await stream(g, CHAT)
            assert (text, well) == ("one two three", True)
            assert [c["finish_reason"] for e in events for c in e["choices"] if c["finish_reason"]] == ["stop"]

    run(body())


async def arrivals(g: Gateway, body: dict[str, Any]) -> list[tuple[float, str]]:
    """When each event came, since the request."""
    reader, writer = await asyncio.open_connection("127.0.0.1", g.port)
    text = json.dumps(body).encode()
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (len(text), text)
    )
    loop = asyncio.get_running_loop()
    began, came = loop.time(), []
    async with asyncio.timeout(10):
        while True:
            line = (await reader.readline()).decode()
            if line.startswith((":", "data: ")):
                came.append((loop.time() - began, line.strip()))
            if "[DONE]" in line or not line:
                break
    writer.close()
    return came


CALL = {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}
TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
ARGUMENTS = ('{"te', 'xt": ', '"aaaa', "bbbb", '"}')
THOUGHTS = ("let ", "me ", "think ", "of ", "it ")


def calls(*arguments: str, id_: str = "c1") -> list[Any]:
    first = chunk({"role": "assistant", "content": None, "tool_calls": [CALL | {"id": id_}]})
    return [first, *(chunk({"tool_calls": [{"index": 0, "function": {"arguments": one}}]}) for one in arguments)]


def slowly(given: list[Any], pause_s: float) -> list[Any]:
    return [part for one in given for part in (one, pause_s)]


@pytest.mark.parametrize("kind", ["reasoning", "reasoning_content", "tools"])
def test_reasoning_and_tool_calls_leave_as_they_come(gateway: Start, kind: str) -> None:
    async def body() -> None:
        if kind == "tools":
            slow, word, ends = calls(*ARGUMENTS), "arguments", "tool_calls"
        else:
            slow, word, ends = [ROLE, *(chunk({kind: one}) for one in THOUGHTS)], kind, "stop"
        given = [*slowly(slow, 0.1), chunk({"content": "so"}) if ends == "stop" else chunk({}), chunk({}, ends), END]
        async with Odd(frames=given) as a, gateway(settings(a.url)) as g:
            came = await arrivals(g, CHAT | ({"tools": TOOLS} if kind == "tools" else {}))
            times = [at for at, line in came if word in line]
            assert len(times) >= 5
            gaps = [b - a for a, b in itertools.pairwise(times)]
            assert times[0] < 0.35
            assert min(gaps) > 0.03, "they came in one burst"

    run(body())


def test_a_client_is_never_left_in_silence(gateway: Start) -> None:
    async def body() -> None:
        given = [ROLE, chunk({"content": "one "}), 0.9, chunk({"content": "two"}), chunk({}, "stop"), END]
        async with Odd(frames=given) as a, gateway(settings(a.url)) as g:
            came = await arrivals(g, CHAT)
            gaps = [b[0] - a[0] for a, b in itertools.pairwise(came)]
            assert max(gaps) < 0.5, came
            assert sum(line.startswith(":") for _, line in came) >= 2

    run(body())


def test_a_tool_call_that_was_cut_is_made_anew_under_its_first_id(gateway: Start) -> None:
    async def body() -> None:
        for cut in range(len(ARGUMENTS) + 1):
            first = [*calls(*ARGUMENTS[:cut]), DIE]
            again = [*calls(*ARGUMENTS, id_="another"), chunk({}, "tool_calls"), COUNTS, END]
            async with (
                Odd("a", frames=first) as a,
                Odd("b", frames=again) as b,
                gateway(settings(a.url, b.url)) as g,
            ):
                g.prefer(a.port)
                _, events, well = await stream(g, CHAT | {"tools": TOOLS})
                assert well, cut
                pieces = [t for e in events for c in e["choices"] for t in c["delta"].get("tool_calls", [])]
                assert "".join(one["function"].get("arguments") or "" for one in pieces) == "".join(ARGUMENTS)
                assert [one["id"] for one in pieces if "id" in one] == ["c1"]
                assert [one["function"]["name"] for one in pieces if "name" in one["function"]] == ["f"]

    run(body())


def test_a_tool_call_that_comes_out_otherwise_is_an_honest_error(gateway: Start) -> None:
    async def body() -> None:
        first = [*calls(*ARGUMENTS[:3]), DIE]
        again = [*calls('{"other": 1}'), chunk({}, "tool_calls"), COUNTS, END]
        async with (
            Odd("a", frames=first) as a,
            Odd("b", frames=again) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            _, events, well = await stream(g, CHAT | {"tools": TOOLS})
            assert not well
            assert events[-1]["error"]["code"] == "stream_interrupted"
            await g.quiet()
            assert g.usage()[0].output_tokens > 0  # what was delivered is billed

    run(body())


def test_structured_output_is_not_put_into_a_turn_whose_grammar_begins_anew(gateway: Start) -> None:
    async def body() -> None:
        form = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
        async with (
            Scripted("a", "vllm") as a,
            Scripted("b", "vllm") as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            whole, _, _ = await stream(g, CHAT)
            for at in (1, 5, 30):
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, _, well = await stream(g, CHAT | {"response_format": form})
                assert (text, well) == (whole, True), at
            asked = [body for path, body in a.seen + b.seen if path == "/v1/chat/completions"]
            assert not any(one.get("continue_final_message") for one in asked)

    run(body())


def test_usage_keeps_what_the_engine_says_of_reasoning_and_hops_add_up(gateway: Start) -> None:
    async def body() -> None:
        thought = [ROLE, *(chunk({"reasoning_content": one}) for one in THOUGHTS), chunk({"content": "so"})]
        said = usage(prompt_tokens=7, completion_tokens=6, completion_tokens_details={"reasoning_tokens": 5})
        async with Odd(frames=[*thought, chunk({}, "stop"), said, END]) as a, gateway(settings(a.url)) as g:
            _, events, _ = await stream(g, CHAT | USAGE)
            assert events[-1]["usage"]["completion_tokens_details"] == {"reasoning_tokens": 5}

    run(body())


def test_an_error_in_a_stream_keeps_its_words(gateway: Start) -> None:
    async def body() -> None:
        told = {"error": {"message": "prompt too long: 9000 > 4096", "type": "BadRequestError", "code": 400}}
        async with Odd(frames=[told, END]) as a, Odd(frames=[told, END]) as b, gateway(settings(a.url, b.url)) as g:
            status, _, got = await g.post("/v1/chat/completions", CHAT)
            assert (status, "9000 > 4096" in got.decode()) == (400, True)
            assert asked(a, b) == 1
            assert not any(b.failures for b in g.svc.backends.values())
        boom = [ROLE, chunk({"content": "one "}), b'event: error\ndata: {"message":"out of pages","code":500}\n\n']
        async with Odd("a", "someone", frames=boom) as a, gateway(settings(a.url)) as g:
            _, events, well = await stream(g, CHAT)
            assert not well
            assert "out of pages" in events[-1]["error"]["message"]

    run(body())


def test_engines_that_are_all_slow_to_say_their_first_word_are_not_given_up(gateway: Start) -> None:
    """A parser may hold the beginning of a call for longer than a stream is let be silent."""

    async def body() -> None:
        frames = [
            ROLE,
            1.2,
            chunk({"content": "late"}),
            chunk({}, "stop"),
            usage(prompt_tokens=7, completion_tokens=2),
            END,
        ]
        async with (
            Odd("a", frames=frames) as a,
            Odd("b", frames=frames) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            text, _, well = await stream(g, CHAT)
            assert (text, well) == ("late", True)

    run(body())
