"""The columns of the peers' dashboard: each a pure function of the book, one issuer and one month.

A cell says whether it was printed or computed, and how. A value that cannot be known is absent, never zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from tieline.disclosures.checks.balance import movement
from tieline.disclosures.comparison import derive
from tieline.disclosures.comparison.chain import Chain
from tieline.disclosures.comparison.derive import Term
from tieline.disclosures.comparison.prices import price_near
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, figure_id, slack
from tieline.disclosures.facts.verdict import round_to, show
from tieline.economics import hashcost as hashcost_of
from tieline.units import Efficiency, EnergyPrice

_ZERO = Decimal(0)


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of the table."""

    id: str
    """Permanent: `CANG.2026-01.operating_share`. Safe in a URL's fragment."""
    value: Decimal
    unit: str
    computed: str | None = None
    """How, for a computed value; None for a printed one."""
    claims: tuple[str, ...] = ()
    give_or_take: Decimal = _ZERO
    """How far a computed value may lie off by the rounding of what it was computed from, where that matters."""


@dataclass(frozen=True)
class At:
    """Where a column is asked."""

    book: ClaimBook
    chain: Chain
    issuer: str
    month: str

    def best(self, field: str) -> Claim | None:
        return self.book.best(self.issuer, self.month, field)

    def at_end(self, field: str) -> Claim | None:
        return self.book.at_end(self.issuer, self.month, field)

    def printed(self, claim: Claim | None) -> Cell | None:
        if claim is None:
            return None
        return Cell(id=claim.figure, value=claim.value, unit=claim.fact.unit, claims=(claim.id,))

    def term(self, name: str, unit: str, term: Term | None) -> Cell | None:
        if term is None:
            return None
        if term.computed is None:
            return self.printed(term.claims[0])
        return self.computed(name, unit, term.value, term.computed, *term.claims)

    def computed(self, name: str, unit: str, value: Decimal, how: str, *used: Claim) -> Cell:
        ids = tuple(dict.fromkeys(claim.id for claim in used))
        return Cell(id=figure_id(self.issuer, self.month, name), value=value, unit=unit, computed=how, claims=ids)


def _produced(at: At) -> Cell | None:
    return at.term("btc_produced", "BTC", derive.produced(at.book, at.issuer, at.month))


def _per_ehs(at: At) -> Cell | None:
    produced, average = at.best("btc_produced"), at.best("avg_operating_ehs")
    if produced is None or average is None or average.value <= 0:
        return None
    value = round_to(produced.value / average.value, 3)
    how = f"{show(produced.value)} / {show(average.value)} EH/s average operating = {show(value)}"
    return at.computed("btc_per_ehs", "BTC/(EH/s)", value, how, produced, average)


def _operating_share(at: At) -> Cell | None:
    average, deployed = at.best("avg_operating_ehs"), at.best("deployed_ehs")
    if average is None or deployed is None or deployed.value <= 0:
        return None
    value = round_to(average.value / deployed.value * 100, 1)
    how = f"{show(average.value)} / {show(deployed.value)} EH/s = {show(value)} %"
    return at.computed("operating_share_pct", "%", value, how, average, deployed)


def _implied(at: At) -> Cell | None:
    term = derive.produced(at.book, at.issuer, at.month)
    per_ehs = at.chain.in_period(at.month)
    if term is None or not per_ehs:
        return None
    value = round_to(term.value / Decimal(repr(per_ehs)), 2)
    how = f"{show(term.value)} / {per_ehs:.4f} BTC of subsidy per EH/s = {show(value)} EH/s; fees not taken out"
    return at.computed("implied_realised_ehs", "EH/s", value, how, *term.claims)


def _chain_ratio(at: At) -> Cell | None:
    produced, average = at.best("btc_produced"), at.best("avg_operating_ehs")
    per_ehs = at.chain.in_period(at.month)
    if produced is None or average is None or average.value <= 0 or not per_ehs:
        return None
    value = round_to(produced.value / (average.value * Decimal(repr(per_ehs))), 4)
    how = f"{show(produced.value)} / ({show(average.value)} EH/s x {per_ehs:.4f} BTC per EH/s) = {show(value)}"
    return at.computed("chain_ratio", "ratio", value, how, produced, average)


