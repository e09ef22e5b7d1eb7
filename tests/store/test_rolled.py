"""A roll-up is the fold of the records, whatever comes late, twice or anew, and wherever its keeping was cut short."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tieline import records
from tieline.books.reports.sums import RolledSums
from tieline.records import AnyRecord, Hop, MeterReading, PowerBill, PriceTick, Sample, Shortfall, Usage
from tieline.settlement import rolled
from tieline.settlement.rolled import RollUp, parts_between, rolled_between, summed
from tieline.store import Store
from tieline.store.rolled import kept as rolled_kept
from tieline.store.rolled.kept import DAY_S, HOUR_S, OvertakenError, RolledStore

T0 = datetime(2026, 11, 1, 22, tzinfo=UTC)
END = T0 + timedelta(days=2)
SUBJECTS = ["site a", "site b", "market M"]


def made(kind: int, site: str, hour: int, told: int, value: int) -> AnyRecord:
    """One record at one of six hours over midnight; bills and prices of one hour are told anew by `told`."""
    at = T0 + timedelta(minutes=60 * hour + 5 * (value % 3))
    common = {"at": at, "known_at": at + timedelta(minutes=told), "source": "t", "kind": "measured"}
    of = {**common, "site_id": site}
    if kind == 0:
        power, hashes = (None, None) if value == 0 else (value * 1e5 + 0.3, value * 1e18)
        tokens = value if value % 2 else None
        return Sample(unit_id=f"{site}.u{value}", length_s=300, readings=1, power_w=power, hashrate_hs=hashes,
                      tokens=tokens, **of)  # fmt: skip
    if kind == 1:
        return MeterReading(length_s=300, readings=min(value, 1), power_w=value * 1e5 if value else None, **of)
    if kind == 2:
        cost = Decimal(f"{value}.00000000000000000001") - 2
        return PowerBill(length_s=300, mining_wh=value * 10.0004, inference_wh=0.1, aux_wh=told, cost_usd=cost, **of)
    if kind == 3:
        sats = None if value == 0 else value
        return Shortfall(length_s=3600, full_wh=9, drawn_wh=9, short_wh={}, full_sats=sats, made_sats=sats, **of)
    if kind == 4:
        hops = (Hop(replica_id="r", site_id=site, output_tokens=value, ended="moved"),
                Hop(replica_id="q", site_id="b", output_tokens=told, ended="stop"))  # fmt: skip
        return Usage(request_id=f"{site}{hour}{told}{value}", tenant="t", project="p", key_id="k", model="m",
                     endpoint="chat", status=200, prompt_tokens=1, output_tokens=value + told,
                     cost_nano_usd=7 * value + 1, hops=hops, **common)  # fmt: skip
    kinds = {**common, "kind": "forecast" if value == 5 else "measured"}
    return PriceTick(market="M", price_usd_per_mwh=value - 2.5, length_s=300, **kinds)


RECORDS = st.builds(
    made, st.integers(0, 5), st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 2), st.integers(0, 5)
)


def folded(store: Store, size: int) -> dict[tuple[str, datetime], RolledSums]:
    """Straight from the records, by hour or day; what nothing was told of is left out."""
    hours = summed(parts_between(store, [one.partition(" ")[2] for one in SUBJECTS], T0 - timedelta(hours=1), END))
    sums: dict[tuple[str, datetime], dict[str, int]] = {}
    for (subject, hour), one in hours.items():
        at = hour if size == HOUR_S else hour.replace(hour=0)
        into = sums.setdefault((subject, at), dict.fromkeys(RolledSums.__struct_fields__, 0))
        for name in into:
            into[name] += getattr(one, name)
    return {place: RolledSums(**one) for place, one in sums.items()}


def kept_sums(kept: RolledStore, size: int) -> dict[tuple[str, datetime], RolledSums]:
    span = (T0 - timedelta(days=1), END)
    found = {(subject, at): one for subject in SUBJECTS for at, one in rolled_between(kept, subject, size, *span)}
    return {place: one for place, one in found.items() if one != RolledSums()}


def same(kept: RolledStore, store: Store) -> bool:
    return all(kept_sums(kept, size) == folded(store, size) for size in (HOUR_S, DAY_S))


@settings(max_examples=60, deadline=None)
@given(told=st.lists(RECORDS, max_size=40), cuts=st.lists(st.integers(0, 40), max_size=3), page=st.integers(1, 9))
def test_a_roll_up_is_the_fold_of_the_records_also_late_twice_and_anew(
    told: list[AnyRecord], cuts: list[int], page: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolled, "PAGE", page)
        store, kept = Store(None, records.encode, records.decode), RolledStore(None)
        roll = RollUp(kept)
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), None], strict=True):
            store.append(told[start:end])
            store.append(told[: (end or 40) // 2])  # the same once more, which counts no second time
            while roll.step(store):
                pass
            assert same(kept, store)
        assert roll.reached(store) == store.last_seq()


def some() -> list[AnyRecord]:
    return [made(kind, site, hour, told, 1 + hour % 4)
            for kind in range(6) for site in "ab" for hour in range(6) for told in range(2)]  # fmt: skip


class CutError(Exception):
    """The machine went."""


@pytest.mark.parametrize("cut_at", ["before", "within", "after"])
def test_what_was_cut_short_goes_on_without_counting_twice_or_leaving_out(
    tmp_path: Path, cut_at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rolled, "PAGE", 7)
    store = Store(tmp_path / "store.db", records.encode, records.decode)
    store.append(some())
    pages, more = 0, True
    while more:
        kept = RolledStore(tmp_path / "rolled.db")
        pages += 1
        with monkeypatch.context() as patch:
            if pages % 2:
                _cut(patch, kept, cut_at)
            try:
                more = RollUp(kept).step(store)
            except CutError:
                more = True
        kept.close()  # opened anew, as after a death
    kept = RolledStore(tmp_path / "rolled.db")
    assert same(kept, store)
    assert pages > store.last_seq() / 7
    kept.close()
    store.close()


def _cut(patch: pytest.MonkeyPatch, kept: RolledStore, where: str) -> None:
    if where == "within":  # hours are written, days are not
        put, calls = kept._put, iter(range(9))

        def half(*args: object) -> None:
            if next(calls):
                raise CutError
            put(*args)  # type: ignore[arg-type]  # passed on as it came

        patch.setattr(kept, "_put", half)
        return
    add = kept.add

    def cut(*args: object) -> None:
        if where == "after":
            add(*args)  # type: ignore[arg-type]  # passed on as it came
        raise CutError

    patch.setattr(kept, "add", cut)


@pytest.fixture
def rolled_up(tmp_path: Path) -> Iterator[tuple[Store, RolledStore, RollUp]]:
    store, kept = Store(tmp_path / "store.db", records.encode, records.decode), RolledStore(tmp_path / "rolled.db")
    store.append(some())
    roll = RollUp(kept)
    while roll.step(store):
        pass
    yield store, kept, roll
    kept.close()
    store.close()


def test_another_store_and_another_form_begin_again(
    rolled_up: tuple[Store, RolledStore, RollUp], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, kept, roll = rolled_up
    other = Store(tmp_path / "other" / "store.db", records.encode, records.decode)  # another epoch, as after a restore
    other.append(some()[:50])
    assert roll.reached(other) == 0
    while roll.step(other):
        pass
    assert same(kept, other)
    monkeypatch.setattr(rolled, "FORM", rolled.FORM + 1)
    assert roll.reached(other) == 0
    while roll.step(other):
        pass
    assert same(kept, other)
    other.close()


def test_two_that_roll_up_count_once(rolled_up: tuple[Store, RolledStore, RollUp], tmp_path: Path) -> None:
    store, kept, roll = rolled_up
    after = roll.reached(store)
    store.append([made(0, "a", 1, 0, 5)])
    second = RolledStore(tmp_path / "rolled.db")
    assert RollUp(second).step(store) is False
    with pytest.raises(OvertakenError, match="rolled up by somebody else"):
        kept.add({}, after, after + 1, store.epoch, rolled.FORM)
    assert same(kept, store)
    second.close()


def test_a_damaged_file_is_thrown_away_and_made_anew(
    rolled_up: tuple[Store, RolledStore, RollUp], tmp_path: Path
) -> None:
    store, kept, _ = rolled_up
    kept.close()
    path = tmp_path / "rolled.db"
    path.write_bytes(b"no database at all" * 500)
    again = RolledStore(path)
    while RollUp(again).step(store):
        pass
    assert same(again, store)
    again.close()


def test_nothing_told_is_none_and_not_zero() -> None:
    assert RolledSums().cost_usd is None
    assert RolledSums().price_usd_per_mwh is None
    assert RolledSums(bills=1).cost_usd == 0
    assert rolled_kept.ROLLED_FILE == "rolled.db"
