"""A frame that a template takes is, read in full, its frame with that text and no other change."""

from __future__ import annotations

import copy
import json
from typing import Any

import msgspec
import pytest
from hypothesis import assume, example, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from tieline.gateway.wire import passthrough, sse
from tieline.gateway.wire.http1 import whole_chunks

CHAT = {
    "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1790000000, "model": "m",
    "choices": [{"index": 0, "delta": {"content": "power"}, "logprobs": None, "finish_reason": None}],
}  # fmt: skip
SGLANG = {
    "id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m", "usage": None,
    "choices": [
        {
            "index": 0, "finish_reason": None, "matched_stop": None,
            "delta": {"role": None, "content": "power", "reasoning_content": None, "tool_calls": None},
        }
    ],
}  # fmt: skip
TEXT = {"id": "cmpl-1", "choices": [{"text": "power", "index": 0, "finish_reason": None}], "usage": None}
FORMS = [CHAT, SGLANG, TEXT]


def frame(body: Any, *, spaced: bool = False, plain: bool = False) -> bytes:
    separators = (", ", ": ") if spaced else (",", ":")
    return b"data: " + json.dumps(body, separators=separators, ensure_ascii=plain).encode("utf-8", "replace") + b"\n\n"


def with_text(body: Any, text: str) -> Any:
    body = copy.deepcopy(body)
    choice = body["choices"][0]
    if "text" in choice:
        choice["text"] = text
    else:
        choice["delta"]["content"] = text
    return body


@given(st.sampled_from(FORMS), st.text(min_size=1), st.booleans(), st.booleans())
def test_any_text_is_taken_and_nothing_is_lost(body: Any, text: str, spaced: bool, escaped: bool) -> None:
    assume(text.encode("utf-8", "ignore").decode() == text)
    made = passthrough.of(frame(body, spaced=spaced), frame(body, spaced=spaced))
    assert made is not None
    assert made.same
    came = frame(with_text(body, text), spaced=spaced, plain=escaped)
    assert made.texts([came]) == [text]
    assert made.sent(came) == came