def _held(at: At) -> Cell | None:
    return at.term("btc_held_end", "BTC", derive.held(at.book, at.issuer, at.month))


def _pledged(at: At) -> Cell | None:
    """Restricted, pledged or posted: printed; else the receivable for collateral over the day's price."""
    printed = at.at_end("restricted_or_pledged_btc") or at.at_end("btc_receivable_from_collateral")
    if printed is not None:
        return at.printed(printed)
    receivable = at.book.best(at.issuer, periods.last_day(at.month), "receivable_usd")
    near = price_near(at.book, periods.last_day(at.month))
    if receivable is not None and near is not None:
        value = round_to(receivable.value / near.usd_per_btc, 0)
        how = (
            f"receivable US${show(receivable.value / 1_000_000, 1)}m / US${show(near.usd_per_btc, 0)} "
            f"({near.how}) = about {show(value)}"
        )
        cell = at.computed("pledged_btc", "BTC", value, how, receivable, *near.claims)
        return msgspec.structs.replace(cell, give_or_take=slack(receivable) / near.usd_per_btc)
    loans = at.book.scopes(at.issuer, periods.last_day(at.month), "loan_collateral_btc")
    if loans:
        value = sum((claim.value for claim in loans.values()), _ZERO)
        how = f"{' + '.join(show(claim.value) for claim in loans.values())} pledged for loans = {show(value)}"
        return at.computed("pledged_btc", "BTC", value, how, *loans.values())
    return None


def _unencumbered(at: At) -> Cell | None:
    free = at.at_end("free_btc")
    if free is not None:
        return at.printed(free)
    held, pledged = _held(at), _pledged(at)
    if held is None or pledged is None:
        return None
    value = held.value - pledged.value
    if pledged.computed is not None and value <= 2 * pledged.give_or_take:
        return None  # the difference is inside the rounding of what was printed
    how = f"{show(held.value)} held - {show(pledged.value)} pledged = {show(value)}"
    if pledged.computed is not None:
        how += f" ({pledged.computed})"
    return Cell(
        id=figure_id(at.issuer, at.month, "unencumbered_btc"),
        value=value,
        unit="BTC",
        computed=how,
        claims=tuple(dict.fromkeys(held.claims + pledged.claims)),
    )


def _sold(at: At) -> Cell | None:
    return at.printed(at.best("btc_sold"))


def _sold_share(at: At) -> Cell | None:
    sold, term = at.best("btc_sold"), derive.produced(at.book, at.issuer, at.month)
    if sold is not None and term is not None and term.value > 0:
        value = round_to(sold.value / term.value * 100, 1)
        how = f"{show(sold.value)} / {show(term.value)} = {show(value)} %"
        return at.computed("sold_of_produced_pct", "%", value, how, sold, *term.claims)
    return at.printed(at.best("sold_share_pct"))


def _implied_out(at: At) -> Cell | None:
    moved = movement(at.book, at.issuer, at.month)
    if moved is None:
        return None
    bought = "" if moved.bought is None else f" + {show(moved.bought.value)} bought"
    value = moved.implied_out
    how = (
        f"{show(moved.opening.value)} + {show(moved.produced.value)}{bought} - {show(moved.closing.value)} "
        f"= {show(value)}"
    )
    used = (moved.opening, *moved.produced.claims, moved.closing, *((moved.bought,) if moved.bought else ()))
    return at.computed("implied_outflow_btc", "BTC", value, how, *used)


def _unexplained(at: At) -> Cell | None:
    moved = movement(at.book, at.issuer, at.month)
    if moved is None or moved.unexplained is None or moved.told_out is None:
        return None
    sold_out = moved.told_out
    value = moved.unexplained
    how = f"{show(moved.implied_out)} left the balance - {show(sold_out)} printed or announced = {show(value)}"
    return at.computed("unexplained_outflow_btc", "BTC", value, how, *moved.printed, *moved.announced)


