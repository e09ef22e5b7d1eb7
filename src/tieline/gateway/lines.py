"""Usage records as lines of JSON, written from forms.

A record of usage has twenty-odd fields, and most of them are the same for all requests of one key to one model.
A form is the line of such a record with holes for what differs; filling it costs a third of making and encoding a
record, and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import msgspec

from tieline.records import Hop, Usage

_encode = msgspec.json.Encoder().encode
# Forms and words kept. Names come from the configuration; how an answer ended is the engine's word.
MAX_FORMS: Final = 4_096
MAX_WORDS: Final = 1_024

# What differs from one request to the next, in the order in which a form is filled.
_HOLES: Final = {
    "at": b"%b", "known_at": b"%b", "request_id": b'"%b"', "status": b"%d", "prompt_tokens": b"%d",
    "output_tokens": b"%d", "cached_tokens": b"%d", "cost_nano_usd": b"%d", "estimated": b"%b", "finish": b"%b",
    "hops": b"%b", "first_token_ms": b"%b", "total_ms": b"%d",
}  # fmt: skip
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Forms:
    """Forms of the records of one source."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._forms: dict[tuple[str, str, str, str, str, bool], bytes] = {}
        self._words: dict[str, bytes] = {}

    def form(self, tenant: str, project: str, key_id: str, model: str, endpoint: str, streamed: bool) -> bytes:
        """The line of a record with holes where requests differ."""
        given = (tenant, project, key_id, model, endpoint, streamed)
        form = self._forms.get(given)
        if form is None:
            form = _form(self._source, *given)
            if len(self._forms) < MAX_FORMS:
                self._forms[given] = form
        return form

    def word(self, text: str) -> bytes:
        """A string as JSON; few different ones come."""
        raw = self._words.get(text)
        if raw is None:
            raw = _encode(text)
            if len(self._words) < MAX_WORDS:
                self._words[text] = raw
        return raw

    def line(
        self,
        form: bytes,
        told: bytes,
        request_id: str,
        status: int,
        tokens: tuple[int, int, int],
        cost: int,
        estimated: bool,
        finish: str,
        hops: Sequence[Hop],
        first_token_ms: int | None,
        total_ms: int,
    ) -> bytes:
        """One record. `told` as `moment` writes it; `tokens` are prompt, output and cached; `request_id` is one of
        ours, which needs no escaping."""
        return form % (
            told, told, request_id.encode(), status, *tokens, cost, b"true" if estimated else b"false",
            self.word(finish), _encode(hops), b"null" if first_token_ms is None else b"%d" % first_token_ms, total_ms,
        )  # fmt: skip


def moment(at: datetime) -> bytes:
    """A time as it stands in a line."""
    return _encode(at)


def _form(source: str, tenant: str, project: str, key_id: str, model: str, endpoint: str, streamed: bool) -> bytes:
    sample = Usage(
        at=_EPOCH, known_at=_EPOCH, source=source, kind="measured", request_id="", tenant=tenant, project=project,
        key_id=key_id, model=model, endpoint=endpoint, status=0, prompt_tokens=0, output_tokens=0, streamed=streamed,
    )  # fmt: skip
    parts = [b'"type":"Usage"']
    for name in Usage.__struct_fields__:
        hole = _HOLES.get(name) or _encode(getattr(sample, name)).replace(b"%", b"%%")
        parts.append(b'"%b":%b' % (name.encode(), hole))
    return b"{%b}" % b",".join(parts)
