"""Checks of money against coins: proceeds, collateral, holdings in their parts, loans."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.comparison.derive import price_near
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, distinct, slack, total
from tieline.disclosures.facts.verdict import Verdict, addends, grade, millions, round_to, show, verdict

# A price this far from the nearest one printed is not a price of the same weeks.
_FAR = Decimal("0.35")


def proceeds(here: IssuerPeriod) -> Iterator[Verdict]:
    """Coins sold x printed price = printed proceeds; without a price, the implied one against the nearest."""
    sold = here.best("btc_sold") or here.best("btc_announced_sale")
    if sold is None or sold.value <= 0:
        return
    price = here.best("avg_sale_price_usd")
    for claim in distinct(here.claims("sale_proceeds_usd")):
        if price is None:
            yield _implied_price(here, claim, sold)
            continue
        product, implied = sold.value * price.value, claim.value / sold.value
        residual = claim.value - product
        line = f"{sold} x {price} = {millions(product, 2)}; "
        line += f"printed {millions(claim.value)} = US${show(implied, 0)} per BTC"
        of_factors = sold.value * slack(price) + price.value * slack(sold)
        finding = "holds" if abs(residual) <= slack(claim) else grade(residual, slack(claim) + of_factors)
        yield verdict("proceeds", finding, [claim, sold, price], line, residual, apart=claim.mark)


def _implied_price(here: IssuerPeriod, claim: Claim, sold: Claim) -> Verdict:
    implied, near, used = claim.value / sold.value, price_near(here.book, here.period), [claim, sold]
    line = f"{millions(claim.value)} / {sold} BTC = US${show(implied, 0)} per BTC"
    if near is None or set(near.claims) & set(used):
        return verdict("proceeds", "open", used, line, apart=claim.mark)
    expected, finding = sold.value * near.usd_per_btc, "far"
    line += f"; at {near} the coins are worth about {millions(expected, 0)}"
    used.extend(near.claims)
    raised = here.quarter.parts("equity_raised_usd")
    if abs(implied / near.usd_per_btc - 1) <= _FAR:
        finding = "near"
    elif raised and abs(total(raised) - claim.value) <= slack(claim):
        finding = "equity"
        used.extend(raised)
        parts = " + ".join(f"{show(part.value / 1_000_000)}m" for part in raised)
        line += f"; equity {parts} = {millions(total(raised))}"
    return verdict("proceeds", finding, used, line, claim.value - expected, apart=claim.mark)


def _holding(here: IssuerPeriod) -> Claim | None:
    """A month's own holding first: the parts at its last day are parts of it."""
    return here.month.best("btc_held_end") or here.best("btc_held_end")


def held(here: IssuerPeriod) -> Iterator[Verdict]:
    """Held = on the balance sheet + posted as collateral, or free + restricted + lent; parts never above it."""
    if not (periods.is_month(here.period) or here.period == periods.last_day(here.period)):
        return
    whole = _holding(here)
    if whole is None:
        return
    on_books = here.best("btc_on_balance") is not None
    names = ("btc_on_balance", "btc_receivable_from_collateral")
    parts = here.printed(*names) if on_books else here.printed("free_btc", "restricted_or_pledged_btc", "lent_btc")
    complete = len(parts) == len(names) if on_books else here.best("free_btc") is not None
    if not parts or (on_books and not complete and whole.value >= total(parts)):
        return
    residual = whole.value - total(parts)
    if complete:
        finding = "holds" if abs(residual) <= slack(whole, *parts) else "differs"
        line = f"{addends(parts)} = {show(total(parts))}; held printed {whole}; residual {show(residual)}"
    else:
        # What some parts leave is free, and cannot be negative.
        finding = "overdrawn" if residual < 0 else "free"
        line = f"{whole} held - {addends(parts)} = {show(residual)} free"
    share = show(total(parts) / whole.value * 100, 1) if whole.value else "0"
    yield verdict("held", finding, [whole, *parts], line, residual, period=here.period, share=share)


def collateral(here: IssuerPeriod) -> Iterator[Verdict]:
    """A receivable for coins posted, turned into coins at the price of the day, against coins held; and the line that
    should hold the coins."""
    whole, near = _holding(here), price_near(here.book, here.period)
    if whole is None or near is None or whole.value <= 0:
        return
    if (receivable := here.best("receivable_usd")) is not None:
        coins = receivable.value / near.usd_per_btc
        share = coins / whole.value * 100
        line = f"{millions(receivable.value, 1)} / {near} = {show(coins, 0)} BTC = {show(share, 1)} % of {whole} held"
        finding, used = "all" if share >= 95 else "part", [receivable, whole, *near.claims]
        finding = "differs" if share > 110 else finding
        yield verdict("collateral", finding, used, line, period=here.period, share=show(share, 0))
    if (printed := here.best("cryptocurrencies_usd")) is not None:
        worth = whole.value * near.usd_per_btc
        share = printed.value / worth * 100
        line = f"{whole} BTC x {near} = about {millions(worth, 0)}; the line cryptocurrencies "
        line += f"prints {millions(printed.value)} = {show(share, 0)} %"
        finding, used = "on-line" if share >= 90 else "elsewhere", [printed, whole, *near.claims]
        yield verdict("collateral", finding, used, line, period=here.period, apart="line")


def loan(here: IssuerPeriod) -> Iterator[Verdict]:
    """Loan to value from balance, coins and the disclosed price or value."""
    for balance in here.parts("loan_balance_usd"):
        lender = balance.fact.scope
        value, initial = here.best("loan_collateral_usd", lender), here.best("loan_ltv_initial", lender)
        coins, trigger = here.best("loan_collateral_btc", lender), here.best("loan_trigger_price_usd", lender)
        apart = balance.figure.rsplit(".", 1)[-1]
        if value is not None and initial is not None and value.value > 0:
            exact = balance.value / value.value
            line = f"{millions(balance.value)} / {millions(value.value)} = {show(exact, 3)}; printed {initial}"
            off = initial.value - exact
            # Of a loan that was paid back nothing is divided by its balance.
            of_ratio = (slack(balance) + exact * slack(value)) / value.value
            alike = round_to(exact, 2) == round_to(initial.value, 2)
            finding = "holds" if alike else grade(off, slack(initial) + of_ratio)
            yield verdict("loan", finding, [balance, value, initial], line, off, apart=apart)
        if coins is not None and trigger is not None and coins.value * trigger.value > 0:
            exact = balance.value / (coins.value * trigger.value)
            line = f"{millions(balance.value)} / ({coins} BTC x US${trigger}) = {show(exact * 100, 1)} % loan to value "
            line += "at the disclosed trigger price"
            yield verdict("loan", "trigger", [balance, coins, trigger], line, apart=f"{apart}.trigger")
