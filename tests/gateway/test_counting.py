"""A bill that believes nobody: whatever an engine reports, it is never negative, never above what was agreed, never
nothing where there was text, and the hops add up."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.gateway.engines import Llama
from tests.gateway.odd_engine import DIE, END, Odd, answer, chunk, usage
from tests.gateway.rig import Start, free_port
from tests.gateway.rig import settings as rig
from tests.gateway.test_continuity import CHAT, stream
from tests.gateway.test_odd_engines import ROLE
from tests.gateway.test_state import state

from tieline.gateway.requests import counting
from tieline.gateway.requests.counting import CountBounds
from tieline.gateway.settings import Engine, Key, Limits, Model, Tenant, hash_key
from tieline.gateway.wire import sse

WILD = st.one_of(
    st.none(), st.integers(-(10**30), 10**30), st.integers(-5, 60), st.floats(allow_nan=False), st.booleans(),
    st.just("7"), st.just([]),
)  # fmt: skip
NAMES = ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens")
REPORTS = st.dictionaries(st.sampled_from(NAMES), WILD) | st.fixed_dictionaries(
    {name: st.integers(-5, 60) for name in NAMES[:3]}
)


@settings(max_examples=400, deadline=None)
@given(REPORTS, st.integers(1, 50), st.integers(0, 40), st.integers(0, 20), st.integers(0, 20))
def test_what_is_believed_can_be_true(report: dict[str, Any], prompt: int, frames: int, base: int, hidden: int) -> None:
    told = sse.usage_of(report)
    assert told is not None
    bounds = CountBounds(prompt, frames + base + hidden + 1, counting.least(frames))
    read = counting.read(told, bounds, base)
    assert read.prompt is None or 1 <= read.prompt <= bounds.prompt
    assert read.output is None or bounds.least <= read.output <= bounds.output
    assert read.output != 0 or not frames
    assert 0 <= read.cached <= (read.prompt or 0)
    assert 0 <= counting.estimate(read.output, frames, bounds.output) <= bounds.output


def test_reports_that_can_be_true_are_believed_often_enough_to_test_anything() -> None:
    believed = seen = 0

    @settings(max_examples=200, deadline=None)
    @given(REPORTS)
    def check(report: dict[str, Any]) -> None:
        nonlocal believed, seen
        told = sse.usage_of(report)
        assert told is not None
        read = counting.read(told, CountBounds(50, 50))
        seen += 1
        believed += read.prompt is not None and read.output is not None

    check()
    assert believed >= seen * 0.2, (believed, seen)


@settings(max_examples=300, deadline=None)
@given(REPORTS, st.integers(0, 12), st.integers(0, 3))
def test_the_usual_report_is_judged_in_place_as_any_other(report: dict[str, Any], frames: int, base: int) -> None:
    told = sse.usage_of(report)
    assert told is not None
    one = state()
    one.count(told, counting.least(frames), base)
    read = counting.read(told, one.bounds(counting.least(frames)), base)
    assert (one.prompt_tokens, one.output_tokens, one.cached_tokens) == (read.prompt, read.output, read.cached)
    assert one.estimated == bool(read.false)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 200))
def test_hops_add_up(outputs: list[int], total: int) -> None:
    shares = counting.balance(outputs, total)
    assert sum(shares) == total
    assert min(shares) >= 0
    if sum(outputs) == total:
        assert shares == outputs


HOSTILE: tuple[dict[str, Any], ...] = (
    {"prompt_tokens": -7, "completion_tokens": -1_000_000, "total_tokens": -1_000_007},
    {"prompt_tokens": 7, "completion_tokens": 10**30, "total_tokens": 10**30 + 7},
    {"prompt_tokens": 10**30, "completion_tokens": 3, "total_tokens": 10**30 + 3},
    {"total_tokens": 10},
    {"prompt_tokens": 7.0, "completion_tokens": 3.0},
    {"prompt_tokens": None, "completion_tokens": None},
    {"prompt_tokens": 0, "completion_tokens": 0},
    {"prompt_tokens": "7", "completion_tokens": True},
    {},
)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("told", HOSTILE, ids=str)
def test_no_report_enlarges_a_budget_or_costs_more_than_was_agreed(
    gateway: Start, streamed: bool, told: dict[str, Any]
) -> None:
    async def body() -> None:
        model = Model(name="m", input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(1))
        tenant = Tenant(id="t", limits=Limits(budget_usd=Decimal(1)))
        key = Key(id="k", tenant="t", sha256=hash_key("sk"))
        words = [ROLE, *(chunk({"content": one}) for one in ("one ", "two ", "three")), chunk({}, "stop")]
        whole = (200, "", answer("one two three", usage=told))
        async with (
            Odd("a", "someone", frames=[*words, usage(**told), END], whole=whole) as a,
            gateway(rig(a.url, models=(model,), tenants=(tenant,), keys=(key,))) as g,
        ):
            ask = CHAT | {"stream": streamed, "max_tokens": 50}
            status, _, text = await g.post("/v1/chat/completions", ask, "authorization: Bearer sk\r\n")
            assert status == 200
            await g.quiet()
            (record,) = g.usage()
            if not streamed:  # who asked is told what is billed, whatever the engine said
                said = json.loads(text)["usage"]
                assert (said["prompt_tokens"], said["completion_tokens"]) == (
                    record.prompt_tokens,
                    record.output_tokens,
                )
            bound = len('[{"role": "user", "content": "tell me"}]') + model.template_tokens
            assert 1 <= record.prompt_tokens <= bound
            assert 1 <= record.output_tokens <= 50
            assert record.cost_nano_usd == (record.prompt_tokens + record.output_tokens) * 1000
            assert sum(hop.output_tokens for hop in record.hops) == record.output_tokens
            budget = g.svc.book.scopes["tenant:t"].budget
            assert budget is not None
            assert 10**9 - budget.free == record.cost_nano_usd
            untrue = any(isinstance(one, int) and not isinstance(one, bool) and not 0 < one <= bound for one in
                         (told.get("prompt_tokens"), told.get("completion_tokens")))  # fmt: skip
            assert bool(g.svc.stats.failures[next(iter(g.svc.backends)), "false usage"]) == untrue
            assert record.estimated or not untrue

    asyncio.run(body())


def test_streamed_costs_what_is_not_streamed_costs_on_a_real_engine(gateway: Start) -> None:
    engine = Llama(free_port())
    engine.start()

    async def body() -> None:
        async with gateway(rig(engine.url, models=(Model(name="tieline-self-test"),))) as g:
            base = {"model": "tieline-self-test", "max_tokens": 12, "seed": 1}
            chat = base | {"messages": [{"role": "user", "content": "What is a rig?"}]}
            for path, ask in (
                ("/v1/chat/completions", chat | {"n": 4}),
                ("/v1/chat/completions", chat),
                ("/v1/completions", base | {"prompt": ["A rig is", "The grid", "One pool"]}),
            ):
                for streamed in (True, False):
                    assert (await g.post(path, ask | {"stream": streamed}))[0] == 200
            await g.quiet()
            bills = [(one.prompt_tokens, one.output_tokens) for one in g.usage()]
            for streamed_bill, whole_bill in zip(bills[::2], bills[1::2], strict=True):
                assert streamed_bill == whole_bill, bills
            assert bills[0][1] == 48
            assert bills[4][1] > 24

    try:
        asyncio.run(asyncio.wait_for(body(), 60))
    finally:
        engine.stop()


def test_a_stream_of_another_length_than_its_report_is_named(gateway: Start) -> None:
    async def body() -> None:
        words = [ROLE, *(chunk({"content": f"w{n} "}) for n in range(40)), chunk({}, "stop")]
        frames = [*words, usage(prompt_tokens=7, completion_tokens=1), END]
        async with Odd("a", "someone", frames=frames) as a, gateway(rig(a.url)) as g:
            await stream(g, CHAT)
            await g.quiet()
            assert (g.usage()[0].output_tokens, g.usage()[0].estimated) == (40, True)

    asyncio.run(body())


def test_a_call_cut_between_its_finish_and_its_count_is_billed_by_its_own_frames(gateway: Start) -> None:
    """vLLM says in each frame what was used so far, where it is asked to; its client sees none of it."""
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "price", "arguments": ""}}
    parts = [{"index": 0, "function": {"arguments": part}} for part in ('{"a', '": 1', "}")]

    def so_far(delta: dict[str, Any], output: int, finish: str | None = None) -> dict[str, Any]:
        return chunk(delta, finish, usage={"prompt_tokens": 7, "completion_tokens": output, "total_tokens": 7 + output})

    async def body() -> None:
        frames = [so_far({"role": "assistant", "content": ""}, 0)]
        frames += [so_far({"tool_calls": [one]}, 9 + 3 * at) for at, one in enumerate([call, *parts])]
        frames += [so_far({}, 19, "tool_calls"), DIE]
        asked = {**CHAT, "tools": [{"type": "function", "function": {"name": "price"}}]}
        async with (
            Odd("a", "vllm", frames=frames) as a,
            gateway(rig(engines=(Engine(url=a.url, kind="vllm", models=("m",)),))) as g,
        ):
            _, events, well = await stream(g, asked | {"stream_options": {"include_usage": True}})
            assert well
            assert [one["usage"] for one in events if one["choices"]] == [None] * 6
            assert events[-1]["usage"]["completion_tokens"] == 19
            await g.quiet()
            assert (g.usage()[0].output_tokens, g.usage()[0].prompt_tokens, g.usage()[0].estimated) == (19, 7, False)
            asked_of = next(given for path, given in a.seen if path == "/v1/chat/completions")
            assert asked_of["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}

    asyncio.run(body())


@pytest.mark.parametrize(("cut_at", "billed"), [("hashes sold", 10), (None, 9), ("not one that was asked for", 9)])
def test_a_text_cut_between_its_finish_and_its_count_is_counted_by_the_engine_that_was_lost(
    gateway: Start, cut_at: str | None, billed: int
) -> None:
    """Its connection was cut, and no other is there: it is left alone for answers, but it can count. vLLM says which
    stop string ended the text, whose tokens were generated too; with none the model ended it, by a token of its own."""

    async def body() -> None:
        words = [ROLE, chunk({"content": "A rig "}), chunk({"content": "is one ASIC that computes SHA-256 "})]
        end = {"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": cut_at}
        async with (
            Odd("a", "vllm", frames=[*words, chunk({}) | {"choices": [end]}, DIE]) as a,
            gateway(rig(engines=(Engine(url=a.url, kind="vllm", models=("m",)),))) as g,
        ):
            _, _, well = await stream(g, CHAT | {"stop": ["hashes sold", "pool"]})
            assert well
            await g.quiet()
            (record,) = g.usage()
            assert (record.output_tokens, record.estimated) == (billed, True)

    asyncio.run(body())
