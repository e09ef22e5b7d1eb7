"""Writes the small data folder that later versions must be able to open.

    .venv/bin/python -m tests.store.make_folder tests/store/folders/form-N.tar.gz

Run once by the version whose form it is; what is in `folders` is never written again.
"""

import sys
import tarfile
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from tieline import records
from tieline.edge.orderbook import OrderBook
from tieline.people.accounts import Account, People, Who
from tieline.records import AnyRecord, Fault, Instruction, NetworkTick, Opening, Payout, PowerBill, Sample, Usage
from tieline.store import BatchStore, Outbox, Spool, Store
from tieline.store.alerts import AlertStore
from tieline.store.batches import StoredBatch, StoredFile
from tieline.store.people import PasskeyRow, PeopleStore
from tieline.store.quarantine import Quarantine

T0 = datetime(2026, 11, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def told() -> list[AnyRecord]:
    """What the folder's store holds."""
    said = {"at": T0, "known_at": T0, "source": "test", "kind": "measured"}
    return [
        Opening(**said, opening_id="opening", cash_usd=Decimal("1000.50"), sats=0),
        NetworkTick(**said, difficulty=1.5e14, subsidy_btc=3.125, fee_share=0.02, btc_usd=Decimal("95000.25")),
        Payout(**said | {"at": T0 + HOUR}, payout_id="p1", pool="pool", sats=123_456_789, span_start=T0,
               span_end=T0 + HOUR, btc_usd=Decimal("95000.25")),
        PowerBill(**said, site_id="a", length_s=3600, mining_wh=1e6, inference_wh=2e5, aux_wh=5e4,
                  cost_usd=Decimal("50.123456")),
        Sample(**said, site_id="a", unit_id="a-rigs", length_s=300, power_w=1e6, hashrate_hs=5e16, readings=10),
        Fault(**said, site_id="a", what="stuck", detail="three rigs", share=0.1),
        *(use(n) for n in range(5)),
    ]  # fmt: skip


def use(number: int) -> Usage:
    return Usage(
        at=T0 + number * HOUR, known_at=T0 + number * HOUR, source="gateway", kind="measured", request_id=f"r{number}",
        tenant="acme", project="p", key_id="k", model="m", endpoint="/v1/chat/completions", status=200,
        prompt_tokens=3, output_tokens=7, cost_nano_usd=1_000_000,
    )  # fmt: skip


def fill(folder: Path) -> None:
    """A data folder as a platform leaves it."""
    store = Store(folder / "store.db", records.encode, records.decode)
    store.append(told())
    store.close()
    spool = Spool(folder / "gateway" / "usage.db")
    for n in range(5, 8):
        spool.put(f"r{n}", records.encode(use(n)), ("tenant:acme",), 1_000_000)
    spool.progress([("r8", records.encode(use(8)))])
    spool.close()
    batches = BatchStore(folder / "gateway" / "batches.db")
    file = StoredFile("file-1", "acme", "in.jsonl", "batch", 9, 1_793_000_000, 1_999_000_000)
    batches.add_file(file, b"line one\n")
    batch = StoredBatch("batch-1", "acme", "k", "/v1/chat/completions", "file-1", "validating", 1_793_000_000,
                        1_999_000_000, 0, 0, 0, b"{}")  # fmt: skip
    batches.add_batch(batch)
    batches.begin("batch-1", [("one", b"{}")], b"{}")
    batches.close()
    outbox = Outbox(folder / "sites" / "a" / "outbox.db")
    outbox.put((f"Usage|{n}", records.encode(use(n))) for n in range(8, 11))
    outbox.done([outbox.take(1)[0][0]])
    outbox.close()
    order = Instruction(
        at=T0, known_at=T0, source="grid", kind="measured", site_id="a", instruction_id="i1", limit_w=1e6,
        until=T0 + HOUR,
    )  # fmt: skip
    quarantine = Quarantine(folder / "quarantine.db")
    quarantine.add("a", [("Sample|x", "at: needs a zone", b'{"at":"2026-11-01T00:00:00"}')], T0)
    quarantine.close()
    people = People(PeopleStore(folder / "people.db"))
    people.add(Account("ada", "Ada", ("admin",)), Who("test"), T0)
    people.add_passkey("ada", PasskeyRow(b"id", "ada", b"public", 0, "a key", 1, None), "here", T0)
    people.store.close()
    alerts = AlertStore(folder / "alerts.db")
    alerts.put([("i1", 0.0, b'{"id":"i1"}')], [("mail", b"{}")], 0.0)
    alerts.close()
    OrderBook("a", folder / "sites" / "a" / "orders.json").take(order, T0)


def main() -> None:
    with tempfile.TemporaryDirectory() as where:
        folder = Path(where) / "data"
        fill(folder)
        with tarfile.open(sys.argv[1], "w:gz") as archive:
            for path in sorted(folder.rglob("*")):
                if path.is_file() and path.suffix != ".lock":
                    archive.add(path, path.relative_to(folder).as_posix())


if __name__ == "__main__":
    main()