def _hashcost(at: At) -> Cell | None:
    """USD per PH/s and day: power price x efficiency; else electricity per bitcoin over the hashrate-days."""
    price, efficiency = at.best("power_cost_usd_per_kwh"), at.best("efficiency_j_th")
    if price is not None and efficiency is not None:
        usd = hashcost_of(EnergyPrice.usd_per_kwh(float(price.value)), Efficiency.j_per_th(float(efficiency.value)))
        value = round_to(Decimal(repr(usd)), 2)
        how = f"US${show(price.value)}/kWh x {show(efficiency.value)} J/TH x 24 = US${show(value)} of power"
        return at.computed("hashcost_usd_per_ph_day", "USD/(PH/s)/day", value, how, price, efficiency)
    produced, average = at.best("btc_produced"), at.best("avg_operating_ehs")
    if produced is None or average is None or average.value <= 0:
        return None
    quarter = periods.quarter_of(at.month)
    for field, words, claim in (
        ("energy_cost_usd_per_btc", "of power", at.best("energy_cost_usd_per_btc")),
        ("cash_cost_usd_per_btc", "of cash cost", at.best("cash_cost_usd_per_btc")),
        (
            "cash_cost_usd_per_btc",
            f"of cash cost of {quarter}",
            at.book.best(at.issuer, quarter, "cash_cost_usd_per_btc"),
        ),
    ):
        if claim is None:
            continue
        assert claim.fact.field == field
        days = periods.days(at.month)
        value = round_to(claim.value * produced.value / (average.value * 1000 * days), 2)
        how = (
            f"US${show(claim.value)} {words} x {show(produced.value)} BTC / ({show(average.value)} EH/s x 1,000 x "
            f"{days} days) = US${show(value)}"
        )
        return at.computed("hashcost_usd_per_ph_day", "USD/(PH/s)/day", value, how, claim, produced, average)
    return None


def _debts(at: At) -> list[Claim]:
    """Loans backed by coins where their balance is printed; else all debt of the balance sheet."""
    day = periods.last_day(at.month)
    loans = list(at.book.scopes(at.issuer, day, "loan_balance_usd").values())
    if not loans and (whole := at.book.best(at.issuer, day, "loan_balance_usd")) is not None:
        loans = [whole]
    if loans:
        return loans
    names = ("short_term_debt_usd", "long_term_debt_usd")
    return [claim for name in names if (claim := at.book.best(at.issuer, day, name)) is not None]


def _debt(at: At) -> Cell | None:
    debts = _debts(at)
    if not debts:
        return None
    value = sum((claim.value for claim in debts), _ZERO)
    words = "loans backed by coins" if debts[0].fact.field == "loan_balance_usd" else "debt of the balance sheet"
    how = f"{' + '.join(show(claim.value) for claim in debts)} {words} = US${show(value)}"
    return at.computed("debt_usd", "USD", value, how, *debts)


def _ltv(at: At) -> Cell | None:
    """Debt over what secures it: a receivable for collateral, the stated value, or coins at the day's price."""
    debts, day = _debts(at), periods.last_day(at.month)
    if not debts:
        return None
    debt = sum((claim.value for claim in debts), _ZERO)
    receivable = at.book.best(at.issuer, day, "receivable_usd")
    stated = list(at.book.scopes(at.issuer, day, "loan_collateral_usd").values())
    coins = list(at.book.scopes(at.issuer, day, "loan_collateral_btc").values())
    if receivable is not None and receivable.value > 0:
        secured, used = receivable.value, [receivable]
        words = f"receivable US${show(secured / 1_000_000, 1)}m"
    elif stated and len(stated) == len(debts):
        secured, used = sum((claim.value for claim in stated), _ZERO), stated
        words = f"collateral stated at US${show(secured / 1_000_000, 1)}m"
    elif coins and len(coins) == len(debts) and (near := price_near(at.book, day)) is not None:
        pledged = sum((claim.value for claim in coins), _ZERO)
        secured, used = pledged * near.usd_per_btc, [*coins, *near.claims]
        words = f"{show(pledged)} BTC x US${show(near.usd_per_btc, 0)} ({near.how})"
    else:
        return None
    if secured <= 0:
        return None
    value = round_to(debt / secured * 100, 1)
    how = f"US${show(debt / 1_000_000, 1)}m / {words} = {show(value)} %"
    return at.computed("ltv_pct", "%", value, how, *debts, *used)


def _cost(at: At, field: str) -> Claim | None:
    """The month's, else its quarter's."""
    return at.best(field) or at.book.best(at.issuer, periods.quarter_of(at.month), field)


