"""What a batch of strangers' records may do: each item is let in or set aside by itself, and nothing else happens."""

import contextlib
import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from tieline import records
from tieline.intake import IntakeError
from tieline.records import Accepted, Demand, Fault, Instruction, NetworkTick, SetAside, WeatherTick, admit

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = WeatherTick(at=NOW, known_at=NOW, source="site:a", kind="measured", station="KMAF", temp_c=21.5)
DEEP = b"[" * 100_000 + b"]" * 100_000


def plain(record: records.Record, **changes: Any) -> bytes:
    return msgspec.json.encode(msgspec.json.decode(records.encode(record)) | changes)


def only(*items: bytes) -> list[Accepted | SetAside]:
    return admit(b"[" + b",".join(items) + b"]", NOW)


BAD = {
    "no zone": (plain(GOOD, at="2026-03-01T12:00:00"), "at: Expected `datetime` with a timezone"),
    "known ahead": (plain(GOOD, known_at="9990-01-01T00:00:00Z"), "known_at: .* ahead of this platform's clock"),
    "held ahead": (plain(GOOD, at="8990-01-01T00:00:00Z"), "at: .* too far ahead"),
    "before all": (plain(GOOD, at="0001-01-01T00:00:00+23:00"), "at"),
    "too hot": (plain(GOOD, temp_c=1e308), "temp_c: Expected `float` <= 1000"),
    "no number": (records.encode(GOOD).replace(b"21.5", b"1e999"), "temp_c: Number out of range"),
    "nested": (records.encode(GOOD)[:-1] + b',"zz":' + DEEP + b"}", "nested too deeply"),
    "half a letter": (records.encode(GOOD).replace(b"KMAF", b"\\ud800"), "surrogate|truncated"),
    "a bar in a name": (plain(GOOD, source="site|b"), "source: 'site.b' is no name"),
    "a control character": (plain(GOOD, station="K\x00F"), "station: 'K.x00F' is no name"),
    "no type": (b'{"at":1}', "missing required field `type`"),
    "another type": (plain(GOOD, type="Rumour"), "type: Invalid value 'Rumour'"),
    "no record": (b"17", "Expected `object`, got `int`"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_item_is_set_aside_by_name_and_its_neighbours_are_admitted(what: str) -> None:
    body, why = BAD[what]
    first, second, third = only(records.encode(GOOD), body, records.encode(GOOD))
    assert first.record == third.record == GOOD  # type: ignore[union-attr]
    assert isinstance(second, SetAside)
    assert second.place == 1
    assert second.body == body
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(second.why)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff{", b"{}", b"[1", b"[1]]", DEEP, b"null", b"[" * 900])
def test_of_what_is_no_list_nothing_is_admitted_and_nothing_else_is_raised(data: bytes) -> None:
    with contextlib.suppress(IntakeError):
        assert all(isinstance(one, SetAside) for one in admit(data, NOW))


def test_a_moment_in_another_zone_is_the_same_record() -> None:
    given = plain(GOOD, at="2026-03-01T14:00:00+02:00", known_at="2026-03-01T13:00:00+01:00")
    (found,) = only(given)
    assert found.record.key == GOOD.key  # type: ignore[union-attr]


def test_a_sender_whose_clock_is_ahead_is_told_by_how_much() -> None:
    (found,) = only(plain(GOOD, known_at="2026-03-01T13:00:00Z"))
    assert isinstance(found, SetAside)
    assert found.ahead == timedelta(hours=1)
    assert isinstance(only(plain(GOOD, known_at="2026-03-01T12:04:00Z"))[0], Accepted)


def test_spools_of_last_week_imports_of_past_years_and_contracts_years_ahead_pass() -> None:
    old = plain(GOOD, at="2011-03-01T00:00:00Z", known_at="2011-03-01T00:00:00Z")
    ahead = Instruction(
        at=NOW + timedelta(days=3650), known_at=NOW, source="operator", kind="measured", instruction_id="i",
        site_id="a", limit_w=0.0, until=NOW + timedelta(days=3651),
    )  # fmt: skip
    assert all(isinstance(one, Accepted) for one in only(old, records.encode(ahead)))


@pytest.mark.parametrize(
    "record",
    [
        Fault(at=NOW, known_at=NOW, source="s", kind="measured", site_id="a", what="x", limit_w=math.inf),
        Fault(at=NOW.replace(tzinfo=None), known_at=NOW, source="s", kind="measured", site_id="a", what="x"),
        Demand(at=NOW, known_at=NOW, source="s", kind="measured", model="m", region="r", output_tokens_per_s=math.nan),
    ],
)
def test_what_could_not_be_read_back_is_never_written(record: records.Record) -> None:
    with pytest.raises(ValueError, match="limit_w|at|output_tokens_per_s"):
        records.encode(record)


@pytest.mark.parametrize("price", [Decimal("NaN"), Decimal("Infinity"), Decimal("1E+99999"), Decimal("1E-99999")])
def test_money_is_a_number_that_can_be_added_up(price: Decimal) -> None:
    with pytest.raises(ValueError, match="btc_usd"):
        NetworkTick(
            at=NOW, known_at=NOW, source="s", kind="measured", difficulty=1.0, subsidy_btc=3.125, fee_share=0.1,
            btc_usd=price,
        )  # fmt: skip


def test_keys_and_subjects_stand_as_they_were() -> None:
    demand = Demand(at=NOW, known_at=NOW, source="s", kind="measured", model="m", region="r", output_tokens_per_s=1.0)
    assert demand.subject == "m@r"
    assert demand.key == f"m@r|{NOW.isoformat()}|s|measured|{NOW.isoformat()}"
    fault = Fault(at=NOW, known_at=NOW, source="s", kind="measured", site_id="a", what="meter")
    assert (fault.subject, fault.key) == ("a", f"a|meter|{NOW.isoformat()}|{NOW.isoformat()}")
