"""Offers of reserves as files, the store and people have them.

What an offer says is checked here, field by field; whether it can be kept is `dispatch.appraise`'s to say. Knows no
command: `commit` asks, `commit_act` acts.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from tieline.books.baselines import BASELINES
from tieline.cli.folder import config_and_now, open_store
from tieline.clock import parse_utc
from tieline.dispatch import Outlook
from tieline.dispatch.appraise import Answer, Broken, Deliverable, Offer, appraise
from tieline.dispatch.settings import settings_of
from tieline.intake import IntakeError, read
from tieline.records import Commitment

# A file longer than this is no list of offers.
MAX_OFFERS, MAX_BYTES = 1_000, 1_000_000
DAY = timedelta(days=1)


class OfferText(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An offer as a file has it: `from` and `until` or `hours`; megawatts."""

    site_id: str
    mw: float
    begin: str = msgspec.field(name="from")
    until: str | None = None
    hours: float | None = None
    id: str = ""
    product: str = "reserve"
    response_s: int = 600
    capacity_usd_per_mw_h: float = 0.0
    nonperformance_usd_per_mwh: float = 0.0
    deployed_share_of_hours: float = 0.0
    baseline: str = "meter before/after"


class OfferError(ValueError):
    """An offer that is none: names the field and the fix."""


# --- offers ------------------------------------------------------------------


_plain_json = msgspec.json.Decoder().decode


def _plain_toml(body: bytes | str) -> Any:
    return tomllib.loads(body if isinstance(body, str) else body.decode())


def read_offers(path: Path) -> list[OfferText]:
    """Raises OfferError naming the file, the offer, the field and the fix."""
    if path.stat().st_size > MAX_BYTES:
        raise OfferError(f"{path} has over {MAX_BYTES:,} bytes: no list of offers")
    body = path.read_bytes()
    try:
        plain: Any = read(body, _plain_json if path.suffix == ".json" else _plain_toml, MAX_BYTES)
    except IntakeError as error:
        raise OfferError(f"{path}: {error}") from error
    if isinstance(plain, dict) and "offer" in plain:
        plain = plain["offer"]
    several = plain if isinstance(plain, list) else [plain]
    if not several or len(several) > MAX_OFFERS:
        raise OfferError(f"{path} has {len(several)} offers; give 1 to {MAX_OFFERS}")
    offers = []
    for n, one in enumerate(several, 1):
        if isinstance(one, dict):  # TOML has times of its own
            one = {name: v.isoformat() if isinstance(v, date) else v for name, v in one.items()}
        try:
            offers.append(msgspec.convert(one, OfferText))
        except msgspec.ValidationError as error:
            raise OfferError(f"{path}: offer {n}: {error}") from error
    return offers


def offer_of(text: OfferText, number: int, now: datetime | None) -> Offer:
    """`now` None: as known a day before it begins. Raises OfferError naming the field and the fix."""
    name = text.id or f"offer-{number}"
    if not (math.isfinite(text.mw) and text.mw > 0):
        raise OfferError(f"{name}: mw is {text.mw}; give megawatts above 0")
    if text.response_s < 0:
        raise OfferError(f"{name}: response_s is {text.response_s}; give seconds from 0 up")
    if not 0.0 <= text.deployed_share_of_hours <= 1.0:
        raise OfferError(f"{name}: deployed_share_of_hours is {text.deployed_share_of_hours}; give a share, 0 to 1")
    if text.baseline not in BASELINES:
        raise OfferError(f"{name}: baseline is {text.baseline!r}; write one of: {', '.join(BASELINES)}")
    at = _time(text.begin, name, "from")
    if (text.until is None) == (text.hours is None):
        raise OfferError(f"{name}: give either hours or until")
    if text.hours is not None:
        if not (math.isfinite(text.hours) and 0 < text.hours <= 24 * 366):
            raise OfferError(f"{name}: hours is {text.hours}; give hours above 0")
        until = at + timedelta(hours=text.hours)
    else:
        assert text.until is not None
        until = _time(text.until, name, "until")
        if until <= at:
            raise OfferError(f"{name}: until {until:%Y-%m-%d %H:%M} is not after from {at:%Y-%m-%d %H:%M}")
    promise = Commitment(
        at=at,
        known_at=at - DAY if now is None else now,
        source="command line",
        kind="estimated",
        commitment_id=name,
        site_id=text.site_id,
        product=text.product,
        until=until,
        power_w=text.mw * 1e6,
        response_s=text.response_s,
        capacity_usd_per_mw_h=text.capacity_usd_per_mw_h,
        status="offered",
        nonperformance_usd_per_mwh=text.nonperformance_usd_per_mwh,
        baseline=text.baseline,
    )
    return Offer(promise, text.deployed_share_of_hours)


def _time(given: str, name: str, field: str) -> datetime:
    try:
        return parse_utc(given)
    except ValueError:
        raise OfferError(f"{name}: {field} {given!r} is no time; write 2026-08-20T20:00") from None


