"""The columns of the peers' dashboard: each a pure function of the book, one issuer and one month.

A cell says whether it was printed or computed, and how. A value that cannot be known is absent, never zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from tieline.disclosures.checks.balance import CAME, movement
from tieline.disclosures.comparison.derive import Term, computed, held_at, price_near, printed, produced_in
from tieline.disclosures.data import shipped_rows
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, figure_id, slack, total
from tieline.disclosures.facts.verdict import addends, millions, round_to, show
from tieline.economics import hashcost as hashcost_of
from tieline.units import Efficiency, EnergyPrice


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the table."""

    id: str
    """Permanent: `CANG.2026-01.operating_share`. Safe in a URL's fragment."""
    value: Decimal
    unit: str
    computed: str | None = None
    """How, for a computed value; None for a printed one."""
    claims: tuple[str, ...] = ()
    give_or_take: Decimal = Decimal(0)
    """How far a computed value may lie off by the rounding of what it was computed from, where that matters."""


def _over(
    one: str, other: str, formula: str, places: int, percent: bool = False
) -> Callable[[IssuerPeriod], Term | None]:
    """One printed figure of the month over another; `formula` shows both."""

    def ratio(at: IssuerPeriod) -> Term | None:
        if (pair := at.pair(one, other)) is None:
            return None
        share = pair[0].value / pair[1].value * (100 if percent else 1)
        return computed(formula.format(*pair), round_to(share, places), pair, " %" if percent else "")

    return ratio


def _implied(at: IssuerPeriod) -> Term | None:
    mined, per_ehs = produced_in(at), at.per_ehs
    if mined is None or not per_ehs:
        return None
    value = round_to(mined.value / Decimal(repr(per_ehs)), 2)
    formula = f"{mined} / {per_ehs:.4f} BTC of subsidy per EH/s"
    return computed(formula, value, mined.claims, " EH/s; fees not taken out")


def _chain_ratio(at: IssuerPeriod) -> Term | None:
    pair, per_ehs = at.pair("btc_produced", "avg_operating_ehs"), at.per_ehs
    if pair is None or not per_ehs:
        return None
    produced, average = pair
    value = round_to(produced.value / (average.value * Decimal(repr(per_ehs))), 4)
    return computed(f"{produced} / ({average} EH/s x {per_ehs:.4f} BTC per EH/s)", value, pair)


def _pledged(at: IssuerPeriod) -> Term | None:
    """Restricted, pledged or posted: printed; else the receivable for collateral over the day's price."""
    stated = at.at_end("restricted_or_pledged_btc") or at.at_end("btc_receivable_from_collateral")
    if stated is not None:
        return printed(stated)
    receivable, near = at.end.best("receivable_usd"), price_near(at.book, at.end.period)
    if receivable is not None and near is not None:
        value = round_to(receivable.value / near.usd_per_btc, 0)
        how = f"receivable {millions(receivable.value, 1)} / {near} = about {show(value)}"
        return Term(value, (receivable, *near.claims), how, slack(receivable) / near.usd_per_btc)
    loans = at.end.parts("loan_collateral_btc")
    return computed(f"{addends(loans)} pledged for loans", total(loans), loans) if loans else None


def _unencumbered(at: IssuerPeriod) -> Term | None:
    free = at.at_end("free_btc")
    if free is not None:
        return printed(free)
    held, pledged = held_at(at), _pledged(at)
    if held is None or pledged is None:
        return None
    value, of_pledged = held.value - pledged.value, ""
    if pledged.computed is not None:
        if value <= 2 * pledged.slack:
            return None  # the difference is inside the rounding of what was printed
        of_pledged = f" ({pledged.computed})"
    return computed(f"{held} held - {pledged} pledged", value, held.claims + pledged.claims, of_pledged)


