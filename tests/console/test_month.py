"""The month on the page and `tieline update` are the same fold."""

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from tests.dispatch.fleets import fleet, site, store

from tieline.console.month import Month
from tieline.records import Reserved
from tieline.settlement.month import update_of

START = datetime(2026, 11, 20, tzinfo=UTC)
NOW = START + timedelta(days=1)


def test_rented_hours_are_billed_on_the_page_as_in_the_update() -> None:
    rented = Reserved(
        at=START, known_at=START + timedelta(hours=1), source="gateway", kind="measured", tenant="acme", model="m",
        region="eu", rented_since=START, replicas=2, provided_s=7200, usd_per_replica_hour=Decimal("2.5"),
        cost_nano_usd=5 * 10**9,
    )  # fmt: skip
    kept, owned = store(rented), fleet(site())

    async def read(job):
        return job(kept)

    shown = asyncio.run(Month(owned).view(read, NOW))
    (page,) = [one for one in shown["figures"] if one["name"] == "inference_billed"]
    (invoice,) = shown["invoices"]
    told = update_of(kept, owned, "2026-11", NOW).figure("inference_billed")
    assert page["value"] == told.value == "5.00"
    assert invoice["total_usd"] == 5.0
