"""Responses and Messages over engines that speak chat: their events, their state, and what a death leaves of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.able import Able
from tests.gateway.engines import WORDS, Faults, Llama, Scripted
from tests.gateway.odd_engine import END, Odd, chunk, usage
from tests.gateway.rig import Gateway, Start, free_port, settings
from tests.gateway.scripted_vllm import ScriptedVllm
from tests.gateway.test_continuity import CHAT, run, stream
from tests.gateway.test_odd_engines import ARGUMENTS, THOUGHTS, calls

from tieline.gateway.settings import Key, Model, Tenant, hash_key

TEXT = "".join(WORDS)
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}}
ANTHROPIC_TOOL = {"name": "f", "input_schema": {"type": "object"}}


def events(raw: bytes) -> list[dict[str, Any]]:
    """Every event, whose name is its type."""
    payload, rest = b"", raw
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        payload, rest = payload + rest[:length], rest[length + 2 :]
        if not length:
            break
    seen = []
    for frame in payload.decode().split("\n\n"):
        if frame and not frame.startswith(":"):
            name, data = frame.split("\n")
            seen.append(json.loads(data.removeprefix("data: ")))
            assert name == "event: " + seen[-1]["type"]
    return seen


async def respond(g: Gateway, **asked: Any) -> list[dict[str, Any]]:
    _, _, raw = await g.post("/v1/responses", {"model": "m", "input": "hello", "stream": True} | asked)
    seen = events(raw)
    assert [one["sequence_number"] for one in seen] == list(range(len(seen)))
    assert len({one["response"]["id"] for one in seen if "response" in one}) == 1
    return seen


async def message(g: Gateway, **asked: Any) -> list[dict[str, Any]]:
    body = {"model": "m", "max_tokens": 300, "messages": [{"role": "user", "content": "hello"}], "stream": True}
    _, _, raw = await g.post("/v1/messages", body | asked)
    return events(raw)


def said(seen: list[dict[str, Any]]) -> str:
    return "".join(one["delta"] for one in seen if one["type"] == "response.output_text.delta")


@pytest.mark.parametrize("owner", ["llamacpp", "vllm", "someone"])
def test_a_response_goes_on_after_a_death_at_any_token(gateway: Start, owner: str) -> None:
    async def body() -> None:
        async with Scripted("a", owner) as a, Scripted("b", owner) as b, gateway(settings(a.url, b.url)) as g:
            for at in (0, 1, 30, len(WORDS)):
                a.faults = b.faults = Faults(die_after=at, times=1)
                seen = await respond(g, instructions="be brief")
                assert said(seen) == TEXT, at
                last = seen[-1]
                assert last["type"] == "response.completed"
                assert last["response"]["output"][0]["content"][0]["text"] == TEXT
                assert last["response"]["usage"]["output_tokens"] == len(WORDS)
            await g.quiet()
            assert {(one.endpoint, one.output_tokens) for one in g.usage()} == {("/v1/responses", len(WORDS))}

    run(body())


def test_a_response_that_cannot_go_on_says_failed(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a", "someone") as a, gateway(settings(a.url)) as g:
            a.faults = Faults(die_after=5)
            asked = {"model": "m", "input": "hello", "stream": True}
            _, _, raw = await g.post("/v1/responses", asked)
            assert raw.endswith(b"0\r\n\r\n")  # the form's own end says that it failed; clients read up to it
            seen = await respond(g)
            assert seen[-1]["type"] == "response.failed"
            assert seen[-1]["response"]["error"]["message"]
            assert said(seen) == "".join(WORDS[:5])

    run(body())


def test_reasoning_and_calls_are_items_as_they_come_and_come_again_after_a_death(gateway: Start) -> None:
    async def body() -> None:
        thought = [chunk({"role": "assistant"}), *(chunk({"reasoning_content": one}) for one in THOUGHTS)]
        told = usage(prompt_tokens=7, completion_tokens=12, completion_tokens_details={"reasoning_tokens": 5})
        whole = [*thought, *calls(*ARGUMENTS), chunk({}, "tool_calls"), told, END]
        async with (
            Odd("a", frames=[*thought, *calls(*ARGUMENTS[:2]), "die"]) as a,
            Odd("b", frames=whole) as b,
            gateway(settings(a.url, b.url)) as g,
        ):
            g.prefer(a.port)
            seen = await respond(g, tools=[TOOL])
            assert seen[-1]["type"] == "response.completed"
            items = seen[-1]["response"]["output"]
            assert [one["type"] for one in items] == ["reasoning", "function_call"]
            assert items[0]["content"][0]["text"] == "".join(THOUGHTS)
            assert (items[1]["name"], items[1]["call_id"]) == ("f", "c1")
            assert items[1]["arguments"] == "".join(ARGUMENTS)
            assert seen[-1]["response"]["usage"]["output_tokens_details"] == {"reasoning_tokens": 5}
            added = [one for one in seen if one["type"].endswith(("item.added", "item.done"))]
            assert [one["output_index"] for one in added] == [0, 0, 1, 1]
            assert not any("_kind" in json.dumps(one) for one in seen)
            assert a.seen[-1][1]["tools"][0]["function"]["name"] == "f"

    run(body())


def test_the_openai_client_keeps_a_conversation_here(tmp_path: Path, gateway: Start) -> None:
    async def body() -> None:
        async with Able("m") as engine, gateway(settings(engine.url)) as g:
            client = openai.AsyncOpenAI(base_url=g.url, api_key="any", max_retries=0)
            async with client:
                first = await client.responses.create(model="m", input="say 'one'", instructions="brief")
                second = await client.responses.create(model="m", input="and 'two'", previous_response_id=first.id)
                asked = engine.seen[-1][1]["messages"]
                assert [one["role"] for one in asked] == ["user", "assistant", "user"]
                assert asked[1]["content"] == first.output_text
                assert second.previous_response_id == first.id
                again = await client.responses.retrieve(first.id)
                assert again.output_text == first.output_text
                items = await client.responses.input_items.list(second.id)
                assert len(items.data) == 3
                hidden = await client.responses.create(model="m", input="secret", store=False)
                with pytest.raises(openai.NotFoundError):
                    await client.responses.retrieve(hidden.id)
                conversation = await client.conversations.create()
                for word in ("one", "two"):
                    await client.responses.create(model="m", input=word, conversation=conversation.id)
                assert [one["content"] for one in engine.seen[-1][1]["messages"]][::2] == ["one", "two"]
                await client.responses.delete(first.id)
                with pytest.raises(openai.NotFoundError, match="previous_response_id"):
                    await client.responses.create(model="m", input="x", previous_response_id=first.id)
        async with Able("m") as engine, gateway(settings(engine.url)) as g:  # another process, the same folder
            status, _, _ = await g.post(
                "/v1/responses", {"model": "m", "input": "x", "previous_response_id": second.id}
            )
            assert status == 200

    run(body())


def test_a_conversation_s_items_are_added_listed_and_taken_away(gateway: Start) -> None:
    async def body() -> None:
        async with Able("m") as engine, gateway(settings(engine.url)) as g:
            async with openai.AsyncOpenAI(base_url=g.url, api_key="any", max_retries=0) as client:
                one = await client.conversations.create(metadata={"a": "b"})
                said: Any = [{"type": "message", "role": role, "content": role} for role in ("user", "assistant")]
                await client.conversations.items.create(one.id, items=said)
                await client.responses.create(model="m", input="say 'one'", conversation=one.id)
                listed = [row async for row in client.conversations.items.list(one.id, order="asc", limit=3)]
                assert [row.role for row in listed] == ["user", "assistant", "user", "assistant"]  # type: ignore[union-attr]
                newest = await client.conversations.items.list(one.id, limit=1)
                assert (newest.data[0].id, newest.has_more) == (listed[-1].id, True)
                await client.conversations.items.delete(str(listed[0].id), conversation_id=one.id)
                left = [row.id async for row in client.conversations.items.list(one.id, order="asc")]
                assert left == [row.id for row in listed[1:]]
                changed = await client.conversations.update(one.id, metadata={"c": "d"})
                assert changed.metadata == {"c": "d"}
                with pytest.raises(openai.NotFoundError):
                    await client.conversations.items.retrieve("msg_1", conversation_id=one.id)
            for query in ("?limit=", "?limit=0", "?limit=x", "?limit=101", "?order=up", "?after=nothing"):
                assert (
                    await g.raw(
                        f"GET /v1/conversations/{one.id}/items{query} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode()
                    )
                ).startswith(b"HTTP/1.1 400")

    run(body())


def test_the_same_head_twice_in_a_row_means_the_same_whatever_its_path(gateway: Start) -> None:
    """A connection knows a head that repeats by its bytes; only that of inference is remembered with its meaning."""

    def post(path: str, text: bytes) -> bytes:
        return b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (path.encode(), len(text), text)

    async def body() -> None:
        async with gateway(settings()) as g:
            reader, writer = await asyncio.open_connection("127.0.0.1", g.port)

            async def ask(path: str, text: bytes) -> dict[str, Any]:
                writer.write(post(path, text))
                return await answered(b"HTTP/1.1 200 ")

            async def answered(status: bytes) -> dict[str, Any]:
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(status)
                size = int(head.lower().partition(b"content-length:")[2].split()[0])
                told: dict[str, Any] = json.loads(await reader.readexactly(size))
                return told

            one = await ask("/v1/conversations", b"{}")
            path = f"/v1/conversations/{one['id']}/items"
            for text in ("a", "bb", "cc"):
                item = {"type": "message", "role": "user", "content": text}
                added = await ask(path, json.dumps({"items": [item]}).encode())
                assert json.dumps(added).count(f'"{text}"') == 1
            for _ in range(3):  # Anthropic's words for its path, whatever was asked in between
                writer.write(post("/v1/messages", b"no"))
                assert (await answered(b"HTTP/1.1 400 "))["type"] == "error"
                writer.write(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
                assert "type" not in await answered(b"HTTP/1.1 200 ")
            writer.close()

    asyncio.run(body())


def test_threads_of_messages_are_refused_in_the_words_that_anthropic_s_libraries_fall_back_on(gateway: Start) -> None:
    async def body() -> None:
        async with Able("m") as engine, gateway(settings(engine.url)) as g:
            turns = [{"role": "user", "content": "hello"}]
            asked = {"model": "m", "max_tokens": 9, "messages": turns, "cache_control": {"type": "ephemeral"}}
            assert (await g.post("/v1/messages", asked | {"container": None}))[0] == 200
            status, _, raw = await g.post("/v1/messages", asked | {"thread": {"type": "create"}})
            assert status == 400
            assert json.loads(raw)["error"]["details"] == {"error_code": "thread_unsupported_request"}

    run(body())


def test_a_response_is_its_project_s_alone(gateway: Start) -> None:
    async def body() -> None:
        tenants = tuple(Tenant(id=name) for name in "ab")
        keys = tuple(Key(id=name, tenant=name, sha256=hash_key(f"sk-{name}")) for name in "ab")
        async with Able("m") as engine, gateway(settings(engine.url, tenants=tenants, keys=keys)) as g:
            ask = {"model": "m", "input": "mine"}
            _, _, raw = await g.post("/v1/responses", ask, "authorization: Bearer sk-a\r\n")
            name = json.loads(raw)["id"]
            for key, expected in (("a", 200), ("b", 404)):
                more = ask | {"previous_response_id": name}
                assert (await g.post("/v1/responses", more, f"api-key: sk-{key}\r\n"))[0] == expected
            more = ask | {"previous_response_id": "resp_../../../etc/passwd"}
            assert (await g.post("/v1/responses", more, "x-api-key: sk-a\r\n"))[0] == 404

    run(body())


def test_what_has_no_counterpart_is_refused_by_name(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted() as a, gateway(settings(a.url)) as g:
            for more, word in (
                ({"tools": [{"type": "web_search"}]}, "web_search"), ({"background": True}, "background"),
                ({"prompt": {"id": "p"}}, "prompt"), ({"input": 7}, "input"), ({"tools": 7}, "tools"),
                ({"input": [{"type": "item_reference", "id": "x"}]}, "item_reference"),
                ({"text": {"format": {"type": "grammar"}}}, "text.format"),
                ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input_file"),
            ):  # fmt: skip
                status, _, raw = await g.post("/v1/responses", {"model": "m", "input": "x"} | more)
                assert (status, word in raw.decode()) == (400, True), more
            ask = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
            for more, word in (
                ({"max_tokens": None}, "max_tokens"), ({"lora": 1}, "lora"),
                ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools[0]"),
                ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, "document"),
                ({"messages": [{"role": "tool", "content": "x"}]}, "role"),
            ):  # fmt: skip
                status, _, raw = await g.post("/v1/messages", ask | more)
                plain = json.loads(raw)
                assert (status, plain["type"], word in plain["error"]["message"]) == (400, "error", True), more
            assert not [path for path, _ in a.seen if path.startswith("/v1/chat")]

    run(body())


def test_a_message_is_said_block_by_block_and_goes_on_after_a_death(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted("a") as a, Scripted("b") as b, gateway(settings(a.url, b.url)) as g:
            a.faults = b.faults = Faults(die_after=9, times=1)
            seen = await message(g, system="be brief", stop_sequences=["never"])
            kinds = [one["type"] for one in seen]
            assert kinds[:2] == ["message_start", "content_block_start"]
            assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
            deltas = [one["delta"] for one in seen if one["type"] == "content_block_delta"]
            assert "".join(one["text"] for one in deltas) == TEXT
            assert seen[-2]["delta"]["stop_reason"] == "end_turn"
            assert seen[-2]["usage"]["output_tokens"] == len(WORDS)
            asked = next(body for path, body in a.seen + b.seen if path == "/v1/chat/completions")
            assert [one["role"] for one in asked["messages"]] == ["system", "user"]
            assert (asked["stop"], asked["max_tokens"]) == (["never"], 300)

    run(body())


def test_thinking_and_tools_of_a_message(gateway: Start) -> None:
    async def body() -> None:
        thought = [chunk({"role": "assistant"}), *(chunk({"reasoning_content": one}) for one in THOUGHTS)]
        whole = [
            *thought,
            *calls(*ARGUMENTS),
            chunk({}, "tool_calls"),
            usage(prompt_tokens=7, completion_tokens=12),
            END,
        ]
        async with Odd("a", frames=whole) as a, gateway(settings(a.url)) as g:
            turns = [
                {"role": "user", "content": [{"type": "text", "text": "what is it?"}]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "7"}]},
                    {"type": "text", "text": "and now?"}]},
            ]  # fmt: skip
            seen = await message(g, messages=turns, tools=[ANTHROPIC_TOOL], tool_choice={"type": "any"})
            starts = [one["content_block"]["type"] for one in seen if one["type"] == "content_block_start"]
            assert starts == ["thinking", "tool_use"]
            parts = [one["delta"].get("partial_json", "") for one in seen if one["type"] == "content_block_delta"]
            assert "".join(parts) == "".join(ARGUMENTS)
            assert seen[-2]["delta"]["stop_reason"] == "tool_use"
            asked = a.seen[-1][1]
            assert [one["role"] for one in asked["messages"]] == ["user", "assistant", "tool", "user"]
            assert asked["messages"][1]["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a":1}'}
            assert asked["tool_choice"] == "required"

    run(body())


def test_a_whole_message_errors_and_counts_on_a_real_engine(gateway: Start) -> None:
    engine = Llama(free_port())
    engine.start()

    async def body() -> None:
        model = Model(name="tieline-self-test")
        async with gateway(settings(engine.url, models=(model,))) as g:
            turn = [{"role": "user", "content": "What is a rig?"}]
            ask = {"model": "tieline-self-test", "max_tokens": 6, "messages": turn}
            status, _, raw = await g.post("/v1/messages", ask, "x-api-key: any\r\nanthropic-version: 2023-06-01\r\n")
            plain = json.loads(raw)
            assert (status, plain["type"], plain["role"], plain["stop_reason"]) == (
                200,
                "message",
                "assistant",
                "max_tokens",
            )
            assert plain["content"][0]["type"] == "text"
            counted = {"model": "tieline-self-test", "messages": turn}
            status, _, raw = await g.post("/v1/messages/count_tokens", counted)
            assert (status, json.loads(raw)) == (200, {"input_tokens": plain["usage"]["input_tokens"]})
            twice = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
            status, _, raw = await g.post("/v1/messages/count_tokens", counted | {"messages": twice})
            assert (status, json.loads(raw)["error"]["type"]) == (400, "invalid_request_error")
            assert "2 or more assistant messages" in json.loads(raw)["error"]["message"], "the engine's own words"
            status, _, raw = await g.post("/v1/messages", ask | {"model": "nobody"})
            assert (status, json.loads(raw)["error"]["type"]) == (404, "not_found_error")
            form = {"format": {"type": "json_schema", "name": "a", "strict": True, "schema": {
                "type": "object", "properties": {"a": {"type": "string", "enum": ["x", "y"]}}, "required": ["a"],
                "additionalProperties": False}}}  # fmt: skip
            async with openai.AsyncOpenAI(base_url=g.url, api_key="any", max_retries=0) as client:
                made = await client.responses.create(model="tieline-self-test", input="give", text=form)  # type: ignore[call-overload]
                assert json.loads(made.output_text)["a"] in ("x", "y")
            await g.quiet()
            assert [one.endpoint for one in g.usage()] == ["/v1/messages", "/v1/responses"]

    try:
        asyncio.run(asyncio.wait_for(body(), 60))
    finally:
        engine.stop()


def test_a_stop_string_held_back_does_not_cut_a_token_in_two(gateway: Start) -> None:
    async def body() -> None:
        async with ScriptedVllm("a") as a, ScriptedVllm("b") as b, gateway(settings(a.url, b.url)) as g:
            ask = CHAT | {"stop": ["ENDING"]}
            whole, _, _ = await stream(g, ask)
            for at in (3, 11, 24):
                a.faults = b.faults = Faults(die_after=at, times=1)
                text, _, well = await stream(g, ask)
                assert (text, well) == (whole, True), at
            assert not any(one.get("continue_final_message") for _, one in a.seen + b.seen)

    run(body())
