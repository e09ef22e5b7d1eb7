"""A table's figures do not change with its shape: fewer may be read, never a different one."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.disclosures.read.dressings import DRESSINGS, HIDES, MORE_SHAPES
from tests.disclosures.read.geometry import (
    ONE_MONTH,
    SHAPES,
    TWO_MONTHS,
    Row,
    Table,
    footnoted,
    unit_in_label,
    with_changes,
)  # fmt: skip
from tests.disclosures.read.reading import read

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
NAMES: dict[str, tuple[str, ...]] = {
    "btc_produced": ("Bitcoin Produced", "BTC Mined", "Self-Mining Bitcoin Earned"),
    "avg_btc_per_day": ("Average Bitcoin Produced per Day", "Average BTC mined per day"),
    "btc_held_end": ("Bitcoin Held", "Total Bitcoin Holdings", "Bitcoin holdings (at month end)"),
    "btc_sold": ("Bitcoin Sold", "BTC Sold"),
    "sale_proceeds_usd": ("Bitcoin Sales - Net Proceeds", "Net proceeds from bitcoin sold"),
    "deployed_ehs": ("Deployed Hash Rate", "Installed hashrate", "Energized hash rate"),
    "avg_operating_ehs": ("Avg. Operating Hash Rate", "Average operating hashrate"),
    "efficiency_j_th": ("Fleet Efficiency", "Average fleet efficiency"),
}


@dataclass(frozen=True)
class Case:
    table: Table
    expected: dict[tuple[str, str], Decimal]
    keys: tuple[str, ...]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A month and those before it, three to all of the fields, figures of the size that a miner prints."""
    last = draw(st.integers(2022 * 12, 2025 * 12 + 11))
    count = draw(st.integers(2, 3))
    months = [divmod(last - k, 12) for k in range(count)]
    keys = tuple(f"{y}-{m + 1:02d}" for y, m in months)
    chosen = draw(st.lists(st.sampled_from(sorted(NAMES)), min_size=3, max_size=len(NAMES), unique=True))
    rows, expected = [], {}
    for field in sorted(chosen, key=list(NAMES).index):
        cells = []
        for key in keys:
            lead, number, unit, value = _cell(draw, field)
            cells.append((lead, number, unit))
            expected[key, field] = value
        rows.append(Row(field, draw(st.sampled_from(NAMES[field])), tuple(cells)))
    year, month = months[0]
    title = f"Heron Compute Announces {MONTHS[month]} {year} Production and Operations Updates"
    headings = tuple(f"{MONTHS[m][: draw(st.sampled_from((3, 12)))]} {y}" for y, m in months)
    return Case(Table(title, headings, tuple(rows)), expected, keys)


def _cell(draw: st.DrawFn, field: str) -> tuple[str, str, str, Decimal]:
    if field == "sale_proceeds_usd":
        tenths = draw(st.integers(11, 989))
        return "$", f"{tenths / 10:.1f}", " million", Decimal(tenths) * 100_000
    if field in ("deployed_ehs", "avg_operating_ehs"):
        tenths = draw(st.integers(51, 589))
        return "", f"{tenths / 10:.1f}", " EH/s", Decimal(tenths) / 10
    if field == "efficiency_j_th":
        tenths = draw(st.integers(151, 319))
        return "", f"{tenths / 10:.1f}", " J/TH", Decimal(tenths) / 10
    if field == "avg_btc_per_day":
        tenths = draw(st.integers(11, 99))
        return "", f"{tenths / 10:.1f}", "", Decimal(tenths) / 10
    low, high = {"btc_produced": (301, 899), "btc_sold": (31, 799), "btc_held_end": (1201, 49_999)}[field]
    whole = draw(st.integers(low, high))
    return "", f"{whole:,}", "", Decimal(whole)


def check(case: Case, table: Table, shape: str, floor: float) -> None:
    text = ALL[shape](table)
    reading = read(text)
    got = {(f.period, f.field): f.value for f in reading.facts if f.scope is None}
    wrong = {k: v for k, v in got.items() if case.expected.get(k) != v and "Q" not in k[0]}
    assert not wrong, text
    months = 1 if shape in ONE_MONTH else 2 if shape in TWO_MONTHS else len(case.keys)
    wanted = [k for k in case.expected if k[0] in case.keys[:months]]
    assert sum(k in got for k in wanted) >= floor * len(wanted), text


ALL = SHAPES | MORE_SHAPES
UNREAD = ("side_by_side", "records", "html_columns_of_breaks", "dashes_between", "quoted_mail")
"""Shapes that are not read, or not wholly: two rows on a line, records of JSON, columns in one cell."""
DRESSED = (
    "bars", "markdown", "cell_a_line", "cell_a_line_spaced", "barred_cell_a_line", "tabs", "single_spaces", "csv",
    "html", "html_filing", "turned_bars", "turned_cell_a_line", "pairs_by_month", "boxed",
)  # fmt: skip
quick = settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("shape", SHAPES)
@quick
@given(case=cases())
def test_every_shape_gives_the_same_figures(shape: str, case: Case) -> None:
    check(case, case.table, shape, 0.0 if shape in UNREAD else 0.8)


@pytest.mark.parametrize("style", ["digit", "spaced", "bracket", "star"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(quick, max_examples=2)
@given(case=cases())
def test_marks_of_notes_are_no_digits(style: str, shape: str, case: Case) -> None:
    check(case, footnoted(case.table, style), shape, 0.0)


@pytest.mark.parametrize("shape", SHAPES)
@settings(quick, max_examples=2)
@given(case=cases())
def test_units_may_stand_in_the_labels(shape: str, case: Case) -> None:
    check(case, unit_in_label(case.table), shape, 0.0 if shape in UNREAD else 0.6)


@pytest.mark.parametrize("where", ["last", "between"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(quick, max_examples=2)
@given(case=cases())
def test_columns_of_changes_are_passed_over(where: str, shape: str, case: Case) -> None:
    check(case, with_changes(case.table, where), shape, 0.0)


@pytest.mark.parametrize("shape", MORE_SHAPES)
@quick
@given(case=cases())
def test_shapes_met_less_often_give_the_same_figures(shape: str, case: Case) -> None:
    check(case, case.table, shape, 0.0 if shape in UNREAD else 0.8)


@pytest.mark.parametrize("dressing", DRESSINGS)
@pytest.mark.parametrize("shape", DRESSED)
@settings(quick, max_examples=1)
@given(case=cases())
def test_what_stands_around_the_figures_does_not_change_them(shape: str, dressing: str, case: Case) -> None:
    table = DRESSINGS[dressing](case.table)
    left_out = dressing in HIDES or dressing == "approximate"
    check(case, table, shape, 0.0 if left_out or shape in ("html_filing", "single_spaces") else 0.7)


def test_the_shapes_differ() -> None:
    """Every shape and every dressing gives a text of its own: none is a copy of another."""
    rows = (Row("btc_produced", "Bitcoin Produced", (("", "450", ""), ("", "463", ""))),) * 2
    rows += (Row("sale_proceeds_usd", "Net proceeds from bitcoin sold", (("$", "41.7", " million"),) * 2),)
    table = Table("Heron Compute Announces June 2025 Production Updates", ("June 2025", "May 2025"), rows)
    texts = {shape(table) for shape in ALL.values()} | {ALL["bars"](d(table)) for d in DRESSINGS.values()}
    assert len(texts) >= len(ALL) + len(DRESSINGS) - 3
