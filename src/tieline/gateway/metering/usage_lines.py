"""Usage records as lines of JSON, written from forms.

A record of usage has twenty-odd fields, and most of them are the same for all requests of one key to one model.
A form is the line of such a record with holes for what differs; filling it costs a third of making and encoding a
record, and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import msgspec

from tieline.gateway.budgets.admit import KeyAccount, Ticket
from tieline.gateway.settings import Key, ModelOffer, Unit
from tieline.records import Hop, Usage

_encode = msgspec.json.Encoder().encode
moment: Callable[[datetime], bytes] = _encode  # a time as it stands in a line
# Forms and words kept. Names come from the configuration; how an answer ended is the engine's word.
MAX_FORMS: Final = 4_096
MAX_WORDS: Final = 1_024

# What differs from one request to the next, in the order in which a form is filled.
_HOLES: Final = {
    "at": b"%b", "known_at": b"%b", "request_id": b'"%b"', "status": b"%d", "prompt_tokens": b"%d",
    "output_tokens": b"%d", "cached_tokens": b"%d", "cost_nano_usd": b"%d", "estimated": b"%b", "finish": b"%b",
    "hops": b"%b", "first_token_ms": b"%b", "total_ms": b"%d",
    "user": b"%b", "tags": b"%b", "units": b"%d",
}  # fmt: skip
ENDPOINTS: Final = {
    "chat": "/v1/chat/completions",
    "completions": "/v1/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "rerank": "/v1/rerank",
    "messages": "/v1/messages",
    "speech": "/v1/audio/speech",
    "transcriptions": "/v1/audio/transcriptions",
    "translations": "/v1/audio/translations",
    "images": "/v1/images/generations",
    "image_edits": "/v1/images/edits",
    "image_variations": "/v1/images/variations",
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class RequestOrigin(Protocol):
    """How a request was made."""

    @property
    def surface(self) -> str: ...

    @property
    def stream(self) -> bool: ...

    @property
    def limit(self) -> int: ...

    @property
    def answers(self) -> int: ...

    @property
    def unit(self) -> Unit: ...

    @property
    def user(self) -> str: ...

    @property
    def tags(self) -> dict[str, str] | None: ...


class Metered(Protocol):
    """A request, as its bill is made of it."""

    cost_nano: int  # what it was billed

    @property
    def id(self) -> str: ...

    @property
    def account(self) -> KeyAccount: ...

    @property
    def ticket(self) -> Ticket: ...

    @property
    def offer(self) -> ModelOffer: ...

    @property
    def request(self) -> RequestOrigin: ...

    @property
    def began(self) -> float: ...

    @property
    def first_token_at(self) -> float | None: ...

    @property
    def status(self) -> int: ...

    @property
    def finish(self) -> str | None: ...

    @property
    def tokens(self) -> int: ...

    @property
    def prompt_tokens(self) -> int | None: ...

    @property
    def cached_tokens(self) -> int: ...

    @property
    def output_tokens(self) -> int | None: ...

    @property
    def reasoning_tokens(self) -> int | None: ...

    @property
    def estimated(self) -> bool: ...

    @property
    def hops(self) -> Sequence[Hop]: ...


def tokens_of(request: Metered) -> tuple[int, int]:
    """(prompt, output) tokens that it used; of what is metered in another unit none."""
    if request.request.unit:
        return 0, 0
    return request.prompt_tokens or 0, request.output_tokens or 0


class Bill(msgspec.Struct, gc=False):
    """What an ended request owes, before it is a record."""

    request: Metered
    cost: int
    at: bytes  # as `moment` writes it
    total_ms: int
    on_disk: Callable[[], None] | None  # who waits for the record


class Forms:
    """Forms of the records of one source, which stands in one region."""

    def __init__(self, source: str, region: str = "") -> None:
        self._source, self._region = source, region
        self._forms: dict[tuple[str, str, str, bool], bytes] = {}
        self._words: dict[str, bytes] = {}
        # The form used last and what it was for: a group of lines is mostly of one kind.
        self._usual: tuple[object, object, str, bool, bytes] = (None, None, "", False, b"")

    def line(self, bill: Bill, prompt: int, output: int, finish: str, estimated: bool) -> bytes:
        """One record."""
        ended = bill.request
        account, offer, request = ended.account, ended.offer, ended.request
        usual = self._usual
        if account is usual[0] and offer is usual[1] and request.surface is usual[2] and request.stream is usual[3]:
            form = usual[4]
        else:
            given = (account.key.id, offer.name, request.surface, request.stream)
            form = self._forms.get(given) or self._form(account.key, request.unit, *given)
            self._usual = (account, offer, request.surface, request.stream, form)
        first, cached = ended.first_token_at, ended.cached_tokens
        units = 0
        if request.unit:  # they stand where a prompt's tokens do
            units, prompt = prompt, 0
        return form % (
            bill.at,
            bill.at,
            ended.id.encode(),  # one of ours, which needs no escaping
            ended.status,
            prompt,
            output,
            cached if cached < prompt else prompt,
            bill.cost,
            b"true" if estimated else b"false",
            self._words.get(finish) or self._word(finish),
            _encode(ended.hops),
            b"null" if first is None else b"%d" % round((first - ended.began) * 1e3),
            bill.total_ms,
            self._words.get(request.user) or self._word(request.user),
            _encode(request.tags) if request.tags else b"{}",
            units,
        )

    def _form(self, key: Key, unit: Unit, key_id: str, model: str, kind: str, streamed: bool) -> bytes:
        """The line of a record with holes where requests differ."""
        sample = Usage(
            at=_EPOCH, known_at=_EPOCH, source=self._source, kind="measured", request_id="", tenant=key.tenant,
            project=key.project, key_id=key_id, model=model, endpoint=ENDPOINTS[kind], status=0, prompt_tokens=0,
            output_tokens=0, streamed=streamed, unit=unit, region=self._region,
        )  # fmt: skip
        parts = [b'"type":"Usage"']
        for name in Usage.__struct_fields__:
            hole = _HOLES.get(name) or _encode(getattr(sample, name)).replace(b"%", b"%%")
            parts.append(b'"%b":%b' % (name.encode(), hole))
        form = b"{%b}" % b",".join(parts)
        if len(self._forms) < MAX_FORMS:
            self._forms[key_id, model, kind, streamed] = form
        return form

    def _word(self, text: str) -> bytes:
        """A string as JSON; few different ones come."""
        raw = _encode(text)
        if len(self._words) < MAX_WORDS:
            self._words[text] = raw
        return raw
