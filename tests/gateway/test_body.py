"""Shortcuts in reading a body find what the long way finds."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from tieline.gateway.errors import Refusal
from tieline.gateway.requests import allowed, body
from tieline.gateway.requests.body import QUOTES, SHORT, names_addresses, names_pictures

LONG = " " * (SHORT + 100)
MANY = '"' * (QUOTES + 1)  # more than are looked at one by one
PIECES = st.sampled_from(
    [
        MANY,
        MANY[:-1],
        "_",
        "image",
        "image_url",
        'image_url"',
        "input_image",
        '"input_image"',
        "max_tokens",
        "text",
        '"',
        "e_",
        "url",
    ]
)


@example("_" * 40 + 'image_url"', LONG)
@example('image_url"', "")
@example(MANY + 'image_url"', LONG)
@example(MANY + "input_image", LONG)
@example(MANY[:-1] + '"input_image"', LONG)
@example("image_url" + MANY, LONG)
@example("text" * 200 + "_" * 40 + 'image_url"', "")
@example('"input_image"', LONG)
@example("_image_" * 20 + '"input_image"', LONG)
@given(st.lists(PIECES, max_size=60).map("".join), st.sampled_from(["", LONG]))
def test_a_picture_s_name_is_found_wherever_it_stands(text: str, before: str) -> None:
    body = (before + text).encode()
    assert names_pictures(body) is (b'image_url"' in body or b'"input_image"' in body)
    assert names_addresses(body) is (b'url"' in body)


def test_a_schema_lists_a_bounded_number_of_values_wherever_they_stand() -> None:
    most = allowed.MAX_SHAPE_VALUES

    def enum(count: int) -> dict[str, Any]:
        return {"type": "object", "properties": {"a": {"anyOf": [{"enum": [f"w{n}" for n in range(count)]}]}}}

    def refused(**fields: Any) -> str | None:
        given = {"model": "m", "messages": [{"role": "user", "content": "hi"}]} | fields
        found = body.read("chat", json.dumps(given).encode())
        return found.param if isinstance(found, Refusal) else None

    def formatted(count: int) -> dict[str, Any]:
        return {"type": "json_schema", "json_schema": {"name": "a", "schema": enum(count)}}

    tools = [{"type": "function", "function": {"name": f"t{n}", "parameters": enum(most - 1)}} for n in range(2)]
    assert refused(response_format=formatted(most - 1)) is None
    assert refused(response_format=formatted(most)) == "response_format"  # and the one of `anyOf`
    assert refused(guided_json=json.dumps(enum(most))) == "guided_json"
    assert refused(guided_choice=["w"] * most) is None
    assert refused(guided_choice=["w"] * (most + 1)) == "guided_choice"
    assert refused(tools=tools) is None  # each of several
    tools[1]["function"]["parameters"] = enum(most)
    assert refused(tools=tools) == "tools"
    assert refused(grammar="root ::= " + "a" * 5_000) is None
