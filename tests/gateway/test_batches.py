"""Work with a deadline, by the official client: handed in, carried out, fetched; cancelled, expired, restarted.

Engines are scripted: a batch is about order, money and what survives, not about what a model says.
"""

from __future__ import annotations

import asyncio
import io
import json
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openai
import pytest
from tests.gateway.engines import Scripted
from tests.gateway.rig import Gateway, settings, start

from tieline.clock import WallClock
from tieline.gateway.batch.files import read_form
from tieline.gateway.batch.input import MAX_ERRORS, read_lines
from tieline.gateway.errors import Refusal
from tieline.gateway.routing.route import Replica
from tieline.gateway.settings import Key, Limits, Tenant, hash_key
from tieline.store import StoreError

CHAT = "/v1/chat/completions"


def ask(number: int, **changes: Any) -> dict[str, Any]:
    body = {"model": "m", "messages": [{"role": "user", "content": f"line {number}"}], "max_tokens": 5}
    return {"custom_id": f"c{number}", "method": "POST", "url": CHAT, "body": body | changes}


def jsonl(*lines: object) -> io.BytesIO:
    file = io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
    file.name = "requests.jsonl"
    return file


def client_of(g: Gateway, key: str = "any") -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=g.url, api_key=key, max_retries=0)


async def hand_in(client: openai.AsyncOpenAI, *lines: object, endpoint: Any = CHAT, **more: Any) -> Any:
    file = await client.files.create(file=jsonl(*lines), purpose="batch")
    return await client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


async def over(client: openai.AsyncOpenAI, batch: Any) -> Any:
    async with asyncio.timeout(15):
        while batch.status not in ("completed", "failed", "expired", "cancelled"):
            await asyncio.sleep(0.02)
            batch = await client.batches.retrieve(batch.id)
    return batch


async def lines_of(client: openai.AsyncOpenAI, id_: str | None) -> dict[str, Any]:
    assert id_ is not None
    text = (await client.files.content(id_)).text
    return {row["custom_id"]: row for row in map(json.loads, text.splitlines())}


