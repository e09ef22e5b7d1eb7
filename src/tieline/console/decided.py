"""Decisions as a page tells them: a plan that moved a setpoint, an order, a promise, a fault, an operator's word."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tieline.console.figures import mw, seconds
from tieline.console.fold import Fold, SetpointChange, WatchEntry
from tieline.records import Commitment, Fault, Instruction, Override, Plan

Json = dict[str, Any]


def decision_view(fold: Fold, decision: WatchEntry) -> Json:
    record = decision.record
    site = fold.sites.get(decision.site_id)
    view: Json = {
        "seq": decision.seq,
        "at": decision.at.timestamp(),
        "site_id": decision.site_id,
        "site": site.name if site else decision.site_id,
        "region": site.region if site else "",
        "source": record.source,
        "kind": record.kind,
        "type": type(record).__name__,
    }
    match record:
        case Plan():
            view |= {
                "mode": record.mode,
                "price_usd_per_mwh": record.price_usd_per_mwh,
                "hashprice_usd": record.hashprice_usd,
                "limit_mw": mw(record.limit_w),
                "decided_by": record.decided_by,
                "note": record.note,
                "changes": [change_view(fold, c) for c in decision.changes],
            }
        case Instruction():
            view |= {"limit_mw": mw(record.limit_w), "until": record.until.timestamp(), "notice_s": record.notice_s}
        case Commitment():
            view |= {
                "what": record.product,
                "status": record.status,
                "limit_mw": mw(record.power_w),
                "from": record.at.timestamp(),
                "until": record.until.timestamp(),
                "usd_per_mw_h": record.capacity_usd_per_mw_h,
                "detail": record.detail,
            }
        case Fault():
            view |= {"what": record.what, "detail": record.detail, "until": seconds(record.until)}
        case Override():
            view |= {
                "unit_id": record.unit_id,
                "target_mw": mw(record.target_w),
                "until": record.until.timestamp(),
                "by": record.by,
                "why": record.why,
            }
        case _:
            view |= {"by": record.by, "what": record.what, "target": record.target, "detail": record.detail}
    return view


def change_view(fold: Fold, change: SetpointChange) -> Json:
    unit = fold.units.get(change.unit_id)
    return {
        "unit_id": change.unit_id,
        "use": "mining" if unit is None or unit.mining else "inference",
        "before_mw": mw(change.before_w),
        "after_mw": mw(change.after_w),
        "rule": change.reason.rule,
        "text": change.reason.text,
        "bid_usd_per_mwh": change.reason.bid_usd_per_mwh,
        "price_usd_per_mwh": change.reason.price_usd_per_mwh,
    }


def recent(decisions: Iterable[WatchEntry], count: int) -> list[WatchEntry]:
    """Newest first."""
    return sorted(decisions, key=lambda d: (d.at, d.seq), reverse=True)[:count]
