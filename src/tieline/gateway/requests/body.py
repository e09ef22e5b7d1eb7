"""A request body: read once, at its top level, and written anew for the engine.

Values the gateway does not judge stay the bytes they came in. Writing the object anew means that an engine
sees each field once, whatever a client repeated, and that fields which would undo what was admitted (a second
name for the output limit, more candidates than are billed) do not travel.
"""

from __future__ import annotations

from typing import Any, Final, Literal, get_args

import msgspec

from tieline.gateway.budgets.admit import Ask
from tieline.gateway.errors import Refusal, bad_request
from tieline.gateway.requests import allowed, labels
from tieline.gateway.requests.images import Image, images_in
from tieline.gateway.requests.images import bound as image_bound
from tieline.gateway.settings import ModelOffer, Unit
from tieline.gateway.wire.decoding import UNREADABLE, as_decode_error, read_json

Kind = Literal[
    "chat", "completions", "embeddings", "rerank",
    "speech", "transcriptions", "translations", "images", "image_edits", "image_variations",
]  # fmt: skip
Continuity = Literal["token", "text", "regenerate", "none"]
CONTINUITIES: Final[dict[bytes, Continuity]] = {word.encode(): word for word in get_args(Continuity)}

# OpenAI's own bound on `n`, and a bound on numbers that only overflow something.
MAX_CHOICES: Final = 128
MAX_OUTPUT: Final = 10_000_000
# What a shared prefix is recognised by: system prompts differ well within it.
PREFIX_BYTES: Final = 512
# Looked at one by one before a body is searched for names of images: those of its own fields, and some more.
QUOTES: Final = 128
SHORT: Final = 16_384
# A tool's schema is printed into the prompt by the template, often indented.
TOOLS_FACTOR: Final = 3

_read = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_write = msgspec.json.Encoder().encode
_string = msgspec.json.Decoder(str).decode
_bool = msgspec.json.Decoder(bool | None).decode
_count = msgspec.json.Decoder(int | None).decode

_USAGE: Final = msgspec.Raw(b'{"include_usage":true}')
_LIMIT_NAMES: Final = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "embeddings": (),
    "rerank": (),
}


_PROMPT_NAMES: Final = {
    "chat": "messages",
    "completions": "prompt",
    "embeddings": "input",
    "rerank": "query",
}
_NO_OUTPUT: Final = ("embeddings", "rerank")
# What a JSON value begins with.
_LIST: Final = ord("[")
_TEXT: Final = ord('"')
_SAID: Final = frozenset({*labels.USERS, labels.TAGS})
_SHAPING: Final = allowed.GRAMMARS | {"tools", "functions", "response_format", "chat_template_kwargs", "text"}


# What most requests have, and how long their prompts are: nothing to be wary of.
PLAIN: Final = frozenset(
    {
        "model", "messages", "prompt", "input", "stream", "stream_options", "max_tokens", "max_completion_tokens", "n",
        "temperature", "top_p", "stop", "seed", "user", "metadata", "store", "presence_penalty", "frequency_penalty",
        "safety_identifier", "return_token_ids", "query", "documents", "encoding_format",
    }
)  # fmt: skip
PLAIN_BYTES: Final = 32_768


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


_stream_options = msgspec.json.Decoder(_StreamOptions | None).decode  # of a body that was read before


