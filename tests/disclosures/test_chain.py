"""Difficulty since 2021 and what a hashrate earns."""

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tieline.disclosures.comparison.chain import HALVING_TIME, Heard, extended, from_bits, heard_since, shipped_chain
from tieline.disclosures.facts.shipped import shipped

from .conftest import value_of

# Cango's full months that print both production and average operating hashrate.
FULL_MONTHS = [
    "2025-02", "2025-03", "2025-04", "2025-07", "2025-08", "2025-09",
    "2025-10", "2025-11", "2025-12", "2026-01", "2026-02",
]  # fmt: skip


def test_known_difficulties() -> None:
    """62.46T at the end of October 2023 and 125.86T from 7 February 2026, as reported then."""
    chain = shipped_chain()

    def at(moment: datetime) -> float:
        return [epoch for epoch in chain.epochs if epoch.start <= moment][-1].difficulty / 1e12

    assert at(datetime(2023, 10, 31, tzinfo=UTC)) == pytest.approx(62.46, abs=0.005)
    assert at(datetime(2026, 2, 9, tzinfo=UTC)) == pytest.approx(125.86, abs=0.005)


# Difficulty and start of eight epochs, from the chain's own headers.
EPOCHS = {
    0: (20607418304385.63, "2021-01-09T16:04Z"),
    18: (18997641161758.95, "2021-09-21T15:20Z"),
    36: (29897409688833.63, "2022-05-25T15:50Z"),
    54: (39350942467772.63, "2023-01-29T06:47Z"),
    72: (57321508229258.04, "2023-10-03T08:27Z"),
    90: (83716654861184.52, "2024-06-06T10:01Z"),
    108: (114167270716407.59, "2025-02-09T10:05Z"),
    126: (146716052770107.47, "2025-10-16T05:48Z"),
}


def test_every_epoch_agrees_with_the_published_series(more_data: Path | None) -> None:
    """Eight of them, and each of a recorded series."""
    rows = dict(EPOCHS)
    if more_data is not None:
        with (more_data / "disclosures" / "network_difficulty_epochs.csv").open() as file:
            series = [(float(row["difficulty"]), row["start_time_utc_reconstructed"]) for row in csv.DictReader(file)]
        assert len(series) == 144
        rows |= dict(enumerate(series))
    epochs = [epoch for epoch in shipped_chain().epochs if epoch.start != HALVING_TIME]
    assert len(epochs) == 144
    for number, (difficulty, start) in rows.items():
        assert epochs[number].difficulty == pytest.approx(difficulty, rel=1e-12)
        assert abs(epochs[number].start - datetime.fromisoformat(start)) < timedelta(hours=3)


def test_the_halving_splits_its_epoch() -> None:
    chain = shipped_chain()
    before = chain.subsidy_per_ehs(HALVING_TIME - timedelta(days=1), HALVING_TIME)
    after = chain.subsidy_per_ehs(HALVING_TIME, HALVING_TIME + timedelta(days=1))
    assert before is not None
    assert after is not None
    assert before == pytest.approx(2 * after, rel=1e-9)
    blocks = chain.blocks_per_ehs(HALVING_TIME, HALVING_TIME + timedelta(days=1))
    assert blocks == pytest.approx(after / 3.125)


def test_outside_the_known_epochs_there_is_no_answer() -> None:
    chain = shipped_chain()
    assert chain.in_period("2020-12") is None
    assert chain.in_period("2026-07") is None
    assert chain.subsidy_per_ehs(HALVING_TIME, HALVING_TIME) is None


@pytest.mark.parametrize("month", FULL_MONTHS)
def test_cango_is_within_1_1_percent_of_the_chain(month: str) -> None:
    book, per_ehs = shipped(), shipped_chain().in_period(month)
    produced, average = (
        value_of(book, "CANG", month, "btc_produced"),
        value_of(book, "CANG", month, "avg_operating_ehs"),
    )
    assert produced is not None
    assert average is not None
    assert per_ehs is not None
    assert 1.0003 < float(produced / average) / per_ehs < 1.011


def test_no_other_full_month_of_cango_prints_both() -> None:
    book = shipped()
    both = [
        month
        for month in book.months("CANG")
        if book.best("CANG", month, "btc_produced") and book.best("CANG", month, "avg_operating_ehs")
    ]
    assert [month for month in both if month != "2024-11"] == FULL_MONTHS


