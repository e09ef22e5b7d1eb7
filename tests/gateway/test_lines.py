"""A line written from a form is the record's own encoding, byte for byte."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tieline import records
from tieline.gateway.metering.usage_lines import Bill, Forms, moment
from tieline.gateway.settings import Key
from tieline.records import Hop, Usage

COUNTS = st.integers(0, 10**15)
# Names that would break a form which did not quote them: percent signs, quotes, other alphabets.
NAMES = st.text(st.sampled_from('ab%"\\é東\n{}'), max_size=8)
IDS = st.text(st.sampled_from("aB9-_."), min_size=1, max_size=8)
SECONDS = st.floats(0, 1e5, allow_nan=False)


@given(
    st.tuples(IDS, IDS, IDS, NAMES), st.tuples(COUNTS, COUNTS, COUNTS, COUNTS), st.integers(200, 599),
    st.booleans(), st.booleans(), NAMES, st.none() | SECONDS, SECONDS,
    st.lists(st.tuples(NAMES, NAMES, COUNTS, st.none() | SECONDS), max_size=3),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)),
    st.sampled_from([
        ("chat", "/v1/chat/completions", ""), ("completions", "/v1/completions", ""), ("rerank", "/v1/rerank", ""),
        ("embeddings", "/v1/embeddings", ""), ("responses", "/v1/responses", ""),
        ("speech", "/v1/audio/speech", "character"), ("transcriptions", "/v1/audio/transcriptions", "second"),
        ("images", "/v1/images/generations", "image"),
    ]),
)  # fmt: skip
def test_the_same_bytes(
    names: tuple[str, str, str, str],
    counts: tuple[int, int, int, int],
    status: int,
    estimated: bool,
    streamed: bool,
    finish: str,
    first_s: float | None,
    total_s: float,
    hops: list[tuple[str, str, int, float | None]],
    at: datetime,
    form: tuple[str, str, Any],
) -> None:
    kind, endpoint, unit = form
    tenant, project, key_id, model = names
    prompt, output, cached, cost = counts
    told = at.replace(tzinfo=UTC) + timedelta(microseconds=1)
    made = [Hop(replica_id=a, site_id=b, output_tokens=n, ended="stop", first_token_ms=t) for a, b, n, t in hops]
    ex: Any = SimpleNamespace(
        account=SimpleNamespace(key=Key(id=key_id, sha256="0" * 64, tenant=tenant, project=project)),
        offer=SimpleNamespace(name=model), id="req_1",
        request=SimpleNamespace(
            surface=kind, unit=unit, stream=streamed, user=finish, tags=dict.fromkeys(names, finish)
        ),
        status=status, cached_tokens=cached, hops=made, began=100.0,
        first_token_at=None if first_s is None else 100.0 + first_s,
    )  # fmt: skip
    forms = Forms("gateway")
    bill = Bill(ex, cost, moment(told), round(total_s * 1e3), None)
    for _ in range(2):  # the second time from the form that is kept
        line = forms.line(bill, prompt, output, finish, estimated)
    tokens = 0 if unit else prompt  # units stand where a prompt's tokens do
    usage = Usage(
        at=told, known_at=told, source="gateway", kind="measured", request_id="req_1", tenant=tenant, project=project,
        key_id=key_id, model=model, endpoint=endpoint, status=status, prompt_tokens=tokens, output_tokens=output,
        cached_tokens=min(cached, tokens), unit=unit, units=prompt - tokens,
        cost_nano_usd=cost, estimated=estimated, streamed=streamed, finish=finish, hops=tuple(made),
        first_token_ms=None if first_s is None else round((ex.first_token_at - 100.0) * 1e3),
        total_ms=round(total_s * 1e3), user=finish, tags=dict.fromkeys(names, finish),
    )  # fmt: skip
    assert line == records.encode(usage)
    assert records.decode(line) == usage