def test_a_batch_from_upload_to_result(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(slots=4) as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            given = [ask(n) for n in range(30)]
            given.append(ask(90, model="nobody"))
            given.append(ask(91, stream=True))
            given.append(ask(92, messages=[]))
            batch = await hand_in(client, *given, metadata={"night": "run"})
            assert (batch.object, batch.status, batch.metadata) == ("batch", "validating", {"night": "run"})
            done = await over(client, batch)
            assert done.status == "completed"
            counts = done.request_counts
            assert (counts.total, counts.completed, counts.failed) == (33, 30, 3)
            assert done.in_progress_at <= done.finalizing_at <= done.completed_at <= done.expires_at
            rows = await lines_of(client, done.output_file_id)
            assert list(rows) == [f"c{n}" for n in range(30)]
            for row in rows.values():
                assert row["error"] is None
                assert row["response"]["status_code"] == 200
                assert row["response"]["body"]["usage"]["completion_tokens"] == 5
            failed = await lines_of(client, done.error_file_id)
            codes = {name: row["response"]["body"]["error"]["code"] for name, row in failed.items()}
            assert codes == {"c90": "model_not_found", "c91": "unsupported_parameter", "c92": "invalid_type"}

            records = {u.request_id: u for u in g.usage()}
            assert len(records) == 30
            for usage in records.values():  # half of 0.1 and 0.4 USD per million
                assert usage.cost_nano_usd == usage.prompt_tokens * 50 + usage.output_tokens * 200 > 0

            files = [f async for f in await client.files.list()]
            assert {f.id for f in files} >= {done.output_file_id, done.error_file_id, done.input_file_id}
            assert [f.id async for f in await client.files.list(purpose="batch")] == [done.input_file_id]
            assert (await client.files.retrieve(done.input_file_id)).filename == "requests.jsonl"
            assert (await client.files.delete(done.output_file_id)).deleted
            with pytest.raises(openai.NotFoundError):
                await client.files.content(done.output_file_id)

    asyncio.run(body())


def test_a_response_s_line_is_answered_with_a_response(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted(slots=4) as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            line = {"custom_id": "r1", "method": "POST", "url": "/v1/responses"}
            asked = {"model": "m", "input": "hello", "max_output_tokens": 5}
            later = line | {"custom_id": "r2", "body": asked | {"previous_response_id": "resp_12345678"}}
            done = await over(client, await hand_in(client, line | {"body": asked}, later, endpoint="/v1/responses"))
            answer = (await lines_of(client, done.output_file_id))["r1"]["response"]["body"]
            assert (answer["object"], answer["status"]) == ("response", "incomplete")
            assert answer["usage"]["output_tokens"] == 5
            failed = (await lines_of(client, done.error_file_id))["r2"]["response"]["body"]["error"]
            assert failed["param"] == "previous_response_id"
            assert [one.endpoint for one in g.usage()] == ["/v1/responses"]

    asyncio.run(body())


def test_lists_go_on_page_by_page(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            made = [(await hand_in(client, ask(n))).id for n in range(5)]
            assert [b.id async for b in await client.batches.list(limit=2)] == made[::-1]
            names = [f.id async for f in await client.files.list(limit=2, order="asc", purpose="batch")]
            assert len(names) == len(set(names)) == 5

    asyncio.run(body())


def test_a_line_gives_way_to_who_waits_for_an_answer(tmp_path: Path) -> None:
    """An engine of three places: a batch takes two at most, and none while anybody queues."""

    async def body() -> None:
        async with Scripted(slots=3) as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            async with asyncio.timeout(5):
                while next(iter(g.svc.backends.values())).slots != 3:  # until the engine was asked
                    await asyncio.sleep(0.01)
            engine.gate.clear()
            batch = await hand_in(client, *(ask(n) for n in range(6)))
            async with asyncio.timeout(5):
                while engine.running < 2:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            assert engine.running == 2
            live = asyncio.create_task(
                client.chat.completions.create(model="m", messages=[{"role": "user", "content": "now"}], max_tokens=2)
            )
            async with asyncio.timeout(5):
                while engine.running < 3:
                    await asyncio.sleep(0.01)
            engine.gate.set()
            assert (await live).usage.completion_tokens == 2
            assert (await over(client, batch)).request_counts.completed == 6

    asyncio.run(body())


def test_a_batch_goes_on_in_the_next_process(tmp_path: Path) -> None:
    """Stopped in the middle: what has a result keeps it, the rest is carried out once, and billed once."""

    async def body() -> None:
        async with Scripted(slots=4) as engine:
            given = settings(engine.url)
            engine.gate.clear()
            async with start(given, tmp_path) as g, client_of(g) as client:
                batch = await hand_in(client, *(ask(n) for n in range(12)))
                async with asyncio.timeout(5):
                    while engine.running < 2:
                        await asyncio.sleep(0.01)
                engine.gate.set()
                async with asyncio.timeout(5):
                    while (await client.batches.retrieve(batch.id)).request_counts.completed < 3:
                        await asyncio.sleep(0.005)
                engine.gate.clear()
            async with start(given, tmp_path) as g, client_of(g) as client:
                engine.gate.set()
                done = await over(client, batch)
                assert (done.status, done.request_counts.completed) == ("completed", 12)
                assert len(await lines_of(client, done.output_file_id)) == 12
                answered = [u for u in g.usage() if u.status == 200]
                assert len(answered) == len({u.request_id.split(".")[0] for u in answered}) == 12
                assert sum(u.cost_nano_usd for u in g.usage() if u.status != 200) == 0

    asyncio.run(body())


def test_a_lost_result_is_not_billed_twice(tmp_path: Path) -> None:
    """The process dies after the bill and before the result is on disk: the line runs again under its old id."""

    async def body() -> None:
        async with Scripted() as engine:
            given = settings(engine.url)

            def refuse(*_: object) -> None:
                raise StoreError("the disk is full")

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("tieline.store.batches.BatchStore.land", refuse)
                async with start(given, tmp_path) as g, client_of(g) as client:
                    batch = await hand_in(client, ask(1))
                    async with asyncio.timeout(5):
                        while not g.usage():
                            await asyncio.sleep(0.01)
                    await asyncio.sleep(0.2)
                    assert (await client.batches.retrieve(batch.id)).status == "in_progress"
            async with start(given, tmp_path) as g, client_of(g) as client:
                done = await over(client, batch)
                assert done.request_counts.completed == 1
                assert [path for path, _ in engine.seen if path == CHAT] == [CHAT, CHAT]
                assert [u.request_id for u in g.usage()] == [f"{batch.id}-0"]

    asyncio.run(body())


def test_cancelled_and_expired(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            first = await over(client, await hand_in(client, ask(0)))
            with pytest.raises(openai.ConflictError):
                await client.batches.cancel(first.id)
            engine.gate.clear()
            batch = await hand_in(client, *(ask(n) for n in range(40)))
            async with asyncio.timeout(5):
                while engine.running < 10:
                    await asyncio.sleep(0.01)
            assert (await client.batches.cancel(batch.id)).status in ("cancelling", "cancelled")
            done = await over(client, batch)
            assert (done.status, done.output_file_id) == ("cancelled", None)
            await g.quiet()
            engine.gate.set()
            async with asyncio.timeout(5):
                while engine.running:
                    await asyncio.sleep(0.01)
            engine.gate.clear()

            late = await hand_in(client, *(ask(n) for n in range(3)))
            async with asyncio.timeout(5):
                while (await client.batches.retrieve(late.id)).status != "in_progress" or not engine.running:
                    await asyncio.sleep(0.01)
            now = g.svc.clock.now()
            g.svc.clock = WallClock(1.0, now, now + timedelta(hours=25))
            done = await over(client, late)
            assert (done.status, done.request_counts.failed) == ("expired", 3)
            rows = await lines_of(client, done.error_file_id)
            assert {row["error"]["code"] for row in rows.values()} == {"batch_expired"}
            assert len(rows) == 3

    asyncio.run(body())


def test_engines_that_fail_are_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Replica, "failed", lambda *_, **__: None)  # its pauses of seconds are tested elsewhere

    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            engine.faults.status, engine.faults.times = 500, 3
            done = await over(client, await hand_in(client, ask(1)))
            assert done.request_counts.completed == 1
            assert [u.status for u in g.usage()] == [502, 200]
            assert len({u.request_id for u in g.usage()}) == 2  # a failed try and a good one are two records

    asyncio.run(body())


def test_whose_they_are_and_what_they_may_spend(tmp_path: Path) -> None:
    async def body() -> None:
        keys = (
            Key(id="a", sha256=hash_key("sk-a"), tenant="acme", limits=Limits(budget_usd=Decimal("0.00001"))),
            Key(id="b", sha256=hash_key("sk-b"), tenant="other"),
        )
        given = {"tenants": (Tenant(id="acme"), Tenant(id="other")), "keys": keys}
        async with (
            Scripted() as engine,
            start(settings(engine.url, **given), tmp_path) as g,
            client_of(g, "sk-a") as mine,
            client_of(g, "sk-b") as theirs,
        ):
            batch = await hand_in(mine, *(ask(n) for n in range(6)))
            for call in (theirs.batches.retrieve(batch.id), theirs.files.content(batch.input_file_id)):
                with pytest.raises(openai.NotFoundError):
                    await call
            with pytest.raises(openai.BadRequestError) as stolen:
                await theirs.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h")
            assert stolen.value.param == "input_file_id"
            assert [b.id async for b in await theirs.batches.list()] == []
            done = await over(mine, batch)
            # Half of 0.1 and 0.4 USD per million: the budget of 10,000 nano-dollars covers some lines, not all.
            assert 0 < done.request_counts.completed < 6
            assert done.request_counts.completed + done.request_counts.failed == 6
            rows = await lines_of(mine, done.error_file_id)
            assert {r["response"]["body"]["error"]["code"] for r in rows.values()} == {"insufficient_quota"}
            budget = g.svc.book.scopes["key:a"].budget
            assert budget is not None
            assert budget.reserved == 0
            assert budget.settled == sum(u.cost_nano_usd for u in g.usage()) <= 10_000

    asyncio.run(body())


def test_refusals(tmp_path: Path) -> None:
    async def body() -> None:
        async with Scripted() as engine, start(settings(engine.url), tmp_path) as g, client_of(g) as client:
            for change, param in (
                ({"endpoint": "/v1/audio"}, "endpoint"),
                ({"completion_window": "25h"}, "completion_window"),
                ({"input_file_id": "file-0"}, "input_file_id"),
            ):
                with pytest.raises(openai.BadRequestError) as refused:
                    await client.batches.create(
                        **{"input_file_id": "file-1", "endpoint": CHAT, "completion_window": "24h"} | change
                    )
                assert refused.value.param == param
            with pytest.raises(openai.BadRequestError) as refused:
                await client.files.create(file=jsonl(ask(1)), purpose="fine-tune")
            assert refused.value.param == "purpose"
            bad = await over(client, await hand_in(client, ask(1), ask(1), {"custom_id": "x"}))
            assert bad.status == "failed"
            assert [(e.code, e.line) for e in bad.errors.data] == [("duplicate_custom_id", 2), ("invalid_json_line", 3)]
            for method, path, status in (
                ("PUT", "/v1/files", 405), ("DELETE", "/v1/batches", 405), ("GET", "/v1/files/none/content", 404),
                ("GET", "/v1/files/none/of/this", 404), ("GET", "/v1/filesystem", 404),
                ("GET", "/v1/batches?limit=x", 400), ("GET", "/v1/batches?after=%27", 400), ("POST", "/v1/files", 415),
            ):  # fmt: skip
                raw = await g.raw(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n".encode())
                head, _, text = raw.partition(b"\r\n\r\n")
                assert int(head.split(b" ")[1]) == status, (method, path)
                assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
                assert b"x-request-id" in head

    asyncio.run(body())


def test_lines_are_judged_in_bounds() -> None:
    good = json.dumps(ask(1)).encode()
    assert read_lines(good + b"\r\n\n", CHAT)[0][0][0] == "c1"
    for content, code in (
        (b"", "file_not_found"),
        (b"\n\n", "empty_file"),
        (good.replace(b"POST", b"GET"), "invalid_method"),
        (good.replace(b"chat/completions", b"completions"), "mismatched_endpoint"),
        (good.replace(b"c1", b"c" * 600), "invalid_custom_id"),
        (good.replace(b"line", b"\xff"), "invalid_json_line"),
    ):
        assert [fault["code"] for fault in read_lines(content, CHAT)[1]] == [code]
    assert len(read_lines(b"x\n" * 1000, CHAT)[1]) == MAX_ERRORS
    many = b"".join(
        b'{"custom_id":"%d","method":"POST","url":"%b","body":{}}\n' % (n, CHAT.encode()) for n in range(50_001)
    )
    assert [fault["code"] for fault in read_lines(many, CHAT)[1]] == ["too_many_lines"]


def test_forms() -> None:
    kind = b"multipart/form-data; boundary=b"
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\nX: y\r\n\r\n%b\r\n'
    whole = part % (b"purpose", b"batch") + file % b"\r\n-b\r\n--\r\n" + b"--b--\r\n"
    assert read_form(kind, whole) == ({"purpose": "batch"}, "a.jsonl", b"\r\n-b\r\n--\r\n")
    assert isinstance(read_form(kind, file % b"a\r\n--bc\r\n" + b"--b--"), Refusal)  # its boundary is in the file
    plain = part % (b"purpose", b"batch") + part % (b"file", b"{}") + b"--b--"
    assert read_form(kind, plain) == ({"purpose": "batch"}, "file", b"{}")
    assert read_form(b'multipart/form-data; charset=x; boundary="b"', plain) == read_form(kind, plain)
    for at in range(len(plain) - 1):
        assert isinstance(read_form(kind, plain[:at]), Refusal), at
    for bad in (b"text/plain", b"", b"multipart/form-data", b"multipart/form-data; boundary=" + b"b" * 71):
        assert isinstance(read_form(bad, plain), Refusal)
    assert isinstance(read_form(kind, (part % (b"a", b"b")) * 40 + b"--b--"), Refusal)
