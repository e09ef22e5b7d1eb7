"""Sound and pictures as they are asked for: what may be said, and how much of it there is in the unit that it costs.

How much is counted here, before any engine has it: the characters of a text that is to be spoken, the seconds of a
recording by its own container. Of pictures as many are agreed as are asked for. Pure.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from tieline.gateway.budgets.admit import Ask
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.requests import labels
from tieline.gateway.requests.body import Kind, Request
from tieline.gateway.requests.media import sound
from tieline.gateway.settings import ModelOffer, Unit
from tieline.gateway.wire import multipart
from tieline.gateway.wire.decoding import read_json
from tieline.gateway.wire.multipart import FormError, FormPart

_write = msgspec.json.Encoder().encode

_Text = Annotated[str, Meta(min_length=1, max_length=4_096)]  # OpenAI's own bound on what is spoken
_Prompt = Annotated[str, Meta(min_length=1, max_length=32_000)]
_Word = Annotated[str, Meta(max_length=64)]
_Size = Annotated[str, Meta(pattern=r"^(auto|[1-9][0-9]{1,3}x[1-9][0-9]{1,3})$")]
_Heat = Annotated[float, Meta(ge=0, le=1)]
_Images = Annotated[int, Meta(ge=1, le=10)]  # OpenAI's own bound


class _Media(msgspec.Struct, kw_only=True):
    """What all of them may say."""

    model: str
    user: str | None = None
    metadata: Any = None
    safety_identifier: str | None = None
    stream: bool | None = None
    stream_format: Literal["audio"] | None = None


class Speech(_Media, kw_only=True):
    """A text, to be spoken."""

    input: _Text
    voice: Any = None
    instructions: Annotated[str, Meta(max_length=4_096)] | None = None
    response_format: Literal["mp3", "opus", "aac", "flac", "wav", "pcm"] | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4)] | None = None
    language: _Word | None = None


class Translation(_Media, kw_only=True):
    """A recording, to be written down in English."""

    prompt: Annotated[str, Meta(max_length=32_000)] | None = None
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt"] | None = None
    temperature: _Heat | None = None


class Transcription(Translation, kw_only=True):
    """A recording, to be written down."""

    language: _Word | None = None
    timestamp_granularities: list[Literal["word", "segment"]] | None = None
    include: list[Literal["logprobs"]] | None = None


class ImageVariation(_Media, kw_only=True):
    """Pictures like one."""

    n: _Images | None = None
    size: _Size | None = None
    response_format: Literal["b64_json"] | None = None


class ImageGeneration(ImageVariation, kw_only=True):
    """Pictures of a text."""

    prompt: _Prompt
    negative_prompt: _Prompt | None = None
    quality: _Word | None = None
    style: _Word | None = None
    background: _Word | None = None
    moderation: _Word | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, Meta(ge=0, le=100)] | None = None
    seed: int | None = None


class ImageEdit(ImageGeneration, kw_only=True):
    """A picture, changed as a text says."""

    input_fidelity: _Word | None = None


@dataclass(frozen=True, slots=True)
class MediaForm:
    """One of these paths. `files`: the fields that are files, the first one demanded; none: its body is JSON."""

    path: str
    unit: Unit
    said: type[_Media]
    files: tuple[str, ...] = ()


FORMS: Final[dict[Kind, MediaForm]] = {
    "speech": MediaForm("/v1/audio/speech", "character", Speech),
    "transcriptions": MediaForm("/v1/audio/transcriptions", "second", Transcription, ("file",)),
    "translations": MediaForm("/v1/audio/translations", "second", Translation, ("file",)),
    "images": MediaForm("/v1/images/generations", "image", ImageGeneration),
    "image_edits": MediaForm("/v1/images/edits", "image", ImageEdit, ("image", "mask")),
    "image_variations": MediaForm("/v1/images/variations", "image", ImageVariation, ("image",)),
}
PATHS: Final[dict[str, Kind]] = {form.path: kind for kind, form in FORMS.items()}
# An engine's address of a picture is no address for its client, so pictures come in the answer itself.
_INLINE: Final = "b64_json"
_AT: Final = re.compile(r" - at `\$\.?([a-z_]*)")
MAX_FILES: Final = 16


class MediaRequest(Request, gc=False, kw_only=True):
    """One that is metered in units of its form. `parts`: as a form with files; None: its fields as JSON."""

    parts: tuple[FormPart, ...] | None = None

    @property
    def plain(self) -> bool:
        """Sound and pictures are nobody's usual request."""
        return False

    def ask(self, model: ModelOffer) -> Ask:
        """All of it: a unit stands where a prompt's token does."""
        return Ask(self.units, 0, unit=self.unit)

    def prompt_bound(self, model: ModelOffer) -> int:
        return self.units

    def encode(self, own_name: str, max_output: int) -> bytes:
        """The body as the engine gets it."""
        if self.parts is None:
            return _write(self.fields | {"model": msgspec.Raw(_write(own_name))})
        return multipart.write(
            FormPart("model", own_name.encode()) if one.name == "model" else one for one in self.parts
        )


