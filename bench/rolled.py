"""A year of one site on its page: straight from records, and out of the sums by hour and day.

    python bench/rolled.py [--days 365] [--keep FOLDER]

Writes what a site with two groups leaves in so many days (samples, meter, bills, settled hours, prices, some requests)
into a store of its own, adds it up, and prints how long each way takes to give the page's rows, that both say the same
to the last watt-second, satoshi and nano-dollar, and what the sums take on disk. `--keep`: the folder stays there.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from machine import processor
from tieline import config as configuration
from tieline import records
from tieline.books.reports.sums import site_subject
from tieline.console.rooms.long import long_view
from tieline.fleet import Site
from tieline.records import AnyRecord, Hop, MeterReading, PowerBill, PriceTick, Sample, Shortfall, Usage
from tieline.settlement.rolled import RollUp, parts_between, rolled_between, summed
from tieline.store import Store
from tieline.store.rolled.kept import DAY_S, HOUR_S, ROLLED_FILE, RolledStore

OUT = Path(__file__).parent / "out"
STEP = timedelta(minutes=5)


def hour_of_site(site: Site, at: datetime) -> Iterator[AnyRecord]:
    """What one hour leaves. Nobody is heard for a day each thirty."""
    common = {"source": f"site:{site.id}", "kind": "measured", "site_id": site.id}
    day = (at - datetime(2025, 1, 1, tzinfo=UTC)).days
    price = 40 + 25 * math.sin(at.hour / 24 * 2 * math.pi) + 15 * math.sin(day / 365 * 2 * math.pi)
    load = 0.35 if price > 60 else 0.95
    heard = day % 30 != 29
    market = site.contract.market
    if market is not None:
        yield PriceTick(at=at, known_at=at, source="feed", kind="measured", market=market, price_usd_per_mwh=price)
    for n in range(12):
        start = at + n * STEP
        told = {**common, "at": start, "known_at": start + STEP, "length_s": 300}
        for group in site.units:
            power = group.rated_w * load if heard else None
            hashes = 1e16 * load if heard and group in site.rig_groups else None
            yield Sample(unit_id=group.id, readings=150 if heard else 0, power_w=power, hashrate_hs=hashes, **told)
        power = sum(group.rated_w for group in site.units) * load
        yield MeterReading(readings=150 if heard else 0, power_w=power if heard else None, **told)
        wh = power / 12
        yield PowerBill(mining_wh=wh, inference_wh=0.0, aux_wh=0.0, cost_usd=Decimal(f"{wh * price / 1e6:.6f}"), **told)
        yield Usage(
            at=start, known_at=start, source="gateway:g", kind="measured", request_id=f"{site.id}{start:%Y%j%H%M}",
            tenant="t", project="p", key_id="k", model="m", endpoint="chat", status=200, prompt_tokens=100,
            output_tokens=200, cost_nano_usd=140_003,
            hops=(Hop(replica_id="r", site_id=site.id, output_tokens=200, ended="stop"),),
        )  # fmt: skip
    yield Shortfall(
        at=at, known_at=at, length_s=3600, full_wh=9, drawn_wh=9, short_wh={}, full_sats=50_000,
        made_sats=int(50_000 * load), **common,
    )  # fmt: skip


def fill(store: Store, site: Site, start: datetime, days: int) -> None:
    for day in range(days):
        store.append([one for hour in range(24) for one in hour_of_site(site, start + timedelta(days=day, hours=hour))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    site = next(one for one in configuration.demo().fleet.sites if len(one.units) > 1 and one.contract.market)
    now = datetime(2026, 11, 30, tzinfo=UTC)
    start = now - timedelta(days=options.days)
    with tempfile.TemporaryDirectory(prefix="tieline-rolled-") as place:
        folder = options.keep or Path(place)
        with closing(Store(folder / "store.db", records.encode, records.decode)) as store:
            fill(store, site, start, options.days)
            result = measured(store, folder, site, start, now, options.days)
    result |= {"cores_here": os.cpu_count(), "load": os.getloadavg()[0], "processor": processor()}
    OUT.mkdir(exist_ok=True)
    (OUT / "rolled.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, value in result.items():
        print(f"  {name:22} {f'{value:,.3f}' if isinstance(value, float) else value:>14}")


def measured(
    store: Store, folder: Path, site: Site, start: datetime, now: datetime, days: int
) -> dict[str, float | int | str]:
    kept = RolledStore(folder / ROLLED_FILE)
    roll, began = RollUp(kept), time.perf_counter()
    while roll.step(store):
        pass
    took = time.perf_counter() - began
    began = time.perf_counter()
    hours = summed(parts_between(store, [site.id, site.contract.market or ""], start, now))
    read = time.perf_counter() - began
    subject = site_subject(site.id)
    same = {at: one for (of, at), one in hours.items() if of == subject} == dict(
        rolled_between(kept, subject, HOUR_S, start, now)
    )
    shown = []
    for _ in range(5):
        began = time.perf_counter()
        long_view(kept, site, days, now)
        shown.append(time.perf_counter() - began)
    assert len(list(rolled_between(kept, subject, DAY_S, start, now))) == days
    late = Sample(at=start, known_at=now, source="late", kind="measured", site_id=site.id, unit_id=site.units[0].id,
                  length_s=300, readings=1, power_w=1.0)  # fmt: skip
    store.append([late])
    began = time.perf_counter()
    roll.step(store)
    corrected = time.perf_counter() - began
    kept.close()
    count = store.last_seq()
    return {
        "records": count, "added_up_s": took, "records_a_second": count / took, "from_records_s": read,
        "from_sums_ms": sorted(shown)[2] * 1e3, "same": str(same), "late_record_ms": corrected * 1e3,
        "sums_bytes_a_day": sum(f.stat().st_size for f in folder.glob(f"{ROLLED_FILE}*")) / days,
        "records_bytes_a_day": sum(f.stat().st_size for f in folder.glob("store.db*")) / days,
    }  # fmt: skip


if __name__ == "__main__":
    main()