def _sold_share(at: IssuerPeriod) -> Term | None:
    sold, mined = at.best("btc_sold"), produced_in(at)
    if sold is None or mined is None or mined.value <= 0:
        return printed(at.best("sold_share_pct"))
    return computed(f"{sold} / {mined}", round_to(sold.value / mined.value * 100, 1), (sold, *mined.claims), " %")


def _implied_out(at: IssuerPeriod) -> Term | None:
    if (moved := movement(at)) is None:
        return None
    signs = (f" {'-' if one.value < 0 else '+'} {show(abs(one.value))} {CAME[one.fact.field]}" for one in moved.came)
    formula = f"{moved.opening} + {moved.produced}{''.join(signs)} - {moved.closing}"
    return computed(formula, moved.implied_out, (moved.opening, *moved.produced.claims, moved.closing, *moved.came))


def _unexplained(at: IssuerPeriod) -> Term | None:
    moved = movement(at)
    if moved is None or moved.unexplained is None or moved.told_out is None:
        return None
    formula = f"{show(moved.implied_out)} left the balance - {show(moved.told_out)} printed or announced"
    return computed(formula, moved.unexplained, (*moved.printed, *moved.announced))


def _hashcost(at: IssuerPeriod) -> Term | None:
    """USD per PH/s and day: power price x efficiency; else electricity per bitcoin over the hashrate-days."""
    price, efficiency = at.best("power_cost_usd_per_kwh"), at.best("efficiency_j_th")
    if price is not None and efficiency is not None:
        usd = hashcost_of(EnergyPrice.usd_per_kwh(float(price.value)), Efficiency.j_per_th(float(efficiency.value)))
        value = round_to(Decimal(repr(usd)), 2)
        how = f"US${price}/kWh x {efficiency} J/TH x 24 = US${show(value)} of power"
        return Term(value, (price, efficiency), how)
    costs = (
        ("of power", at.best("energy_cost_usd_per_btc")),
        ("of cash cost", at.best("cash_cost_usd_per_btc")),
        (f"of cash cost of {at.quarter.period}", at.quarter.best("cash_cost_usd_per_btc")),
    )
    words, cost = next(((words, claim) for words, claim in costs if claim is not None), ("", None))
    pair = at.pair("btc_produced", "avg_operating_ehs")
    if pair is None or cost is None:
        return None
    (produced, average), days = pair, periods.days(at.period)
    value = round_to(cost.value * produced.value / (average.value * 1000 * days), 2)
    how = f"US${cost} {words} x {produced} BTC / ({average} EH/s x 1,000 x {days} days) = US${show(value)}"
    return Term(value, (cost, *pair), how)


def _debts(at: IssuerPeriod) -> list[Claim]:
    """Loans backed by coins where their balance is printed; else all debt of the balance sheet."""
    loans = at.end.parts("loan_balance_usd") or at.end.printed("loan_balance_usd")
    return loans or at.end.printed("short_term_debt_usd", "long_term_debt_usd")


def _debt(at: IssuerPeriod) -> Term | None:
    debts = _debts(at)
    if not debts:
        return None
    words = "loans backed by coins" if debts[0].fact.field == "loan_balance_usd" else "debt of the balance sheet"
    return Term(total(debts), tuple(debts), f"{addends(debts)} {words} = US${show(total(debts))}")


def _security(at: IssuerPeriod, debts: int) -> Term | None:
    """What secures debts: a receivable for collateral, the stated value of each, or coins at the day's price."""
    receivable = at.end.best("receivable_usd")
    stated, coins = at.end.parts("loan_collateral_usd"), at.end.parts("loan_collateral_btc")
    if receivable is not None and receivable.value > 0:
        return Term(receivable.value, (receivable,), f"receivable {millions(receivable.value, 1)}")
    if len(stated) == debts:
        return Term(total(stated), tuple(stated), f"collateral stated at {millions(total(stated), 1)}")
    if len(coins) == debts and (near := price_near(at.book, at.end.period)) is not None:
        worth = total(coins) * near.usd_per_btc
        return Term(worth, (*coins, *near.claims), f"{show(total(coins))} BTC x {near}")
    return None


