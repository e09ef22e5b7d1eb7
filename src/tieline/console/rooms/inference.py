"""The page of inference: the door now, its replicas, its tenants and what they owe.

Pure: puts together a fold of Usage (`served`), the door's own word (`doorway`), the configured limits and the
books' invoices to date. Costs are what was billed; nothing is estimated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from tieline.config import Tenant
from tieline.console.fold import Fold
from tieline.console.served import served_view
from tieline.console.views import replicas_view

Json = dict[str, Any]


def inference_view(
    fold: Fold, now: datetime, speed: float, door: Json, tenants: Sequence[Tenant], month: Json | None
) -> Json:
    """`month` is `Month.view`; None while the books are still being read."""
    served = served_view(fold.served, now)
    by_replica, by_tenant = served.pop("replicas"), served.pop("tenants")
    return {
        "now": now.timestamp(),
        "speed": speed,
        "door": door,
        "replicas": [_replica(one, by_replica, door) for one in replicas_view(fold, now)],
        "tenants": tenants_view(tenants, by_tenant, month),
        "month": None if month is None else {k: month[k] for k in ("month", "start", "end")},
        **served,
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
    owed = {} if month is None else {one["tenant"]: one for one in month.get("invoices", [])}
    rows = []
    for name in {*known, *by_tenant, *owed}:
        tenant, invoice = known.get(name), owed.get(name)
        lines = [] if invoice is None else invoice["lines"]
        budget = None if tenant is None else tenant.budget_usd_per_month
        rows.append(
            {
                "id": name,
                "name": name if tenant is None else tenant.name,
                "configured": tenant is not None,
                "keys": 0 if tenant is None else len(tenant.keys),
                "budget_usd": None if budget is None else float(budget),
                "requests_per_minute": None if tenant is None else tenant.requests_per_minute,
                "tokens_per_minute": None if tenant is None else tenant.tokens_per_minute,
                "concurrent_requests": None if tenant is None else tenant.concurrent_requests,
                # Exact to the nano-dollar, as the budget counts it; the invoice rounds each line to the cent.
                "spent_usd": None if month is None else sum(line["exact_usd"] for line in lines),
                "invoice_usd": None if month is None else 0.0 if invoice is None else invoice["total_usd"],
                "lines": lines,
                "hour": by_tenant.get(name),
            }
        )
    return sorted(rows, key=lambda row: (-(row["spent_usd"] or 0.0), row["id"]))
