"""Claims are kept once, whole, in order, and for ever."""

import errno
import multiprocessing
import os
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from tieline.disclosures.facts.claims import Claim
from tieline.disclosures.facts.keep import (
    AppendResult,
    FileKeeper,
    LiveBook,
    book,
)
from tieline.disclosures.facts.lines import KeepError
from tieline.disclosures.facts.shipped import shipped

from .conftest import typed_claims, value_of

CLAIMS = typed_claims("X", {"2025-01": {"btc_produced": "310.0", "btc_sold": 0}, "2025Q1": {"btc_produced": 900}})


@pytest.fixture
def keeper(tmp_path: Path) -> FileKeeper:
    return FileKeeper(tmp_path / "deep" / "facts.jsonl")


def test_kept_once_and_exactly(keeper: FileKeeper) -> None:
    assert keeper.claims() == ()
    assert keeper.append(CLAIMS) == AppendResult(3, 0)
    assert keeper.append(CLAIMS) == AppendResult(0, 3)
    assert set(keeper.claims()) == set(CLAIMS)
    assert str(next(one for one in keeper.claims() if one.fact.period == "2025-01" and one.value).value) == "310.0"


def test_a_restatement_is_a_further_claim(keeper: FileKeeper) -> None:
    keeper.append(CLAIMS)
    again = typed_claims("X", {"2025-01": {"btc_produced": "309.5"}}, published="2026-01-05")
    assert keeper.append(again) == AppendResult(1, 0)
    found = book(keeper)
    assert value_of(found, "X", "2025-01", "btc_produced") == Decimal("309.5")
    assert value_of(found, "X", "2025-01", "btc_produced", view="printed") == Decimal("310.0")
    assert value_of(found.as_of(datetime(2025, 12, 31, tzinfo=UTC)), "X", "2025-01", "btc_produced") == Decimal("310.0")
    assert value_of(found, "CANG", "2026-01", "btc_sold") == Decimal("550.03")


def test_told_twice_in_one_batch(keeper: FileKeeper) -> None:
    assert keeper.append([*CLAIMS, *CLAIMS]).new == 3


def test_nothing_is_nothing(keeper: FileKeeper) -> None:
    assert keeper.append([]) == AppendResult(0, 0)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"field": "coins"}, "no field"),
        ({"unit": "USD"}, "must be BTC"),
        ({"period": "soon"}, "YYYY-MM"),
        ({"issuer": None}, "--issuer"),
        ({"period": "0001-01"}, "YYYY-MM"),
        ({"period": "2300-01"}, "2009 to 2199"),
        ({"issuer": ""}, "--issuer"),
        ({"value": Decimal("NaN")}, "no number"),
        ({"value": Decimal("1e999999999")}, "out of bounds"),
        ({"value": Decimal("1e-999999")}, "out of bounds"),
    ],
)
def test_what_could_not_be_read_back_is_not_kept(keeper: FileKeeper, change: dict[str, object], why: str) -> None:
    bad = msgspec.structs.replace(CLAIMS[0], fact=msgspec.structs.replace(CLAIMS[0].fact, **change))
    with pytest.raises(KeepError, match=why):
        keeper.append([*CLAIMS, bad])
    assert keeper.claims() == ()


@pytest.mark.parametrize("name", ["published", "dateline"])
def test_a_day_that_is_none_is_not_kept(keeper: FileKeeper, name: str) -> None:
    """Every check of the book reckons with it."""
    with pytest.raises(KeepError, match="YYYY-MM-DD"):
        keeper.append([msgspec.structs.replace(CLAIMS[0], **{name: "5 Jan"})])


def test_without_a_file_the_book_is_the_shipped_one(tmp_path: Path) -> None:
    assert book(FileKeeper(tmp_path / "none.jsonl")) is shipped()
    assert book() is shipped()


def test_a_live_book_is_rebuilt_only_when_its_file_changed(tmp_path: Path) -> None:
    live = LiveBook(tmp_path / "facts.jsonl")
    assert live() is shipped()
    FileKeeper(tmp_path / "facts.jsonl").append(CLAIMS[:1])
    first = live()
    assert value_of(first, "X", "2025-01", "btc_produced") == Decimal("310.0")
    assert live() is first
    FileKeeper(tmp_path / "facts.jsonl").append(CLAIMS)
    assert value_of(live(), "X", "2025-01", "btc_sold") == 0


def test_a_torn_last_line_was_never_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    FileKeeper(path).append(CLAIMS[:2])
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"fact": {"issuer": "X", "per')
    assert len(FileKeeper(path).claims()) == 2
    assert FileKeeper(path).append(CLAIMS) == AppendResult(1, 2)
    assert len(FileKeeper(path).claims()) == 3
    assert path.read_bytes().startswith(whole)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    FileKeeper(path).append(CLAIMS)
    path.write_bytes(path.read_bytes() + b'{"fact": 1}\n')
    with pytest.raises(KeepError, match="line 4"):
        FileKeeper(path).claims()


def test_a_line_that_other_hands_wrote_is_held_to_the_same(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    FileKeeper(path).append(CLAIMS)
    path.write_text(path.read_text().replace('"period":"2025-01"', '"period":"0001-01"', 1))
    with pytest.raises(KeepError, match="line 1: period '0001-01'.*mend or remove"):
        FileKeeper(path).claims()


def test_a_full_disk_keeps_nothing_of_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "facts.jsonl"
    keeper = FileKeeper(path)
    keeper.append(CLAIMS[:1])
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(KeepError, match="No space left"):
            keeper.append(CLAIMS)
    assert path.read_bytes() == before
    assert keeper.append(CLAIMS) == AppendResult(2, 1)


def test_the_file_has_a_bound(tmp_path: Path) -> None:
    keeper = FileKeeper(tmp_path / "facts.jsonl", max_bytes=1_000)
    keeper.append(CLAIMS[:1])
    with pytest.raises(KeepError, match="1,000 bytes"):
        keeper.append(CLAIMS)
    assert len(keeper.claims()) == 1


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeepError, match="--facts"):
        FileKeeper(tmp_path / "file" / "facts.jsonl").append(CLAIMS)


def _append(path: Path, first: int) -> None:
    for month in range(first, first + 6):
        FileKeeper(path).append(typed_claims("X", {f"2025-{month:02d}": {"btc_produced": 1, "btc_sold": 2}}))


def test_two_writers_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "facts.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_append, args=(path, first)) for first in (1, 4, 7)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    claims: tuple[Claim, ...] = FileKeeper(path).claims()
    assert len(claims) == len({claim.id for claim in claims}) == 24