# Coins over what the hashrate earned in subsidy alone, worked out from the headers by other code.
RATIOS = [
    ("CANG", "2024-11", "avg_operating_ehs", 0.6555),
    ("CANG", "2025-02", "avg_operating_ehs", 1.0093),
    ("CANG", "2025-09", "avg_operating_ehs", 1.0031),
    ("CANG", "2026-01", "avg_operating_ehs", 1.0005),
    ("CLSK", "2024-07", "avg_operating_ehs", 1.0264),
    ("IREN", "2024-11", "avg_operating_ehs", 1.0310),
    ("WULF", "2024-09", "avg_operating_ehs", 1.0336),
    ("DMGI", "2025-04", "avg_operating_ehs", 0.9964),
    ("BITF", "2022-05", "deployed_ehs", 0.9916),
    ("RIOT", "2022-07", "deployed_ehs", 0.5582),
]


def recorded_ratios(folder: Path) -> list[tuple[str, str, str, float]]:
    found = []
    columns = {
        "ratio_to_subsidy_only_at_avg_operating": "avg_operating_ehs",
        "ratio_to_subsidy_only_at_deployed": "deployed_ehs",
    }
    for name in ("cango_checks.csv", "peers_checks.csv"):
        with (folder / "disclosures" / name).open() as file:
            for row in csv.DictReader(file):
                issuer = row.get("ticker") or "CANG"
                found += [(issuer, row["period"], f, float(row[c])) for c, f in columns.items() if row.get(c)]
    assert len(found) >= 60
    return found


def test_ratios_agree_with_those_worked_out_elsewhere(more_data: Path | None) -> None:
    """At average and at deployed hashrate, of Cango and of the peers, to the fourth decimal."""
    book, chain = shipped(), shipped_chain()
    for issuer, period, field, ratio in RATIOS + ([] if more_data is None else recorded_ratios(more_data)):
        produced, rate, per_ehs = (
            value_of(book, issuer, period, "btc_produced"),
            value_of(book, issuer, period, field),
            chain.in_period(period),
        )
        assert produced is not None, (issuer, period)
        assert rate is not None, (issuer, period)
        assert per_ehs is not None
        assert float(produced / rate) / per_ehs == pytest.approx(ratio, abs=2e-4), (issuer, period)


@pytest.mark.parametrize(
    ("rows", "why"),
    [([], "empty"), ([(919296, 0x1701E2A0), (921300, 0x1701E2A0)], "consecutive"), ([(665280, 0x170DA8A1)], "921,775")],
)
def test_a_broken_series_is_refused(rows: list[tuple[int, int]], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        from_bits(rows)


def test_later_epochs_may_be_added() -> None:
    text = "# July 2026\nheight,bits\n955584,1701f303\n957600,1701f303\n959616,1701f303\n"
    longer = extended(text)
    assert longer.in_period("2026-07") is not None
    assert longer.in_period("2025-11") == pytest.approx(shipped_chain().in_period("2025-11") or 0, rel=1e-12)
    assert extended("") == shipped_chain()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("955584;1701f303", "line 1"),
        ("957600,1701f303", "consecutive"),
        ("955584,ffffffff", "more than four times"),
        ("955584,03000001", "more than four times"),
    ],
)
def test_wrong_epochs_are_named(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        extended(text)


def test_an_impossible_target_is_refused() -> None:
    with pytest.raises(ValueError, match="target"):
        from_bits([(921312, 0x01000000)])


def test_a_feed_carries_the_series_on_without_a_gap() -> None:
    chain = shipped_chain()
    last = chain.epochs[-1]
    height = 953_568
    after = [
        Heard(last.start + timedelta(days=14 * k, hours=5), height + 2016 * k + 30, last.difficulty * 1.01**k)
        for k in (1, 2, 3)
    ]
    longer = heard_since(chain, after)
    assert [round(e.difficulty / last.difficulty, 2) for e in longer.epochs[-3:]] == [1.01, 1.02, 1.03]
    assert longer.epochs[-3].start == last.start + timedelta(days=14)
    assert longer.until == after[-1].at
    assert longer.in_period("2026-06") is not None
    assert longer.in_period("2026-08") is None
    assert heard_since(chain, after[1:]) is chain  # an epoch was not heard: nothing is supposed
    old = Heard(last.start - timedelta(days=400), 900_000, 1.0)
    assert heard_since(chain, [old]) is chain
