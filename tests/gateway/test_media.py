"""Sound and pictures: passed to engines that offer them, metered in their own unit, and billed by what was counted
here.

The engine is scripted: it makes no sound and no picture, and knows only what it was told to answer. Nobody ran a true
one here.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import math
import re
import wave
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given as cases
from hypothesis import strategies as st
from openai import AsyncOpenAI
from tests.gateway.rig import Gateway, Start
from tests.gateway.rig import settings as rig

from tieline.books import invoices
from tieline.gateway.requests.media import asked
from tieline.gateway.requests.media.sound import seconds_of
from tieline.gateway.settings import Engine, Key, Limits, Model, SettingsError, Tenant, from_plain, hash_key
from tieline.gateway.wire import multipart
from tieline.gateway.wire.multipart import FormPart

SOUNDS = Path(__file__).parent / "sounds"
PICTURE = base64.b64encode(b"no picture").decode()
VOICE, EAR, BRUSH = "voice", "ear", "brush"
MODELS = (
    Model(name=VOICE, unit="character", usd_per_unit=Decimal("0.000015")),
    Model(name=EAR, unit="second", usd_per_unit=Decimal("0.0001"), aliases=("ears",)),
    Model(name=BRUSH, unit="image", usd_per_unit=Decimal("0.04")),
    Model(name="chat", input_usd_per_mtok=Decimal(1), output_usd_per_mtok=Decimal(2)),
)


class Studio:
    """An engine for tests: answers each path as `answers` says (status, kind, bytes), None: its connection dies."""

    def __init__(self, answers: dict[str, tuple[int, str, bytes] | None] | None = None) -> None:
        pictures = json.dumps({"created": 1, "data": [{"b64_json": PICTURE}], "usage": {"total_tokens": 10**9}})
        self.answers: dict[str, tuple[int, str, bytes] | None] = {
            "/v1/audio/speech": (200, "audio/mpeg", b"\xff\xf3 a voice"),
            "/v1/audio/transcriptions": (200, "application/json", b'{"text": "A rig.", "usage": {"seconds": 999999}}'),
            "/v1/audio/translations": (200, "text/plain; charset=utf-8", b"A rig."),
            "/v1/images/generations": (200, "application/json", pictures.encode()),
            "/v1/images/edits": (200, "application/json", pictures.encode()),
            "/v1/images/variations": (200, "application/json", pictures.encode()),
        } | (answers or {})
        self.asked: list[tuple[str, str, bytes]] = []

    async def __aenter__(self) -> Studio:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.I)
                body = await reader.readexactly(int(length[1]) if length else 0)
                path = head.split(" ")[1]
                kind = re.search(r"content-type: (.*?)\r", head, re.I)
                if path == "/v1/models":
                    names = [{"id": model.name} for model in MODELS]
                    answer: tuple[int, str, bytes] | None = (
                        200,
                        "application/json",
                        json.dumps({"data": names}).encode(),
                    )
                elif path in self.answers:
                    self.asked.append((path, kind[1] if kind else "", body))
                    answer = self.answers[path]
                else:
                    answer = (404, "application/json", b'{"detail": "Not Found"}')
                if answer is None:
                    writer.transport.abort()
                    return
                status, kind_, text = answer
                writer.write(
                    f"HTTP/1.1 {status} X\r\ncontent-type: {kind_}\r\ncontent-length: {len(text)}\r\n\r\n".encode()
                )
                writer.write(text)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


def recording(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as made:
        made.setparams((1, 1, 8000, 0, "NONE", ""))
        made.writeframes(b"\x80" * round(seconds * 8000))
    return out.getvalue()


def before(*studios: Studio, **more: Any) -> Any:
    engines = tuple(
        Engine(url=one.url, id=f"studio-{at}", models=tuple(m.name for m in MODELS)) for at, one in enumerate(studios)
    )
    return rig(engines=engines, models=MODELS, **more)


def form(*parts: FormPart) -> tuple[bytes, str]:
    return multipart.write(parts), f"content-type: {multipart.CONTENT_TYPE}\r\n"


SECRET = "sk-media"
IS = FormPart("model", EAR.encode())


def with_key(**limits: Any) -> dict[str, Any]:
    key = Key(id="k", sha256=hash_key(SECRET), tenant="t", role="billing" if limits.pop("reads", None) else "user")
    return {"keys": (key,), "tenants": (Tenant(id="t", limits=Limits(**limits)),)}


def test_an_official_client_hears_speaks_and_paints_and_is_billed_by_what_was_counted_here(gateway: Start) -> None:
    async def body() -> None:
        async with Studio() as studio, gateway(before(studio, **with_key(budget_usd=Decimal(1)))) as g:
            client = AsyncOpenAI(base_url=g.url, api_key=SECRET, max_retries=0)
            spoken = await client.audio.speech.create(model=VOICE, input="Zürich spricht.", voice="alloy")
            assert spoken.content == b"\xff\xf3 a voice"
            assert spoken.response.headers["content-type"] == "audio/mpeg"
            assert spoken.response.headers["x-tieline-cost-usd"] == "0.000225000"
            heard = await client.audio.transcriptions.create(
                model="ears", file=("a.wav", recording(2.5)), language="de"
            )
            assert heard.text == "A rig."
            sent, head = form(IS, FormPart("file", recording(7.0), "a.wav"), FormPart("response_format", b"text"))
            written = await g.post("/v1/audio/translations", sent, f"{head}x-api-key: {SECRET}\r\n")
            assert (written[0], written[1]["content-type"], written[2]) == (200, "text/plain; charset=utf-8", b"A rig.")
            made = await client.images.generate(model=BRUSH, prompt="a rig", n=2, size="512x512")
            assert made.data is not None
            assert made.data[0].b64_json == PICTURE
            await client.images.edit(model=BRUSH, image=("a.png", b"png"), mask=("m.png", b"png"), prompt="a red one")
            await g.quiet()
            told = [(one.endpoint, one.model, one.unit, one.units, one.cost_nano_usd) for one in g.usage()]
            assert told == [
                ("/v1/audio/speech", VOICE, "character", 15, 225_000),
                ("/v1/audio/transcriptions", EAR, "second", 3, 300_000),
                ("/v1/audio/translations", EAR, "second", 7, 700_000),
                ("/v1/images/generations", BRUSH, "image", 1, 40_000_000),
                ("/v1/images/edits", BRUSH, "image", 1, 40_000_000),
            ]
            assert all((one.prompt_tokens, one.output_tokens, one.estimated) == (0, 0, False) for one in g.usage())
            budget = g.svc.book.scopes["tenant:t"].budget
            assert budget is not None
            assert budget.settled == 81_225_000
            assert budget.reserved == 0
            await as_it_was_asked(studio)
            await read_by_its_tenant(g)

    asyncio.run(body())


async def as_it_was_asked(studio: Studio) -> None:
    """What reached the engine: JSON as JSON, a form as a form with its files whole, under the engine's own name."""
    (_, kind, spoken), (_, heard_kind, heard), _, (_, _, painted), (_, _, edited) = studio.asked
    assert kind == "application/json"
    assert json.loads(spoken) == {"model": VOICE, "input": "Zürich spricht.", "voice": "alloy"}
    boundary = multipart.boundary_of(heard_kind.encode())
    assert boundary is not None
    parts = {one.name: one for one in multipart.read(heard, boundary)}
    assert parts["file"].data == recording(2.5)
    assert parts["file"].file == "a.wav"
    assert (parts["model"].data, parts["language"].data) == (EAR.encode(), b"de")
    assert json.loads(painted)["response_format"] == "b64_json"
    names = [one.name for one in multipart.read(edited, boundary)]
    assert sorted(names) == ["image", "mask", "model", "prompt", "response_format"]


