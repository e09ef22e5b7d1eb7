"""Whether printed figures follow from each other: each stands for an interval of half its last digit to either side.

Pure arithmetic over what a month's update prints. What does not follow is named, with the sum that shows it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_HALF_UP, Decimal

from tieline.books.span import month_span


def half_up(value: Decimal, places: int) -> Decimal:
    """Rounded as people round: half away from zero."""
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def places_of(printed: Decimal) -> int:
    """Decimals that were printed."""
    exponent = printed.as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


@dataclass(frozen=True, slots=True)
class PrintedSpan:
    """All that a printed figure may have been."""

    low: Decimal
    high: Decimal

    @classmethod
    def of(cls, printed: Decimal) -> PrintedSpan:
        half = Decimal(5).scaleb(-places_of(printed) - 1)
        return cls(printed - half, printed + half)

    def __add__(self, other: PrintedSpan) -> PrintedSpan:
        return PrintedSpan(self.low + other.low, self.high + other.high)

    def __sub__(self, other: PrintedSpan) -> PrintedSpan:
        return PrintedSpan(self.low - other.high, self.high - other.low)

    def over(self, days: Decimal) -> PrintedSpan:
        return PrintedSpan(self.low / days, self.high / days)

    def meets(self, other: PrintedSpan) -> bool:
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedMonth:
    """What one month prints. `opening` is the month before's closing balance."""

    month: str
    produced: Decimal
    opening: Decimal | None = None
    sold: Decimal | None = None
    held: Decimal | None = None
    average: Decimal | None = None
    before: Decimal | None = None  # produced in the month before
    change_pct: Decimal | None = None  # month on month, as a text printed it
    other: tuple[Decimal, ...] = ()  # coins that came (below nothing: went) otherwise, where they are printed

    @property
    def days(self) -> int:
        start, end = month_span(self.month)
        return (end - start) // timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RelationCheck:
    """One relation among printed figures: whether it holds, and the sum that shows it."""

    month: str
    what: str
    holds: bool
    says: str


def findings(row: PrintedMonth) -> list[RelationCheck]:
    """Average, roll-forward and change of one month, as far as they are printed."""
    complaints = []
    if row.average is not None:
        complaints.append(_average(row, row.average))
    if row.opening is not None and row.held is not None:
        complaints.append(_closing(row, row.opening, row.held))
    if row.before:
        complaints.append(_change(row, row.before))
    return complaints


def _average(row: PrintedMonth, average: Decimal) -> RelationCheck:
    exact = half_up(row.produced / row.days, places_of(average))
    if PrintedSpan.of(row.produced).over(Decimal(row.days)).meets(PrintedSpan.of(average)):
        return RelationCheck(row.month, "average", True, f"{row.produced:,} / {row.days} days = {exact} a day")
    active = half_up(row.produced / average, 2)
    says = f"{row.produced:,} / {row.days} days = {exact}, printed {average}: an average of {active} active days"
    return RelationCheck(row.month, "average", False, says)


def _closing(row: PrintedMonth, opening: Decimal, held: Decimal) -> RelationCheck:
    sold = row.sold or Decimal(0)
    exact = opening + row.produced - sold + sum(row.other, Decimal(0))
    others = "".join(f" {'-' if one < 0 else '+'} {abs(one):,}" for one in row.other)
    sum_ = f"{opening:,} + {row.produced:,} - {sold:,}{others} = {exact:,}"
    parts = PrintedSpan.of(opening) + PrintedSpan.of(row.produced)
    for one in row.other:
        parts += PrintedSpan.of(one)
    if (parts - PrintedSpan.of(sold) if sold else parts).meets(PrintedSpan.of(held)):
        return RelationCheck(row.month, "closing", True, f"{sum_}, printed {held:,}")
    return RelationCheck(row.month, "closing", False, f"{sum_}, printed {held:,}: {abs(exact - held):,} unexplained")


def _change(row: PrintedMonth, before: Decimal) -> RelationCheck:
    exact = half_up((row.produced / before - 1) * 100, 2)
    sum_ = f"{row.produced:,} / {before:,} - 1 = {exact:+} %"
    if row.change_pct is None:
        return RelationCheck(row.month, "change", True, sum_)
    old, new = PrintedSpan.of(before), PrintedSpan.of(row.produced)
    span = PrintedSpan((new.low / old.high - 1) * 100, (new.high / old.low - 1) * 100)
    holds = span.meets(PrintedSpan.of(row.change_pct))
    should = half_up(exact, places_of(row.change_pct))
    says = f"{sum_}, printed {row.change_pct:+} %" + ("" if holds else f": it should print {should:+} %")
    return RelationCheck(row.month, "change", holds, says)


def quarter(name: str, printed: Decimal, months: Sequence[Decimal]) -> RelationCheck:
    """Whether a quarter's figure is the sum of its months'."""
    exact = sum(months, Decimal(0))
    total = PrintedSpan(Decimal(0), Decimal(0))
    for one in months:
        total += PrintedSpan.of(one)
    sum_ = f"{' + '.join(f'{one:,}' for one in months)} = {exact:,}, printed {printed:,}"
    if exact == printed:
        return RelationCheck(name, "quarter", True, sum_)
    apart = f"{abs(exact - printed):,} apart"
    if total.meets(PrintedSpan.of(printed)):
        return RelationCheck(name, "quarter", True, f"{sum_}: {apart}, within rounding")
    return RelationCheck(name, "quarter", False, f"{sum_}: {apart}")
