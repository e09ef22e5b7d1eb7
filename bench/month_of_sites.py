"""How long a month of many sites takes to answer, from records and from sums, and how long the first fold of its books
holds the store at once.

    python bench/month_of_sites.py [--sites 1000] [--days 31] [--keep FOLDER]

Records of an hour, two units a site: 3.1 million for 1,000 sites. A platform's are of five minutes, so it reads twelve
times as many and, of the sums, the same. What is read of both is compared, figure by figure.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import Any

from tieline import records
from tieline.books import Bookkeeper
from tieline.fleet import Fleet, Partner
from tieline.records import AnyRecord, MeterReading, Payout, PowerBill, Sample, Shortfall
from tieline.settlement.month import Books, update_of
from tieline.settlement.partners import partner_statement
from tieline.settlement.rolled import RollUp, SumsOfSpans
from tieline.store import Store
from tieline.store.rolled.kept import ROLLED_FILE, RolledStore

T0, HOUR, MONTH = datetime(2026, 10, 1, tzinfo=UTC), timedelta(hours=1), "2026-10"
FLEET = Fleet(name="made", sites=())


def hour(at: datetime, sites: int, drawn: random.Random) -> Iterator[AnyRecord]:
    told: dict[str, Any] = {"at": at, "known_at": at + HOUR, "source": "made", "kind": "measured"}
    for number in range(sites):
        of: dict[str, Any] = {"site_id": f"s{number}", "length_s": 3600, **told}
        for unit in range(2):
            hashrate = 1e17 * drawn.random()
            yield Sample(unit_id=f"s{number}.u{unit}", readings=9, power_w=5e6, hashrate_hs=hashrate, **of)
        cost = Decimal("250.123456")
        yield PowerBill(mining_wh=5e6 + drawn.random(), inference_wh=1.5, aux_wh=0.25, cost_usd=cost, **of)
        short, lost = {"economic": 6}, {"economic": 3}
        yield Shortfall(
            full_wh=10, drawn_wh=4, short_wh=short, full_sats=5, made_sats=2, lost_sats=lost, **of,
        )  # fmt: skip
        if at.hour % 6 == 0:
            yield MeterReading(readings=9, power_w=1e7, **of)
    if at.hour == 1 and at > T0 + 24 * HOUR:
        end = at - HOUR
        yield Payout(
            payout_id=f"{at:%d}", pool="p", sats=10**9 + at.day, span_start=end - 24 * HOUR, span_end=end,
            btc_usd=Decimal(60_000), **told,
        )  # fmt: skip


def timed(name: str, job: Callable[[], Any]) -> Any:
    began = perf_counter()
    made = job()
    print(f"{name:44} {perf_counter() - began:8.2f} s", flush=True)
    return made


def measured(folder: Path, sites: int, days: int) -> None:
    store, drawn = Store(folder / "tieline.db", records.encode, records.decode), random.Random(1)
    if not store.last_seq():
        timed(
            "records are made and stored",
            lambda: [store.append(hour(T0 + n * HOUR, sites, drawn)) for n in range(24 * days)],
        )
    now = T0 + timedelta(days=60)
    partner = Partner(
        id="p",
        name="P",
        sites=tuple(f"s{n}" for n in range(10)),
        mining_share=Decimal("0.5"),
        inference_share=Decimal(0),
    )
    roll = RollUp(RolledStore(folder / ROLLED_FILE))

    def rolled() -> None:
        while roll.step(store):
            pass

    timed(f"sums of {store.last_seq():,} records are made", rolled)
    made = []
    for name, kept in (("sums", roll.kept), ("records", None)):
        made += [
            timed(
                f"a partner's statement from {name}",
                lambda kept=kept: partner_statement(store, FLEET, partner, MONTH, now, sums=SumsOfSpans(store, kept)),
            ),
            timed(
                f"the month's update from {name}, books kept up",
                lambda kept=kept: update_of(store, FLEET, MONTH, now, Bookkeeper(), kept=kept),
            ),
        ]
    print("the same figures" if made[:2] == made[2:] else "DIFFERENT FIGURES")
    books, holds, more = Books(), list[float](), True
    while more:
        began = perf_counter()
        _, more = books.step(store)
        holds.append(perf_counter() - began)
    books.close()
    print(f"books begun: {sum(holds):.0f} s in {len(holds)} steps, the longest {max(holds):.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sites", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=31)
    parser.add_argument("--keep", type=Path, help="A folder whose store is made where there is none, and kept.")
    given = parser.parse_args()
    if given.keep is not None:
        given.keep.mkdir(parents=True, exist_ok=True)
        measured(given.keep, given.sites, given.days)
        return
    with tempfile.TemporaryDirectory() as folder:
        measured(Path(folder), given.sites, given.days)


if __name__ == "__main__":
    main()
