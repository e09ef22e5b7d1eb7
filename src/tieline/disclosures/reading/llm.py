"""An optional second reader: an OpenAI-compatible model proposes figures, the same checks decide.

Knows nothing of rules or layouts. The model may only point: it names a field, a period and a quote, and prints the
number as it stands there. The quote must be in the text, the number in the quote, and the value is computed here
from the printed number, never taken from the model. What fails is dropped and counted. Facts are marked
`method="model"` and only fill fields that the rules left empty without a conflict.
"""

from __future__ import annotations

import re
from typing import Any

import httpx
import msgspec

from tieline.disclosures.fact import Fact, Reading
from tieline.disclosures.fields import FIELDS, unit_of
from tieline.disclosures.reading.claims import convert
from tieline.disclosures.reading.evidence import supports
from tieline.disclosures.reading.numbers import quantities, style_of

MAX_PROMPT_CHARS = 16_000
"""About 5,000 tokens: a whole monthly update, and what small models still read attentively."""
MAX_ANSWER_BYTES = 200_000
MAX_PROPOSALS = 200
"""Twice the figures of the longest table seen."""
MAX_QUOTE_CHARS = 600
TIMEOUT_S = 120.0
"""A small model on a CPU writes some tens of tokens a second; an answer has up to two thousand."""

_PERIOD = re.compile(r"20\d\d(?:-(?:0[1-9]|1[0-2])(?:-(?:0[1-9]|[12]\d|3[01]))?|Q[1-4])?")


class Proposal(msgspec.Struct, frozen=True):
    """What the model may say about one figure."""

    field: str
    period: str
    quote: str
    printed: str
    scope: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    facts: list[Proposal] = []


def fill(
    reading: Reading,
    *,
    base_url: str,
    model: str,
    api_key: str | None = None,
    client: httpx.Client | None = None,
) -> Reading:
    """The reading with whatever the model found and the checks let pass. A failing endpoint adds a note only."""
    if reading.refused is not None and not reading.text:
        return reading
    try:
        answer = _ask(reading.text[:MAX_PROMPT_CHARS], base_url, model, api_key, client)
    except (httpx.HTTPError, msgspec.MsgspecError, ValueError) as error:
        return msgspec.structs.replace(
            reading, notes=(*reading.notes, f"model not used: {type(error).__name__}: {error}")
        )
    kept, dropped = accept(reading, answer)
    notes = list(reading.notes)
    if dropped:
        notes.append(f"{dropped} of the model's {len(answer)} figures failed the checks and were dropped")
    refused = reading.refused if not kept else None
    return msgspec.structs.replace(reading, facts=(*reading.facts, *kept), notes=tuple(notes), refused=refused)


def accept(reading: Reading, proposals: list[Proposal]) -> tuple[list[Fact], int]:
    """The proposals that stand in the text, as facts, and the number of those that do not."""
    taken = {(f.period, f.field, f.scope) for f in reading.facts}
    contested = {tuple(n.split(":")[0].split(" ")) for n in reading.notes if "left empty" in n}
    found: dict[tuple[str, str, str | None], Fact] = {}
    clashing: set[tuple[str, str, str | None]] = set()
    dropped = 0
    for proposal in proposals[:MAX_PROPOSALS]:
        fact = _fact(reading, proposal)
        if fact is None or (fact.period, fact.field) in contested:
            dropped += 1
            continue
        key = (fact.period, fact.field, fact.scope)
        if key in taken:
            continue
        if key in found and found[key].value != fact.value:
            clashing.add(key)
        found.setdefault(key, fact)
    return [f for k, f in found.items() if k not in clashing], dropped + len(clashing)


def _fact(reading: Reading, p: Proposal) -> Fact | None:
    if p.field not in FIELDS or not _PERIOD.fullmatch(p.period) or not 0 < len(p.quote) <= MAX_QUOTE_CHARS:
        return None
    start = reading.text.find(p.quote)
    at = p.quote.find(p.printed) if p.printed.strip() else -1
    if start < 0 or at < 0:
        return None
    style = style_of(reading.text, "en")
    inside = [
        q
        for q in quantities(p.quote, 0, len(p.quote), style)
        if q.printed in p.printed or p.printed in p.quote[q.start : q.end]
    ]
    inside = [q for q in inside if at <= q.start + len(p.quote[q.start : q.end]) and q.start < at + len(p.printed)]
    if len(inside) != 1:
        return None
    value = convert(p.field, inside[0], None)
    if isinstance(value, str):
        return None
    fact = Fact(
        issuer=reading.issuer, period=p.period, field=p.field, value=value, unit=unit_of(p.field), scope=p.scope,
        span=(start, start + len(p.quote)), quote=p.quote, printed=inside[0].printed, method="model", rule="model",
    )  # fmt: skip
    return fact if supports(fact) else None


def _ask(text: str, base_url: str, model: str, api_key: str | None, client: httpx.Client | None) -> list[Proposal]:
    names = "\n".join(f"{name}: {meaning} ({unit})" for name, (unit, meaning) in FIELDS.items())
    body: dict[str, Any] = {
        "model": model,
        "temperature": 0,
        "response_format": {"type": "json_object"},
        "messages": [
            {"role": "system", "content": _INSTRUCTIONS + names},
            {"role": "user", "content": text},
        ],
    }
    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    own = client is None
    http = client or httpx.Client(timeout=TIMEOUT_S)
    try:
        response = http.post(base_url.rstrip("/") + "/chat/completions", json=body, headers=headers)
        response.raise_for_status()
        if len(response.content) > MAX_ANSWER_BYTES:
            raise ValueError(f"an answer of {len(response.content):,} bytes")
        content = response.json()["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError) as error:
        raise ValueError(f"no chat completion in the answer ({type(error).__name__})") from error
    finally:
        if own:
            http.close()
    if not isinstance(content, str):
        raise ValueError("the answer holds no text")
    begin, end = content.find("{"), content.rfind("}")
    return list(msgspec.json.decode(content[begin : end + 1].encode(), type=_Answer).facts) if begin >= 0 else []


_INSTRUCTIONS = """You copy figures out of a bitcoin miner's release. Answer with one JSON object:
{"facts": [{"field": ..., "period": "YYYY-MM", "quote": ..., "printed": ..., "scope": null}]}
quote: copied from the text character by character, containing the figure. printed: the figure inside the quote.
period: the month the figure is about (YYYY-MM), a quarter (YYYYQn) or a date. scope: a site's name, else null.
Leave out whatever the text does not print. Targets and plans are no figures. Fields:
"""
