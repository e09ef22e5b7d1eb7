"""Shortcuts in reading a body find what the long way finds."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

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