def _price_to_hashrate(at: At) -> Cell | None:
    """What the market pays for a PH/s: the market value at the month's end over what is deployed."""
    return _price_of(at, "deployed_ehs", "price_to_hashrate_usd_per_phs")


def _price_to_hash(at: At) -> Cell | None:
    """What the market pays for a PH/s that runs: the market value over the hashrate that operated on average."""
    return _price_of(at, "avg_operating_ehs", "price_to_hash_usd_per_phs")


def _price_of(at: At, hashrate: str, name: str) -> Cell | None:
    value, rate = at.book.best(at.issuer, periods.last_day(at.month), "market_cap_usd"), at.best(hashrate)
    if value is None or rate is None or rate.value <= 0:
        return None
    per = round_to(value.value / (rate.value * 1000), 0)
    how = f"US${show(value.value / 1_000_000, 1)}m / ({show(rate.value)} EH/s x 1,000) = US${show(per)}"
    return at.computed(name, "USD/(PH/s)", per, how, value, rate)


def _ai_contracts(at: At) -> Cell | None:
    """Critical IT load under AI hosting contracts signed by the month's end: the newest of each tenant, summed."""
    end = periods.last_day(at.month)
    newest: dict[str, Claim] = {}
    for day in at.book.periods(at.issuer):
        if periods.is_date(day) and day <= end:
            newest.update(at.book.scopes(at.issuer, day, "ai_contract_mw"))
    signed = list(newest.values())
    if not signed:
        return None
    value = sum((claim.value for claim in signed), _ZERO)
    how = f"{' + '.join(show(claim.value) for claim in signed)} MW = {show(value)}"
    return at.computed("ai_contracts_mw", "MW", value, how, *signed)


@dataclass(frozen=True)
class Column:
    name: str
    unit: str
    meaning: str
    of: Callable[[At], Cell | None]


COLUMNS: tuple[Column, ...] = (
    Column("produced", "BTC", "mined in the month", _produced),
    Column("per_ehs", "BTC/(EH/s)", "produced / average operating hashrate", _per_ehs),
    Column("deployed", "EH/s", "rated at month end", lambda at: at.printed(at.best("deployed_ehs"))),
    Column("operating", "EH/s", "average over the month", lambda at: at.printed(at.best("avg_operating_ehs"))),
    Column("operating_share", "%", "average operating / deployed", _operating_share),
    Column("implied_realised", "EH/s", "produced / subsidy that one EH/s earns", _implied),
    Column("chain_ratio", "ratio", "produced / (average operating x subsidy per EH/s)", _chain_ratio),
    Column("held", "BTC", "at month end, pledged coins usually included", _held),
    Column("pledged", "BTC", "restricted, pledged or posted, where disclosed", _pledged),
    Column("unencumbered", "BTC", "held - pledged, where both are known", _unencumbered),
    Column("sold", "BTC", "printed as sold in the month", _sold),
    Column("sold_share", "%", "sold / produced", _sold_share),
    Column("implied_outflow", "BTC", "opening + produced + bought - closing", _implied_out),
    Column("unexplained_outflow", "BTC", "implied outflow - what was printed or announced", _unexplained),
    Column("hashcost", "USD/(PH/s)/day", "cost per PH/s and day; the cell says of which costs", _hashcost),
    Column(
        "energy_cost", "USD/BTC", "of power, per bitcoin", lambda at: at.printed(_cost(at, "energy_cost_usd_per_btc"))
    ),
    Column("cash_cost", "USD/BTC", "cash cost per bitcoin", lambda at: at.printed(_cost(at, "cash_cost_usd_per_btc"))),
    Column("all_in_cost", "USD/BTC", "with depreciation", lambda at: at.printed(_cost(at, "all_in_cost_usd_per_btc"))),
    Column("capex", "USD", "spent on machines and sites", lambda at: at.printed(_cost(at, "capex_usd"))),
    Column("price_to_hashrate", "USD/(PH/s)", "market value / deployed hashrate", _price_to_hashrate),
    Column("price_to_hash", "USD/(PH/s)", "market value / average operating hashrate", _price_to_hash),
    Column("ai_contracts", "MW", "AI hosting contracted by the month's end", _ai_contracts),
    Column("debt", "USD", "where a date at the month's end discloses it", _debt),
    Column("ltv", "%", "debt / what secures it", _ltv),
)