class Request(msgspec.Struct, gc=False):
    """What the gateway knows of a request."""

    kind: Kind
    model: str
    stream: bool
    fields: dict[str, msgspec.Raw]
    max_output: int | None
    choices: int
    wants_usage: bool
    tools: bool
    structured: bool = False
    continuity: Continuity = "text"
    prompts: int = 1
    images: tuple[Image, ...] = ()
    prompt_bytes: int = 0
    prefix: int = 0  # what the beginnings of prompts are compared by
    limit: int = 0
    answers: int = 1  # how many texts come back
    strange: tuple[str, ...] = ()  # fields that only some models take
    surface: str = ""  # the form that it came in, and its answer goes out in
    client: Any = None  # who says the answer in that form
    media: bool = False  # it may name addresses that an engine would fetch
    user: str = ""  # whom it says that it is for, and what else it says of itself
    tags: dict[str, str] | None = None
    unit: Unit = ""  # what it is metered in, and how much of it there is; else by tokens
    units: int = 0
    content_type: str = "application/json"  # of the body that an engine gets

    @property
    def plain(self) -> bool:
        """Has it nothing to be wary of?"""
        return self.fields.keys() <= PLAIN and self.prompt_bytes <= PLAIN_BYTES and not self.images

    def ask(self, model: ModelOffer) -> Ask:
        """The most it may cost: each token of a byte-level vocabulary stands for at least one byte."""
        bound = self.prompt_bound(model) if self.images else self.prompt_bytes + model.template_tokens * self.prompts
        return Ask(bound, 0 if self.kind in _NO_OUTPUT else self.max_output, self.answers)

    def prompt_bound(self, model: ModelOffer) -> int:
        bound = self.prompt_bytes + model.template_tokens * self.prompts
        if self.images:
            bound += sum(image_bound(one, model.image, model.image_tokens) - one.inline for one in self.images)
        return bound

    def beyond(self, model: ModelOffer) -> Refusal | None:
        """What of it must not reach an engine of this model."""
        for name in self.strange:
            if name not in model.fields:
                return allowed.refuse_field(name)
        if self.media:
            name = _PROMPT_NAMES[self.kind]
            return allowed.media(read_json(self.fields[name]), name, model.media)
        return None

    def asks(self, name: str) -> bool:
        """Is this switch on?"""
        return name in self.fields and bytes(self.fields[name]) == b"true"

    def encode(self, own_name: str, max_output: int) -> bytes:
        """The body as the engine gets it."""
        self.limit = max_output
        fields = self.fields
        if own_name != self.model:
            fields["model"] = msgspec.Raw(_write(own_name))
        if self.stream and self.kind in ("chat", "completions") and not self.wants_usage:
            fields["stream_options"] = _USAGE
        names = _LIMIT_NAMES[self.kind]
        if self.max_output is None and names:
            fields[names[-1]] = msgspec.Raw(b"%d" % max_output)
        return _write(fields)


def read(kind: Kind, body: bytes, continuity: bytes | None = None) -> Request | Refusal:
    """The request, or what is wrong with it and where."""
    try:
        fields = _read(body)
        if not body.isascii():
            body.decode()
    except UNREADABLE as error:
        return bad_request(f"the body is not a JSON object: {as_decode_error(error)}", "invalid_json")
    try:
        model = _string(fields["model"])
    except KeyError:
        return bad_request("give the model's name in 'model'", "missing_required_parameter", "model")
    except msgspec.DecodeError:
        return bad_request("'model' must be a string", "invalid_type", "model")
    switches = _switches(kind, fields)
    if isinstance(switches, Refusal):
        return switches
    stream, max_output, choices, wants_usage = switches
    tools = "tools" in fields or "functions" in fields
    request = Request(kind, model, stream, fields, max_output, choices, wants_usage, tools)
    request.surface = kind
    request.strange = allowed.strange(kind, fields) if not fields.keys() <= allowed.FIELDS[kind] else ()
    refusal = _contents(request, body)
    if refusal is not None:
        return refusal
    request.media = kind == "chat" and names_addresses(body)
    if not fields.keys().isdisjoint(_SAID):
        request.user, request.tags = labels.user_of(fields), labels.tags_of(fields)
    if continuity is not None:
        asked = CONTINUITIES.get(continuity)
        if asked is None:
            return bad_request("x-tieline-continuity is one of token, text, regenerate, none", "invalid_value")
        request.continuity = asked
    return request


def _contents(request: Request, body: bytes) -> Refusal | None:
    """Bounds of what shapes the answer, the prompt and its images."""
    fields = request.fields
    if not fields.keys().isdisjoint(_SHAPING) and (refusal := allowed.shapes(fields)) is not None:
        return refusal
    try:
        return _prompt(request) or _pictures(request, body)
    except msgspec.DecodeError as error:  # JSON, but a number that nothing can hold
        return bad_request(f"the body cannot be read: {error}", "invalid_value", _PROMPT_NAMES[request.kind])