async def read_by_its_tenant(g: Gateway) -> None:
    """Usage and prices, with the key in any of its fields."""
    for field in (f"authorization: Bearer {SECRET}", f"x-api-key: {SECRET}", f"api-key: {SECRET}"):
        status, usage = await get(g, "/v1/usage", field)
        assert status == 200
    assert [(one["model"], one["unit"], one["units"], one["requests"]) for one in usage["data"]] == [
        ("voice", "character", 15, 1), ("brush", "image", 2, 2), ("ear", "second", 10, 2),
    ]  # fmt: skip
    assert usage["total"] == {"requests": 5, "prompt_tokens": 0, "output_tokens": 0, "cost_nano_usd": 81_225_000}
    _, first = await get(g, "/v1/usage?limit=2", f"x-api-key: {SECRET}")
    _, second = await get(g, f"/v1/usage?limit=2&after={first['next']}", f"x-api-key: {SECRET}")
    assert first["data"] + second["data"] == usage["data"]
    _, prices = await get(g, "/v1/prices", f"x-api-key: {SECRET}")
    assert prices["data"][1] | {"aliases": []} == {
        "model": EAR, "aliases": [], "fallbacks": [], "unit": "second", "usd_per_unit": "0.0001", "later": [],
    }  # fmt: skip
    (bill,) = invoices(g.usage(), f"{g.usage()[0].at:%Y-%m}")
    assert [(one.model, one.units, one.unit, str(one.amount_usd)) for one in bill.lines] == [
        (BRUSH, 2, "image", "0.08"), (EAR, 10, "second", "0.00"), (VOICE, 15, "character", "0.00"),
    ]  # fmt: skip
    assert bill.less(bill.issue("1", g.usage()[0].at).lines) is None