def one_string(inside: bytes) -> str:
    try:
        return msgspec.json.decode(b'"%b"' % inside, type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""


# What an engine may put into a frame that must never pass unread.
OTHERWISE: list[dict[str, Any]] = [
    {"usage": {"prompt_tokens": 1, "completion_tokens": 2}},
    {"error": {"message": "x"}},
    {"choices": []},
    {"choices": [*CHAT["choices"], *CHAT["choices"]]},  # type: ignore[misc]
    {"choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": None, "finish_reason": "stop"}]},
    {"choices": [{"index": 1, "delta": {"content": "a"}, "logprobs": None, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": "a", "tool_calls": []}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": "a", "reasoning_content": "b"}, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": ""}, "logprobs": None, "finish_reason": None}]},
    {"choices": [{"index": 0, "delta": {"content": None}, "logprobs": None, "finish_reason": None}]},
    {"id": "chatcmpl-2"},
    {"created": 1790000001},
    {"model": "other"},
]


@pytest.mark.parametrize("change", OTHERWISE)
def test_what_holds_more_than_text_is_left_to_the_careful_reader(change: dict[str, Any]) -> None:
    made = passthrough.of(frame(CHAT), frame(CHAT))
    assert made is not None
    assert made.texts([frame(CHAT | change)]) is None
    assert made.texts([frame(CHAT), frame(CHAT | change)]) is None


BASE = frame(CHAT)
AT = BASE.index(b"power")


@effort(max_examples=500)
@example(b'a"},"finish_reason":"stop","x":{"y":"b')
@example(b'a","content":"b')
@example(b"a\\")
@example(b'a\\"')
@example(b"a\\\\")
@example(b"\xff")
@example(b"\xe6\x9d")
@example(b"a\nb")
@example(b'a"}}]}\n\ndata: {"choices":[{"delta":{"content":"b')
@given(st.binary(max_size=40) | st.text(st.sampled_from('a"\\{}[]:,\n/u0d8é'), max_size=12).map(str.encode))
def test_whatever_stands_in_the_text_s_place_is_read_as_the_full_parser_reads_it(inside: bytes) -> None:
    made = passthrough.of(BASE, BASE)
    assert made is not None
    data = BASE[:AT] + inside + BASE[AT + 5 :]
    texts = made.texts([data])
    if texts is not None:
        (text,) = texts
        assert json.loads(data[6:-2]) == with_text(CHAT, text)
        assert passthrough.plain_text(sse.read_event(data[6:-2])) == text
    else:  # left to the careful reader: what stands there is not one string with something in it
        assert not one_string(inside)


@effort(max_examples=500)
@given(st.sampled_from(FORMS), st.data())
def test_a_frame_changed_anywhere_is_never_taken_for_the_same(body: Any, data: Any) -> None:
    """Bytes cut out, put in or exchanged at any place."""
    base = frame(body)
    made = passthrough.of(base, base)
    assert made is not None
    at = data.draw(st.integers(0, len(base)))
    size = data.draw(st.integers(0, 12))
    new = data.draw(st.binary(max_size=6) | st.sampled_from([b'"', b"\\", b'","', b"}", b"null", b'"usage":1,']))
    changed = base[:at] + new + base[at + size :]
    texts = made.texts([changed])
    if texts is not None:
        (text,) = texts
        assert json.loads(changed[6:-2]) == with_text(body, text)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@effort(max_examples=500)
@given(st.sampled_from(FORMS), st.text(min_size=1, max_size=8), st.data())
def test_one_chunk_is_read_as_the_chunk_reader_reads_it(body: Any, text: str, data: Any) -> None:
    """Also where its size, its end or anything else is changed."""
    assume(text.encode("utf-8", "ignore").decode() == text)
    made = passthrough.of(frame(body), frame(body))
    assert made is not None
    raw = chunk(frame(with_text(body, text)))
    assert whole_chunks(raw) == [frame(with_text(body, text))]  # and the size is known from here on
    assert made.take(raw) == (text, raw)
    at = data.draw(st.integers(0, len(raw)) | st.integers(0, 6))
    new = data.draw(st.binary(max_size=4) | st.sampled_from([b"\r\n", b"0", b";x", b"\n\n", b'"', raw]))
    changed = raw[:at] + new + raw[at + data.draw(st.integers(0, 4)) :]
    found = made.take(changed)
    if found is not None:
        (payload,) = whole_chunks(changed) or []
        assert found == (made.texts([payload])[0], changed)  # type: ignore[index]


def test_another_name_is_put_around_the_text() -> None:
    sent = frame(CHAT | {"model": "public", "id": "first"})
    made = passthrough.of(frame(CHAT), sent)
    assert made is not None
    assert not made.same
    came = frame(with_text(CHAT, 'a "quoted" é\n'))
    goes = frame(with_text(CHAT | {"model": "public", "id": "first"}, 'a "quoted" é\n'))
    assert made.sent(came) == goes
    assert whole_chunks(chunk(came)) == [came]
    assert made.take(chunk(came)) == ('a "quoted" é\n', chunk(goes))


@pytest.mark.parametrize(
    "body",
    [
        CHAT | {"usage": {"prompt_tokens": 1}},
        CHAT | {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": "stop"}]},
        CHAT | {"choices": [{"index": 0, "delta": {"role": "assistant"}, "finish_reason": None}]},
        CHAT | {"choices": [{"index": 0, "delta": {"tool_calls": [{"x": '"content":"a"'}]}, "finish_reason": None}]},
        {"error": {"content": "a"}},
        {"content": "a", "stop": False},
    ],
)
def test_no_mould_is_made_of_what_is_not_plain_text(body: Any) -> None:
    assert passthrough.of(frame(body), frame(body)) is None


def test_a_text_elsewhere_is_not_taken_for_the_text() -> None:
    """A field of the same name stands before the real one."""
    body = {"debug": {"content": "x"}, **CHAT}
    assert passthrough.of(frame(body), frame(body)) is None
    twice = BASE.replace(b'"delta":{', b'"delta":{"content":"first",')
    assert passthrough.of(twice, twice) is None