def _switches(kind: Kind, fields: dict[str, msgspec.Raw]) -> tuple[bool, int | None, int, bool] | Refusal:
    """Whether it streams, its output limit, how many choices, and whether it wants usage in the stream; `fields` is
    left as the engine is to see it."""
    max_output = _limit(kind, fields)
    if isinstance(max_output, Refusal):
        return max_output
    name = "stream"
    try:
        stream = (raw := fields.get(name)) is not None and bool(_bool(raw))
        name = "n"
        choices = None if (raw := fields.get(name)) is None else _count(raw)
        name = "stream_options"
        wants_usage = (raw := fields.get(name)) is not None and _wants_usage(fields, raw, stream)
    except msgspec.DecodeError as error:
        return bad_request(f"'{name}': {error}", "invalid_type", name)
    if choices is not None and not 1 <= choices <= MAX_CHOICES:
        return bad_request(f"'n' must be between 1 and {MAX_CHOICES}", "invalid_value", "n")
    if stream and kind in _NO_OUTPUT:
        return bad_request("this endpoint does not stream", "unsupported_parameter", "stream")
    return stream, max_output, 1 if choices is None else choices, wants_usage


def _limit(kind: Kind, fields: dict[str, msgspec.Raw]) -> int | Refusal | None:
    """The output limit. Two names for one limit both get the smaller."""
    max_output: int | None = None
    limits = 0
    for name in _LIMIT_NAMES[kind]:
        if (raw := fields.get(name)) is None:
            continue
        try:
            limit = _count(raw)
        except msgspec.DecodeError as error:
            return bad_request(f"'{name}': {error}", "invalid_type", name)
        if limit is None:
            del fields[name]
            continue
        if not 1 <= limit <= MAX_OUTPUT:
            return bad_request(f"'{name}' must be between 1 and {MAX_OUTPUT}", "invalid_value", name)
        limits += 1
        if max_output is None or limit < max_output:
            max_output = limit
    if limits == 2 and max_output is not None:
        for name in _LIMIT_NAMES[kind]:
            fields[name] = msgspec.Raw(b"%d" % max_output)
    return max_output


def _wants_usage(fields: dict[str, msgspec.Raw], raw: msgspec.Raw, stream: bool) -> bool:
    """Raises msgspec.DecodeError."""
    options = _stream_options(raw)
    wanted = stream and options is not None and options.include_usage is True
    if wanted:
        fields["stream_options"] = _USAGE
    else:
        del fields["stream_options"]
    return wanted


def names_pictures(body: bytes) -> bool:
    """Whether an image's name stands anywhere in a body."""
    if len(body) < SHORT:
        return b'image_url"' in body or b'"input_image"' in body
    return _ends_a_word(body, b"image_url", b'"input_image')


def names_addresses(body: bytes) -> bool:
    """The same for a field of an address: `url`, `image_url`, `video_url`."""
    return b'url"' in body if len(body) < SHORT else _ends_a_word(body, b"url")


def _ends_a_word(body: bytes, *words: bytes) -> bool:
    """Does a quote stand behind one of these anywhere? A long text has few quotes, and one byte is found a hundred
    times as fast as a word."""
    at = -1
    for _ in range(QUOTES):
        at = body.find(b'"', at + 1)
        if at < 0:
            return False
        if body.endswith(words, 0, at):
            return True
    return any(body.find(b'%b"' % word, max(0, at - 16)) >= 0 for word in words)


