"""A console with people, a tenant with keys and spend, a proposal and an incident: every page has something to show."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import msgspec
from tests.console.test_accounts import WORDS, join
from tests.console.test_portal import ROOT, Admin
from tests.serving import running

from console import world
from tieline import config, records
from tieline.alerts.incidents import Incident
from tieline.books import invoices
from tieline.clock import SimClock
from tieline.console.app import Shown, SignIn, make_app
from tieline.edge.rigs.history import ASLEEP, HEARD, RawHistory, RawRow
from tieline.people import Account, People
from tieline.people.accounts import Who
from tieline.people.proposals import asked
from tieline.records import IssuedLine, Reserved
from tieline.records.treasury import InvoiceParty
from tieline.store import Store
from tieline.store.alerts import AlertStore
from tieline.store.people import PeopleStore

LINK = "the-secret-of-one-message"
PEOPLE = {"root": ("admin", ""), "axel": ("approver", ""), "olive": ("owner", "demo"), "tora": ("treasurer", "")}


@contextlib.contextmanager
def console(filled: Path, folder: Path) -> Iterator[str]:
    """Its address."""
    shutil.copyfile(filled, folder / "store.db")
    store = Store(folder / "store.db", records.encode, records.decode)
    words = ("7,474.6 BTC free, 0 BTC pledged", "4,451 BTC sold at 68,524 USD or more", "the loan's trigger is near")
    store.append(invoice())
    store.append([asked("sale", "Treasury", words, "tora", world.NOW - timedelta(hours=2))])
    people = People(PeopleStore(folder / "people.db"))
    for id_, (role, tenant) in PEOPLE.items():
        join(people, id_, role, tenant=tenant)
    people.add(Account("newcomer", "Newcomer", ("viewer",)), Who("test"), datetime.now(UTC))
    alerts = AlertStore(folder / "alerts.db")
    alerts.put([(one.id, one.first, msgspec.json.encode(one)) for one in incidents()], [], one_hour_ago())
    # A browser's own loop may run in this thread.
    writing = threading.Thread(target=lambda: asyncio.run(_sweeps(folder)))
    writing.start()
    writing.join()
    parts = [{"name": "core", "ok": True, "detail": "ready"}, {"name": "world", "ok": False, "detail": "restarted"}]
    tenants = config.demo().tenants
    app = make_app(
        store,
        config.demo().fleet,
        SimClock(world.NOW),
        sign_in=SignIn(people=people),
        shown=Shown(
            "http://127.0.0.1:1/v1",
            info={"parts": parts, "version": "0"},
            tenants=tenants,
            alerts=alerts,
            gateway_admin=lambda: ROOT,
            data=folder,
        ),
    )
    app.state.room.portal.keys._client = httpx.AsyncClient(transport=httpx.MockTransport(Admin().answer))
    with running(app) as url:
        yield url
    for one in (store, people.store, alerts):
        one.close()


def one_hour_ago() -> float:
    return datetime.now(UTC).timestamp() - 3_600


def incidents() -> list[Incident]:
    """One that a message's link (LINK) takes, at three sites."""
    began = one_hour_ago()
    return [
        Incident(
            key="not heard", level="bad", text="2 of 3 units", places=["Delta Slough", "Mesquite Flat", "Red Mesa"],
            state="open", first=began, last=began + 3_500, opened=began + 10, owner="Site operations",
            runbook="https://wiki.example.org/tieline#not-heard", links=[hashlib.sha256(LINK.encode()).hexdigest()],
        )
    ]  # fmt: skip


def invoice() -> list[records.AnyRecord]:
    """An issued invoice of the tenant: three requests of a month, one of them refused, a rented hour, a tax."""
    at = datetime(2026, 4, 12, 9, 30, tzinfo=UTC)
    used = [world.usage(at + timedelta(minutes=n)) for n in range(3)]
    used[2] = msgspec.structs.replace(used[2], status=503, output_tokens=0, cost_nano_usd=0, finish="error")
    hour = Reserved(
        at=at.replace(minute=0),
        known_at=at,
        source="gateway",
        kind="measured",
        tenant="demo",
        model="tieline-selftest",
        region="north_america",
        rented_since=at,
        replicas=2,
        provided_s=7_200,
        usd_per_replica_hour=Decimal("2.5"),
        cost_nano_usd=5_000_000_000,
    )
    (made,) = invoices(used, "2026-04", [hour])
    issued = made.issue("2026-00001", datetime(2026, 5, 1, 6, 0, tzinfo=UTC), "simulated")
    tax = IssuedLine(
        project="", model="", requests=0, prompt_tokens=0, output_tokens=0, amount_usd=Decimal("0.95"), kind="tax",
        text="VAT 19 %",
    )  # fmt: skip
    seller = InvoiceParty(name="Example Texas LLC", address=("1 Main St", "Austin"), tax_id="12-345")
    return [*used, hour, msgspec.structs.replace(issued, lines=(*issued.lines, tax), seller=seller)]


async def _sweeps(folder: Path) -> None:
    """Ten minutes of forty rigs: some run short, some sleep, one is silent."""
    history = RawHistory(folder / "sites" / "na-ca-01" / "raw" / "na-ca-01.rigs-1")
    for n in range(20):
        rows = [
            RawRow(
                f"02:00:00:00:00:{rig:02x}",
                3400.0 + 7 * rig,
                200.0 - (rig % 9) * 6 + n % 3,
                58.0 + rig % 14,
                0 if rig == 3 else HEARD | ASLEEP if rig % 13 == 5 else HEARD,
            )
            for rig in range(40)
        ]
        history.write(world.NOW - timedelta(seconds=30 * (20 - n)), rows)
    await history.close()


def sign_in(context: Any, url: str, name: str) -> None:
    """In a browser's context, by the page's own request."""
    form = {"name": name, "password": WORDS}
    answer = context.request.post(f"{url}/api/login", data=form, headers={"x-tieline": "console"})
    assert answer.ok, answer.text()