def sold_besides(offer: Commitment, megawatts: float, number: int) -> Commitment:
    if not (math.isfinite(megawatts) and megawatts > 0):
        raise OfferError(f"--sold {megawatts}: give megawatts above 0")
    return msgspec.structs.replace(
        offer, commitment_id=f"sold-{number}", power_w=megawatts * 1e6, status="accepted", detail="--sold"
    )


def answers(folder: Path, offers: Sequence[Offer]) -> tuple[list[Answer], bool]:
    """What `check` says of each, and whether one cannot be kept."""
    appraised = from_store(folder, offers, ())
    return appraised, any(isinstance(one, Broken) for one in appraised)


def from_store(folder: Path, offers: Sequence[Offer], sold: Sequence[Commitment]) -> list[Answer]:
    store = open_store(folder)
    try:
        config, now = config_and_now(folder)
        settings = settings_of(config)
        outlook = Outlook(config.fleet, settings)
        outlook.read(store, now)
    finally:
        store.close()
    return appraise(outlook, config.fleet, settings, now, offers, sold)


# --- as a program and as a person reads it -----------------------------------


def as_plain(answer: Answer) -> dict[str, Any]:
    promise = answer.offer.promise
    plain: dict[str, Any] = {
        "offer": promise.commitment_id,
        "site_id": promise.site_id,
        "mw": round(promise.power_w / 1e6, 3),
        "from": promise.at.isoformat(),
        "until": promise.until.isoformat(),
        "response_s": promise.response_s,
        "keepable": isinstance(answer, Deliverable),
    }
    match answer:
        case Deliverable():
            back = answer.rebound
            plain |= {
                "spare_mw": round(answer.spare_w / 1e6, 3),
                "sheddable_mw": round(answer.sheddable_w / 1e6, 3),
                "sold_before_mw": round(answer.sold_w / 1e6, 3),
                "tightest": answer.tightest.isoformat(),
                "rebound_mw_per_5min": None if back.watts_per_5min is None else round(back.watts_per_5min / 1e6, 3),
                "rebound_minutes": round(back.minutes, 1),
                "rebound_limit_mw": round(back.most_w / 1e6, 3),
                "pays_usd": round(answer.pays_usd, 2),
                "costs_usd": None if answer.costs_usd is None else round(answer.costs_usd, 2),
                "worth_it": answer.worth_it,
            }
        case Broken():
            plain |= {
                "breaks": answer.promise,
                "at": answer.at.isoformat(),
                "missing_mw": round(answer.missing_w / 1e6, 3),
                "why": answer.why,
            }
    return plain | {"notes": list(answer.notes)}


def as_lines(answer: Answer) -> list[str]:
    promise = answer.offer.promise
    lines = [
        f"{promise.commitment_id}: {promise.power_w / 1e6:.1f} MW at {promise.site_id} within {promise.response_s} s, "
        f"{promise.at:%Y-%m-%d %H:%M} to {promise.until:%m-%d %H:%M} UTC ({promise.product})"
    ]
    match answer:
        case Deliverable():
            lines += _kept_lines(answer)
        case Broken():
            lines.append(
                f"  CANNOT BE KEPT: {answer.promise} breaks by {answer.missing_w / 1e6:.1f} MW at "
                f"{answer.at:%Y-%m-%d %H:%M} UTC"
            )
            lines.append(f"  {answer.why}")
    return lines + [f"  note: {note}" for note in answer.notes]


def _kept_lines(answer: Deliverable) -> list[str]:
    back = answer.rebound
    speed = "at once" if back.watts_per_5min is None else f"at {back.watts_per_5min / 1e6:.1f} MW per 5 min"
    lines = [
        f"  CAN BE KEPT, with {answer.spare_w / 1e6:.1f} MW to spare in its tightest hour, from "
        f"{answer.tightest:%m-%d %H:%M} UTC",
        f"  then rigs can draw {answer.draw_w / 1e6:.1f} MW, {answer.sheddable_w / 1e6:.1f} MW of it can be shed in "
        f"time, {answer.sold_w / 1e6:.1f} MW is sold before; inference is not counted",
        f"  after a call load comes back {speed}: {back.minutes:.0f} min, never above {back.most_w / 1e6:.1f} MW",
    ]
    if answer.pays_usd == 0 and answer.costs_usd is not None:
        return [*lines, f"  no payment was given; its floor and calls are expected to cost {answer.costs_usd:,.0f} USD"]
    if answer.costs_usd is None:
        return [*lines, f"  pays {answer.pays_usd:,.0f} USD; what it costs is not known"]
    verdict = "worth it" if answer.worth_it else "NOT worth it"
    return [
        *lines,
        f"  pays {answer.pays_usd:,.0f} USD; its floor and calls are expected to cost {answer.costs_usd:,.0f} USD: "
        f"{verdict}",
    ]