def read(kind: Kind, body: bytes, content_type: bytes | None) -> MediaRequest | Refusal:
    """The request, or what is wrong with it and where."""
    form = FORMS[kind]
    try:
        parts = _parts(form, body, content_type) if form.files else None
        given = _plain(parts) if parts is not None else read_json(body, dict[str, Any])
        said = msgspec.convert(given, form.said, strict=parts is None)
    except FormError as error:
        return bad_request(str(error), "invalid_form")
    except msgspec.ValidationError as error:
        at = _AT.search(str(error))
        words = str(error).replace(" - at `$`", "").replace("Object missing", "missing").replace("`$.", "`")
        return bad_request(f"the request: {words}", "invalid_value", at[1] or None if at is not None else None)
    except msgspec.DecodeError as error:
        return bad_request(f"the body is not a JSON object: {error}", "invalid_json")
    if said.stream:
        return bad_request("this endpoint does not stream", "unsupported_parameter", "stream")
    units = _units(said, parts or ())
    if isinstance(units, Refusal):
        return units
    fields = {name: msgspec.Raw(_write(value)) for name, value in given.items() if value is not None}
    if form.unit == "image":
        fields["response_format"] = msgspec.Raw(_write(_INLINE))
        if parts is not None:
            parts = [
                *(one for one in parts if one.name != "response_format"),
                FormPart("response_format", _INLINE.encode()),
            ]
    request = MediaRequest(
        kind, said.model, False, fields, 0, 1, False, False, unit=form.unit, units=units,
        parts=None if parts is None else tuple(parts),
    )  # fmt: skip
    request.surface = kind
    if parts is not None:
        request.content_type = multipart.CONTENT_TYPE
    request.strange = tuple(sorted(given.keys() - set(form.said.__struct_fields__)))
    request.user, request.tags = labels.user_of(fields), labels.tags_of(fields)
    request.prompt_bytes = len(body)
    for one in parts or ():  # what was sent, for those who compare requests
        if one.file is not None:
            fields[one.name] = msgspec.Raw(one.data)
    return request


def comparable(body: bytes, content_type: bytes) -> bytes:
    """The same for the same request: a client makes up another boundary each time."""
    boundary = multipart.boundary_of(content_type)
    return body if boundary is None else body.replace(boundary, b"")


def _parts(form: MediaForm, body: bytes, content_type: bytes | None) -> list[FormPart]:
    """The parts of a form, those that are files where files belong. Raises FormError."""
    boundary = multipart.boundary_of(content_type)
    if boundary is None:
        raise FormError(f"send {form.path} a form with a file: 'Content-Type: multipart/form-data; boundary=...'")
    parts = multipart.read(body, boundary)
    files = [one for one in parts if one.file is not None]
    for one in files:
        if one.name.removesuffix("[]") not in form.files:
            raise FormError(f"'{one.name[:64]}' is a file, which does not belong there")
    first = form.files[0]
    held = sum(one.name.removesuffix("[]") == first and bool(one.data) for one in files)
    if not held:
        raise FormError(f"give a file in '{first}'")
    if held > (MAX_FILES if first == "image" else 1) or len(files) - held > 1:
        raise FormError(f"there are too many files; '{first}' takes {MAX_FILES if first == 'image' else 1}")
    return parts


def _plain(parts: list[FormPart]) -> dict[str, Any]:
    """The fields of a form, by their names; one in brackets is a list. Raises FormError."""
    fields: dict[str, Any] = {}
    for part in parts:
        if part.file is not None:
            continue
        try:
            text = part.data.decode()
        except UnicodeDecodeError as error:
            raise FormError(f"'{part.name[:64]}' is not UTF-8") from error
        name = part.name.removesuffix("[]")
        if not re.fullmatch("[A-Za-z0-9_-]{1,64}", name, re.ASCII):
            raise FormError(f"'{name[:64]}' is no name of a field")
        if name != part.name:
            fields.setdefault(name, []).append(text)
        elif name in fields:
            raise FormError(f"'{name}' is given twice")
        else:
            fields[name] = text
    return fields


def _units(said: _Media, parts: list[FormPart] | tuple[()]) -> int | Refusal:
    """How much there is of it."""
    if isinstance(said, Speech):
        return len(said.input)
    if isinstance(said, ImageVariation):
        return said.n or 1
    (recording,) = [one.data for one in parts if one.file is not None]
    seconds = sound.seconds_of(recording)
    if seconds is None:
        return bad_request(
            f"how long the sound in 'file' lasts cannot be read; send {sound.FORMATS}, whole, of at most a day, and"
            " no pictures with it",
            "invalid_audio",
            "file",
        )
    return math.ceil(seconds)
