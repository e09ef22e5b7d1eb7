"""Whom a request says that it is for, and its tags, in its record; what its stream cost, and how its end is counted."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from tests.gateway.engines import Faults, Scripted
from tests.gateway.rig import Start, settings
from tests.gateway.test_continuity import CHAT, run

from tieline.gateway.requests import labels

DIGEST = "sha256:%s"


def fields(**given: Any) -> dict[str, msgspec.Raw]:
    return {name: msgspec.Raw(json.dumps(value).encode()) for name, value in given.items()}


@pytest.mark.parametrize(
    ("given", "user"),
    [
        ({"user": "ada"}, "ada"),
        ({"safety_identifier": "h-1"}, "h-1"),
        ({"user": "", "safety_identifier": "h-1"}, "h-1"),
        ({"user": "a" * 128}, "a" * 128),
        ({"user": "a" * 129}, DIGEST % sha256(b"a" * 129).hexdigest()),
        ({"user": "a\nb"}, DIGEST % sha256(b"a\nb").hexdigest()),
        ({"user": 7}, ""),
        ({"user": ["x"]}, ""),
        ({}, ""),
    ],
)
def test_a_user_is_short_and_prints_or_is_a_digest(given: dict[str, Any], user: str) -> None:
    assert labels.user_of(fields(**given)) == user


def test_tags_are_bounded() -> None:
    assert labels.tags_of(fields(metadata={"team": "grid", "n": 1, "x" * 65: "a", "long": "y" * 513})) == {
        "team": "grid"
    }
    many = {f"k{number}": "v" for number in range(40)}
    assert len(labels.tags_of(fields(metadata=many)) or {}) == labels.MAX_TAGS
    assert labels.tags_of(fields(metadata=["a"])) is None
    assert labels.tags_of(fields(metadata={})) is None


def test_they_are_in_the_record_and_the_cost_is_in_the_last_chunk(gateway: Start) -> None:
    async def body() -> None:
        async with Scripted(words=("w ",) * 5) as engine, gateway(settings(engine.url)) as g:
            asked = CHAT | {
                "user": "ada", "metadata": {"team": "grid"}, "stream": True, "stream_options": {"include_usage": True},
            }  # fmt: skip
            status, _, text = await g.post("/v1/chat/completions", asked)
            assert status == 200
            await g.quiet()
            (usage,) = g.usage()
            assert (usage.user, usage.tags) == ("ada", {"team": "grid"})
            last = next(line for line in text.split(b"\n") if b'"cost_usd"' in line)
            assert json.loads(last[6:])["usage"]["cost_usd"] == usage.cost_nano_usd / 1e9 > 0
            said = g.svc.stats.text(g.svc, tenants=True)
            assert b"ada" not in said
            assert b"grid" not in said

    run(body())


def test_an_answer_that_its_model_ended_is_counted_with_the_token_that_ended_it(gateway: Start) -> None:
    """Where the engine reports nothing; one that was cut at its limit has no such token."""

    async def body() -> None:
        async with (
            Scripted(words=("w ",) * 5, faults=Faults(no_usage=True)) as engine,
            gateway(settings(engine.url)) as g,
        ):
            for more in ({}, {"max_tokens": 3}):
                assert (await g.post("/v1/chat/completions", CHAT | {"stream": True} | more))[0] == 200
            await g.quiet()
            assert [(one.output_tokens, one.finish, one.estimated) for one in g.usage()] == [
                (6, "stop", True), (3, "length", True),
            ]  # fmt: skip

    run(body())