def _prompt(request: Request) -> Refusal | None:
    """Where the prompt is, how long it may be in tokens, and how many prompts there are."""
    fields, kind = request.fields, request.kind
    name = _PROMPT_NAMES[kind]
    prompt = fields.get(name)
    if prompt is None:
        return bad_request(f"give '{name}'", "missing_required_parameter", name)
    view = memoryview(prompt)
    size, first = len(view), view[0]
    request.prefix = hash(view[:PREFIX_BYTES].tobytes())
    if kind == "chat":
        if first != _LIST or size == 2:
            return bad_request("'messages' must be a list of at least one message", "invalid_type", "messages")
        if not fields.keys().isdisjoint(_SHAPING):
            if "tools" in fields:
                size += TOOLS_FACTOR * len(memoryview(fields["tools"]))
            form = fields.get("response_format")
            request.structured = (form is not None and b'"json' in bytes(form)) or not fields.keys().isdisjoint(
                allowed.GRAMMARS
            )
    elif kind in ("completions", "embeddings"):
        refusal = _texts_or_tokens(request, name, prompt, first)
        if refusal is not None:
            return refusal
    elif kind == "rerank":
        refusal = _documents(fields, first)
        if refusal is not None:
            return refusal
        size += len(memoryview(fields["documents"]))
    elif "instructions" in fields:
        size += len(memoryview(fields["instructions"]))
    request.prompt_bytes = size
    request.answers = request.choices * request.prompts
    return None


def _texts_or_tokens(request: Request, name: str, prompt: msgspec.Raw, first: int) -> Refusal | None:
    """A text, a list of texts, a list of token ids, or a list of such lists; says how many prompts that is."""
    if first not in (_TEXT, _LIST):
        return bad_request(f"'{name}' must be a string or a list", "invalid_type", name)
    if first == _LIST:
        items = read_json(prompt)
        if not items:
            return bad_request(f"'{name}' is empty", "invalid_value", name)
        kinds = {type(item) for item in items}
        if kinds not in ({str}, {int}, {list}):
            return bad_request(f"'{name}' must hold strings or token ids", "invalid_type", name)
        if kinds == {list} and not all(type(token) is int for item in items for token in item):
            return bad_request(f"'{name}' must hold lists of token ids", "invalid_type", name)
        request.prompts = 1 if kinds == {int} else len(items)
        empty = any(item in ("", []) for item in items)
    else:
        empty = len(memoryview(prompt)) == 2
    if empty and request.kind == "completions" and request.choices > 1:
        # llama.cpp never ends a request for several answers to an empty prompt.
        return bad_request("an empty prompt can have one answer only: set 'n' to 1", "invalid_value", "n")
    return None


def _documents(fields: dict[str, msgspec.Raw], first: int) -> Refusal | None:
    """What is wrong with a query or with what it is compared to."""
    documents = memoryview(fields.get("documents", b""))
    if not documents:
        return bad_request("give 'documents'", "missing_required_parameter", "documents")
    if documents[0] != _LIST:
        return bad_request("'documents' must be a list", "invalid_type", "documents")
    if first != _TEXT:
        return bad_request("'query' must be a string", "invalid_type", "query")
    return None


def _pictures(request: Request, body: bytes) -> Refusal | None:
    if request.kind != "chat" or not names_pictures(body):
        return None
    name = _PROMPT_NAMES[request.kind]
    images = images_in(read_json(request.fields.get(name, b"null")), name)
    if isinstance(images, Refusal):
        return images
    request.images = tuple(images)
    return None


def complaint(request: Request) -> Refusal | None:
    """Why an engine may have choked on this: looked for only after it did, so that the usual request pays
    nothing for it."""
    if request.kind != "chat":
        return None
    messages = read_json(request.fields["messages"])
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            return bad_request(f"{where} must be an object", "invalid_type", where)
        role, content = message.get("role"), message.get("content")
        if role not in ("system", "developer", "user", "assistant", "tool", "function"):
            return bad_request(f"{where}.role {role!r} is not a role", "invalid_value", f"{where}.role")
        if content is None and role != "assistant":
            return bad_request(f"{where}.content is missing", "missing_required_parameter", f"{where}.content")
        if not isinstance(content, str | list | None):
            return bad_request(f"{where}.content must be text or a list of parts", "invalid_type", f"{where}.content")
    return None