def _ltv(at: IssuerPeriod) -> Term | None:
    debts = _debts(at)
    secured = _security(at, len(debts)) if debts else None
    if secured is None or secured.value <= 0:
        return None
    value = round_to(total(debts) / secured.value * 100, 1)
    return computed(f"{millions(total(debts), 1)} / {secured.computed}", value, (*debts, *secured.claims), " %")


def _as_printed(field: str, *, or_quarter: bool = False) -> Callable[[IssuerPeriod], Term | None]:
    """The month's; else, where asked for, its quarter's."""
    return lambda at: printed(at.best(field) or (at.quarter.best(field) if or_quarter else None))


def _price_over(hashrate: str) -> Callable[[IssuerPeriod], Term | None]:
    """What the market pays for a PH/s: the market value at the month's end over a hashrate."""

    def price(at: IssuerPeriod) -> Term | None:
        value, rate = at.end.best("market_cap_usd"), at.best(hashrate)
        if value is None or rate is None or rate.value <= 0:
            return None
        per = round_to(value.value / (rate.value * 1000), 0)
        return Term(per, (value, rate), f"{millions(value.value, 1)} / ({rate} EH/s x 1,000) = US${show(per)}")

    return price


def _ai_contracts(at: IssuerPeriod) -> Term | None:
    """Critical IT load under AI hosting contracts signed by the month's end: the newest of each tenant, summed."""
    signed = [day for day in at.book.periods(at.issuer) if periods.is_date(day) and day <= at.end.period]
    newest = {claim.fact.scope: claim for day in signed for claim in at.at(day).parts("ai_contract_mw")}
    return computed(f"{addends(newest.values())} MW", total(newest.values()), newest.values()) if newest else None


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    meaning: str
    of: Callable[[IssuerPeriod], Term | None]
    figure: str = ""
    """What a computed value is called in its permanent name."""
    coarse: bool = False
    """Computed from money, so that its rounding matters to what is computed from it."""

    def cell(self, at: IssuerPeriod) -> Cell | None:
        term = self.of(at)
        if term is None:
            return None
        if term.computed is None:
            (claim,) = term.claims
            return Cell(id=claim.figure, value=claim.value, unit=claim.fact.unit, claims=(claim.id,))
        return Cell(
            id=figure_id(at.issuer, at.period, self.figure), value=term.value, unit=self.unit, computed=term.computed,
            claims=tuple(dict.fromkeys(claim.id for claim in term.claims)),
            give_or_take=term.slack if self.coarse else Decimal(0),
        )  # fmt: skip


_COMPUTED: dict[str, Callable[[IssuerPeriod], Term | None]] = {
    "produced": produced_in,
    "per_ehs": _over("btc_produced", "avg_operating_ehs", "{} / {} EH/s average operating", 3),
    "operating_share": _over("avg_operating_ehs", "deployed_ehs", "{} / {} EH/s", 1, percent=True),
    "implied_realised": _implied,
    "chain_ratio": _chain_ratio,
    "held": held_at,
    "pledged": _pledged,
    "unencumbered": _unencumbered,
    "sold_share": _sold_share,
    "implied_outflow": _implied_out,
    "unexplained_outflow": _unexplained,
    "hashcost": _hashcost,
    "price_to_hashrate": _price_over("deployed_ehs"),
    "price_to_hash": _price_over("avg_operating_ehs"),
    "ai_contracts": _ai_contracts,
    "debt": _debt,
    "ltv": _ltv,
}
"""How each computed column is got; the others are as printed."""


def _column(row: dict[str, str]) -> Column:
    of = _COMPUTED.get(row["column"]) or _as_printed(row["printed"], or_quarter=row["of"] == "quarter")
    return Column(row["column"], row["unit"], row["meaning"], of, row["figure"], "coarse" in row["marks"])


COLUMNS = tuple(map(_column, shipped_rows("columns.csv")))
