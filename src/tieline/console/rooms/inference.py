"""The page of inference: the door now, its replicas, its tenants and what they owe.

Pure: puts together a fold of Usage (`traffic`), the door's own word (`doorway`), the configured limits and the
books' invoices to date. Costs are what was billed; nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tieline.config import Tenant
from tieline.console.fold import Fold
from tieline.console.placed import placed_view
from tieline.console.traffic import traffic_view
from tieline.console.views import replicas_view

Json = dict[str, Any]


def inference_view(
    fold: Fold, now: datetime, speed: float, door: Json, tenants: Sequence[Tenant], month: Json | None
) -> Json:
    """`month` is `Month.view`; None while the books are still being read."""
    traffic = traffic_view(fold.traffic, now)
    by_replica, by_tenant = traffic.pop("replicas"), traffic.pop("tenants")
    return {
        "now": now.timestamp(),
        "speed": speed,
        "door": door,
        "replicas": [_replica(one, by_replica, door) for one in replicas_view(fold, now)],
        "placed": placed_view(fold.placed, fold.fleet, (state for _, state in fold.replicas.values())),
        "tenants": tenants_view(tenants, by_tenant, month),
        "refused": fold.refused.view(now),
        "month": None if month is None else {k: month[k] for k in ("month", "start", "end")},
        **traffic,
    }


def _replica(one: Json, by_replica: dict[str, Json], door: Json) -> Json:
    """A replica as its site tells it, as the door sees it, and what it did in the last hour."""
    seen = door.get("replicas", {}).get(one["id"])
    return {
        **one,
        "live": None if seen is None else seen["live"],
        "door_state": None if seen is None else seen["state"],
        "hour": by_replica.get(one["id"]),
    }


def tenants_view(tenants: Sequence[Tenant], by_tenant: dict[str, Json], month: Json | None) -> list[Json]:
    """Every tenant that is configured, was billed this month, or asked in the last hour; dearest first."""
    known = {tenant.id: tenant for tenant in tenants}
    owed = None if month is None else {one["tenant"]: one for one in month.get("invoices", [])}
    rows = [
        {
            "id": name,
            **_configured(name, known.get(name)),
            **_owed(name, owed),
            "hour": by_tenant.get(name),
        }
        for name in {*known, *by_tenant, *(owed or ())}
    ]
    return sorted(rows, key=lambda row: (-(row["spent_usd"] or 0.0), row["id"]))


def _configured(name: str, tenant: Tenant | None) -> Json:
    """Its limits by the file; one that the file does not have has none."""
    limits = ("requests_per_minute", "tokens_per_minute", "concurrent_requests")
    if tenant is None:
        return {"name": name, "configured": False, "keys": 0, "budget_usd": None, **dict.fromkeys(limits)}
    budget = tenant.budget_usd_per_month
    return {
        "name": tenant.name,
        "configured": True,
        "keys": len(tenant.keys),
        "budget_usd": None if budget is None else float(budget),
        **{limit: getattr(tenant, limit) for limit in limits},
    }


def _owed(name: str, owed: dict[str, Json] | None) -> Json:
    """Of the month; None while the books are still being read. `spent_usd` is exact to the nano-dollar, as the budget
    counts it; the invoice rounds each line to the cent."""
    if owed is None:
        return {"spent_usd": None, "invoice_usd": None, "lines": []}
    invoice = owed.get(name, {"lines": [], "total_usd": 0.0})
    lines = invoice["lines"]
    return {
        "spent_usd": sum(line["exact_usd"] for line in lines),
        "invoice_usd": invoice["total_usd"],
        "lines": lines,
    }