async def get(g: Gateway, path: str, field: str) -> tuple[int, Any]:
    answer = await g.raw(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n{field}\r\n\r\n".encode())
    head, _, text = answer.partition(b"\r\n\r\n")
    return int(head.split(b" ")[1]), json.loads(text)


@pytest.mark.parametrize(
    ("path", "asked_for", "budget"),
    [
        ("/v1/audio/speech", {"model": VOICE, "input": "x" * 101, "voice": "a"}, "0.001"),
        ("/v1/images/generations", {"model": BRUSH, "prompt": "x", "n": 3}, "0.1"),
        ("/v1/audio/transcriptions", 11.2, "0.001"),
    ],
)
def test_a_budget_is_hard(gateway: Start, path: str, asked_for: Any, budget: str) -> None:
    """One more unit than it covers, and no engine hears of it."""

    async def body() -> None:
        async with Studio() as studio, gateway(before(studio, **with_key(budget_usd=Decimal(budget)))) as g:
            sent, head = asked_for, ""
            if isinstance(asked_for, float):
                sent, head = form(FormPart("model", EAR.encode()), FormPart("file", recording(asked_for), "a.wav"))
            key = f"authorization: Bearer {SECRET}\r\n"
            status, headers, text = await g.post(path, sent, head + key)
            assert (status, json.loads(text)["error"]["code"]) == (429, "insufficient_quota")
            assert headers["x-should-retry"] == "false"
            assert not studio.asked

    asyncio.run(body())


@pytest.mark.parametrize(
    ("data", "billed"),
    [([{"b64_json": PICTURE}] * 5, 2), ([{"b64_json": PICTURE}, {"url": "http://10.0.0.1/a"}, None], 1)],
)
def test_pictures_are_counted_as_they_came_and_never_above_what_was_agreed(
    gateway: Start, data: list[Any], billed: int
) -> None:
    async def body() -> None:
        answer = (200, "application/json", json.dumps({"data": data}).encode())
        async with Studio({"/v1/images/generations": answer}) as studio, gateway(before(studio)) as g:
            status, _, _ = await g.post("/v1/images/generations", {"model": BRUSH, "prompt": "x", "n": 2})
            await g.quiet()
            assert (status, g.usage()[0].units, g.usage()[0].cost_nano_usd) == (200, billed, billed * 40_000_000)

    asyncio.run(body())


NO_ANSWERS: list[tuple[int, str, bytes] | None] = [
    None,
    (200, "audio/mpeg", b""),
    (200, "application/json", b'{"error": "no voice"}'),
    (500, "application/json", b'{"error": {"message": "out of memory"}}'),
    (404, "application/json", b'{"detail": "Not Found"}'),
    (429, "application/json", b"{}"),
]


@pytest.mark.parametrize("first", NO_ANSWERS)
def test_what_one_engine_cannot_another_does_and_it_is_billed_once(
    gateway: Start, first: tuple[int, str, bytes] | None
) -> None:
    async def body() -> None:
        async with (
            Studio({"/v1/audio/speech": first}) as bad,
            Studio() as good,
            gateway(before(bad, good)) as g,
        ):
            said = {"model": VOICE, "input": "One.", "voice": "a"}
            g.prefer(int(good.url.rpartition(":")[2]))
            assert (await g.post("/v1/audio/speech", said))[0] == 200  # its kind is known to be harmless now
            g.prefer(int(bad.url.rpartition(":")[2]))
            status, _, text = await g.post("/v1/audio/speech", said)
            assert (status, text) == (200, b"\xff\xf3 a voice")
            await g.quiet()
            assert len(bad.asked) >= 1
            assert [one.units for one in g.usage()] == [4, 4]

    asyncio.run(body())


def test_a_call_under_a_key_is_made_once_whatever_its_boundary(gateway: Start) -> None:
    async def body() -> None:
        async with Studio() as studio, gateway(before(studio)) as g:
            sent, head = form(IS, WAV)
            boundary = multipart.boundary_of(multipart.CONTENT_TYPE.encode())
            assert boundary is not None
            for name in (boundary, b"another-one"):
                renamed, kind = sent.replace(boundary, name), head.replace(boundary.decode(), name.decode())
                status, headers, text = await g.post(EARS, renamed, f"{kind}idempotency-key: once\r\n")
                assert (status, json.loads(text)["text"]) == (200, "A rig.")
            assert headers["x-tieline-repeated"] == "true"
            other, kind = form(IS, FormPart("file", recording(2.0), "a.wav"))
            assert (await g.post(EARS, other, f"{kind}idempotency-key: once\r\n"))[0] == 409
            for _ in range(2):  # a voice, which is no text
                said = {"model": VOICE, "input": "x", "voice": "a"}
                assert (await g.post(SPEECH, said, "idempotency-key: said\r\n"))[2] == b"\xff\xf3 a voice"
            await g.quiet()
            assert [one.units for one in g.usage()] == [1, 1]

    asyncio.run(body())


def test_nobody_offers_it(gateway: Start) -> None:
    """Told in words, billed nothing."""

    async def body() -> None:
        gone = (404, "application/json", b'{"detail": "Not Found"}')
        async with Studio({"/v1/audio/speech": gone}) as studio, gateway(before(studio)) as g:
            status, _, text = await g.post("/v1/audio/speech", {"model": VOICE, "input": "One.", "voice": "a"})
            assert (status, json.loads(text)["error"]["message"]) == (404, "Not Found")
            await g.quiet()
            assert [(one.status, one.units, one.cost_nano_usd) for one in g.usage()] == [(404, 0, 0)]

    asyncio.run(body())


SPEECH, EARS, PAINT = "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/images/generations"
WAV = FormPart("file", recording(1.0), "a.wav")
REFUSED: list[tuple[str, Any, int, str, str | None]] = [
    (SPEECH, b"nonsense", 400, "invalid_json", None),
    (SPEECH, b"[]", 400, "invalid_value", None),
    (SPEECH, {"input": "x"}, 400, "invalid_value", None),
    (SPEECH, {"model": VOICE}, 400, "invalid_value", None),
    (SPEECH, {"model": VOICE, "input": ""}, 400, "invalid_value", "input"),
    (SPEECH, {"model": VOICE, "input": "x" * 4_097}, 400, "invalid_value", "input"),
    (SPEECH, {"model": VOICE, "input": "x", "speed": 9}, 400, "invalid_value", "speed"),
    (SPEECH, {"model": VOICE, "input": "x", "response_format": "exe"}, 400, "invalid_value", "response_format"),
    (SPEECH, {"model": VOICE, "input": "x", "stream": True}, 400, "unsupported_parameter", "stream"),
    (SPEECH, {"model": VOICE, "input": "x", "ref_audio": "file:///x"}, 400, "unsupported_parameter", "ref_audio"),
    (SPEECH, {"model": "chat", "input": "x"}, 400, "model_not_offered_here", "model"),
    (SPEECH, {"model": EAR, "input": "x"}, 400, "model_not_offered_here", "model"),
    (SPEECH, {"model": "nobody", "input": "x"}, 404, "model_not_found", "model"),
    ("/v1/chat/completions", {"model": VOICE, "messages": [{}]}, 400, "model_not_offered_here", "model"),
    ("/v1/embeddings", {"model": BRUSH, "input": "x"}, 400, "model_not_offered_here", "model"),
    (PAINT, {"model": BRUSH, "prompt": "x", "n": 0}, 400, "invalid_value", "n"),
    (PAINT, {"model": BRUSH, "prompt": "x", "n": 11}, 400, "invalid_value", "n"),
    (PAINT, {"model": BRUSH, "prompt": "x", "size": "99999x1"}, 400, "invalid_value", "size"),
    (PAINT, {"model": BRUSH, "prompt": "x", "response_format": "url"}, 400, "invalid_value", "response_format"),
    (PAINT, {"model": BRUSH, "prompt": "x", "steps": 9}, 400, "unsupported_parameter", "steps"),
    (EARS, {"model": EAR}, 400, "invalid_form", None),
    (EARS, form(IS), 400, "invalid_form", None),
    (EARS, form(WAV), 400, "invalid_value", None),
    (EARS, form(IS, WAV, WAV), 400, "invalid_form", None),
    (EARS, form(IS, IS, WAV), 400, "invalid_form", None),
    (EARS, form(IS, WAV, FormPart("mask", b"x", "m.png")), 400, "invalid_form", None),
    (EARS, form(IS, WAV, FormPart("temperature", b"warm")), 400, "invalid_value", "temperature"),
    (EARS, form(IS, WAV, FormPart("prompt", b"\xff")), 400, "invalid_form", None),
    (EARS, form(IS, WAV, FormPart("vad_model", b"x")), 400, "unsupported_parameter", "vad_model"),
    (EARS, form(IS, FormPart("file", b"MZ no sound", "a.wav")), 400, "invalid_audio", "file"),
    (EARS, form(IS, FormPart("file", recording(1.0)[:20], "a.wav")), 400, "invalid_audio", "file"),
    ("/v1/images/edits", form(FormPart("model", BRUSH.encode()), FormPart("prompt", b"x")), 400, "invalid_form", None),
]  # fmt: skip


def test_each_bad_input_is_told_by_its_field_and_reaches_no_engine(gateway: Start) -> None:
    async def body() -> None:
        async with Studio() as studio, gateway(before(studio)) as g:
            for path, sent, status, code, param in REFUSED:
                text, head = sent if isinstance(sent, tuple) else (sent, "")
                found, _, answer = await g.post(path, text, head)
                error = json.loads(answer)["error"]
                assert (found, error["code"], error["param"]) == (status, code, param), (path, sent, error)
                assert "\n" not in error["message"]
            assert not studio.asked
            assert not g.usage()

    asyncio.run(body())


def test_an_open_gateway_passes_it_on_for_nothing(gateway: Start) -> None:
    """`tieline gateway --upstream`, and no models named: whatever the engine lists, free of charge."""

    async def body() -> None:
        async with Studio() as studio, gateway(rig(studio.url, models=())) as g:
            assert (await g.post(SPEECH, {"model": VOICE, "input": "x", "voice": "a"}))[0] == 200
            await g.quiet()
            assert [(one.unit, one.units, one.cost_nano_usd) for one in g.usage()] == [("character", 1, 0)]

    asyncio.run(body())


# --- how long a sound lasts ---------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(SOUNDS.iterdir()), ids=lambda path: path.name)
def test_a_sound_s_length_is_read_from_its_container(path: Path) -> None:
    """Each was made by ffmpeg and lasts 2.5 s; what its encoder adds at its ends is less than a tenth."""
    raw = path.read_bytes()
    found = seconds_of(raw)
    assert found is not None
    assert 2.49 <= found <= 2.61
    for cut in (8, 40, 100):
        short = seconds_of(raw[:cut])
        assert short is None or 0 < short <= 86_400


def test_a_recording_that_says_less_than_it_holds_is_not_believed() -> None:
    whole = recording(30.0)
    says_one = bytearray(whole)
    says_one[40:44] = (8000).to_bytes(4, "little")
    assert seconds_of(bytes(says_one)) in (1.0, None)  # a reader that stops where it says hears a second
    much = bytes(says_one) + b"\x80" * 2_000_000
    found = seconds_of(much)
    assert found is not None
    assert math.isclose(found, (len(much) - 44) / 8000)
    ogg = (SOUNDS / "tone.opus").read_bytes()
    assert seconds_of(ogg[:-500] + bytes(6_000_000) + ogg[-500:]) is None  # no sound is so dense


@cases(st.binary(max_size=300), st.sampled_from([b"", *(path.read_bytes()[:120] for path in sorted(SOUNDS.iterdir()))]))
def test_no_bytes_break_the_reader(rest: bytes, head: bytes) -> None:
    found = seconds_of(head + rest)
    assert found is None or 0 < found <= 86_400


# --- forms ----------------------------------------------------------------------------------------

PARTS = st.lists(
    st.builds(
        FormPart,
        st.text("abcdefghijklmnopqrstuvwxyz_[]", min_size=1, max_size=20),
        st.binary(max_size=80),
        st.none() | st.text("abc.-_", min_size=1, max_size=20),
    ),
    max_size=5,
)


@cases(PARTS)
def test_a_form_that_is_written_is_read_again(parts: list[FormPart]) -> None:
    boundary = multipart.boundary_of(multipart.CONTENT_TYPE.encode())
    assert boundary is not None
    assert multipart.read(multipart.write(parts), boundary) == parts


@cases(st.binary(max_size=300), st.binary(min_size=1, max_size=20))
def test_what_is_no_form_is_told_so(body: bytes, kind: bytes) -> None:
    told: list[str] = []
    for text in (body, b"--b" + body, b"--b\r\n" + body + b"\r\n--b--\r\n"):
        try:
            multipart.read(text, b"b")
        except multipart.FormError as error:
            told.append(str(error))
    assert all(told)
    found = multipart.boundary_of(b"multipart/form-data; boundary=" + kind)
    assert found is None or found in kind


# --- what an operator may write ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ({"unit": "hour"}, "unit"),
        ({"usd_per_unit": 1}, "say of which unit"),
        ({"unit": "image", "output_usd_per_mtok": 1}, "leave out output_usd_per_mtok"),
        ({"unit": "image", "usd_per_unit": "0.0000000001"}, "whole number of 0.000000001 USD"),
        ({"unit": "image", "tariffs": [{"since": "2026-12-01T00:00:00Z", "input_usd_per_mtok": 1,
          "output_usd_per_mtok": 1}]}, "needs usd_per_unit"),
        ({"tariffs": [{"since": "2026-12-01T00:00:00Z", "usd_per_unit": 1}]}, "needs input_usd_per_mtok"),
        ({"tariffs": [{"since": "2026-12-01T00:00:00Z", "input_usd_per_mtok": 1}]}, "needs input_usd_per_mtok"),
    ],
)  # fmt: skip
def test_a_tariff_of_another_unit_is_refused_in_words(model: dict[str, Any], why: str) -> None:
    with pytest.raises(SettingsError, match=why):
        from_plain({"models": [{"name": "m", **model}]}, "gateway.toml")


def test_every_path_of_a_client_is_there() -> None:
    assert set(asked.PATHS) == {
        "/v1/audio/speech", "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/images/generations",
        "/v1/images/edits", "/v1/images/variations",
    }  # fmt: skip
