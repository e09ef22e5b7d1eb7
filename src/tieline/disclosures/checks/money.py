"""Checks of money against coins: proceeds, collateral, holdings in their parts, loans."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.comparison.prices import Price, price_near
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import IssuerPeriod
from tieline.disclosures.facts.claims import Claim, distinct, slack, total
from tieline.disclosures.facts.verdict import Judged, Outcome, Verdict, addends, millions, round_to, show, verdict

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
        else:
            residual = claim.value - sold.value * price.value
            judged = _at_price(claim, sold, price, residual)
            yield verdict("proceeds", [claim, sold, price], *judged, residual, apart=claim.mark)


def _at_price(claim: Claim, sold: Claim, price: Claim, residual: Decimal) -> Judged:
    product, implied = sold.value * price.value, claim.value / sold.value
    line = (
        f"{show(sold.value)} x {show(price.value)} = {millions(product, 2)}; "
        f"printed {millions(claim.value)} = US${show(implied, 0)} per BTC"
    )
    if abs(residual) <= slack(claim):
        return "holds", line, "The proceeds are coins times price."
    if abs(residual) <= slack(claim) + sold.value * slack(price) + price.value * slack(sold):
        return "rounding", line, "The proceeds are coins times price within the rounding of both."
    return "differs", line, "The proceeds are not coins times price."


def _implied_price(here: IssuerPeriod, claim: Claim, sold: Claim) -> Verdict:
    implied, near, used = claim.value / sold.value, price_near(here.book, here.period), [claim, sold]
    line = f"{millions(claim.value)} / {show(sold.value)} BTC = US${show(implied, 0)} per BTC"
    if near is None or set(near.claims) & set(used):
        says = "No price of the month is in the book: this is what the proceeds imply."
        return verdict("proceeds", used, "open", line, says, apart=claim.mark)
    expected = sold.value * near.usd_per_btc
    line += f"; at {near} the coins are worth about {millions(expected, 0)}"
    used.extend(near.claims)
    outcome: Outcome = "differs"
    says = "The amount cannot be the proceeds of these coins at the prices of the time."
    raised = list(here.quarter.scopes("equity_raised_usd").values())
    if abs(implied / near.usd_per_btc - 1) <= _FAR:
        outcome, says = "holds", "The implied price is near the one printed around that time."
    elif raised and abs(total(raised) - claim.value) <= slack(claim):
        used.extend(raised)
        parts = " + ".join(f"{show(part.value / 1_000_000)}m" for part in raised)
        line += f"; equity {parts} = {millions(total(raised))}"
        outcome = "explained"
        says = "The amount is the equity raised in the same quarter, not the proceeds of the sale."
    return verdict("proceeds", used, outcome, line, says, claim.value - expected, apart=claim.mark)


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
    judged = (_whole if complete else _free)(whole, parts, residual)
    yield verdict("held", [whole, *parts], *judged, residual, period=here.period)


def _whole(whole: Claim, parts: list[Claim], residual: Decimal) -> Judged:
    """All parts are printed: they are the whole, or they are not."""
    line = f"{addends(parts)} = {show(total(parts))}; held printed {show(whole.value)}; residual {show(residual)}"
    if abs(residual) <= slack(whole, *parts):
        return "holds", line, "The figure called held includes the coins posted as collateral."
    says = "The parts are not the whole: a part is missing, or the figure called held counts otherwise."
    return "differs", line, says


def _free(whole: Claim, parts: list[Claim], residual: Decimal) -> Judged:
    """Some parts are printed: what they leave is free, and cannot be negative."""
    line = f"{show(whole.value)} held - {addends(parts)} = {show(residual)} free"
    if residual < 0:
        return "differs", line, "More coins are pledged or restricted than are held."
    share = total(parts) / whole.value * 100
    return "holds", line, f"{show(share, 1)} % of the holding is restricted, pledged or lent."


def collateral(here: IssuerPeriod) -> Iterator[Verdict]:
    """A receivable for coins posted, turned into coins at the price of the day, against coins held."""
    if not periods.is_date(here.period):
        return
    whole, near = _holding(here), price_near(here.book, here.period)
    if whole is None or near is None or whole.value <= 0:
        return
    if (receivable := here.best("receivable_usd")) is not None:
        judged = _posted(whole, receivable, near)
        yield verdict("collateral", [receivable, whole, *near.claims], *judged, period=here.period)
    if (line := here.best("cryptocurrencies_usd")) is not None:
        judged = _on_line(whole, line, near)
        yield verdict("collateral", [line, whole, *near.claims], *judged, period=here.period, apart="line")


def _posted(whole: Claim, receivable: Claim, near: Price) -> Judged:
    coins = receivable.value / near.usd_per_btc
    share = coins / whole.value * 100
    line = (
        f"{millions(receivable.value, 1)} / {near} = {show(coins, 0)} BTC "
        f"= {show(share, 1)} % of {show(whole.value)} held"
    )
    if share > 110:
        return "differs", line, "More is posted than is held, or the price is too far from the day's."
    if share >= 95:
        return "holds", line, "Nearly every coin called held was posted with a lender."
    return "holds", line, f"About {show(share, 0)} % of the coins called held was posted with a lender."


def _on_line(whole: Claim, printed: Claim, near: Price) -> Judged:
    worth = whole.value * near.usd_per_btc
    share = printed.value / worth * 100
    line = (
        f"{show(whole.value)} BTC x {near} = about {millions(worth, 0)}; the line cryptocurrencies "
        f"prints {millions(printed.value)} = {show(share, 0)} %"
    )
    if share >= 90:
        return "holds", line, "The coins are on the line."
    says = "Most coins sit on another balance-sheet line, the receivable for collateral: two lines make one holding."
    return "explained", line, says


def loan(here: IssuerPeriod) -> Iterator[Verdict]:
    """Loan to value from balance, coins and the disclosed price or value."""
    for lender, balance in here.scopes("loan_balance_usd").items():
        value, initial = here.best("loan_collateral_usd", lender), here.best("loan_ltv_initial", lender)
        coins, trigger = here.best("loan_collateral_btc", lender), here.best("loan_trigger_price_usd", lender)
        apart = balance.figure.rsplit(".", 1)[-1]
        if value is not None and initial is not None and value.value > 0:
            off = initial.value - balance.value / value.value
            used = [balance, value, initial]
            yield verdict("loan", used, *_initial_ltv(balance, value, initial), off, apart=apart)
        if coins is not None and trigger is not None and coins.value > 0:
            exact = balance.value / (coins.value * trigger.value)
            line = (
                f"{millions(balance.value)} / ({show(coins.value)} BTC x US${show(trigger.value)}) = "
                f"{show(exact * 100, 1)} % loan to value at the disclosed trigger price"
            )
            says = "What the loan to value is when the disclosed price is reached."
            yield verdict("loan", [balance, coins, trigger], "holds", line, says, apart=f"{apart}.trigger")


def _initial_ltv(balance: Claim, value: Claim, initial: Claim) -> Judged:
    exact = balance.value / value.value
    line = f"{millions(balance.value)} / {millions(value.value)} = {show(exact, 3)}; printed {show(initial.value)}"
    if round_to(exact, 2) == round_to(initial.value, 2):
        return "holds", line, "The printed loan to value is the loan over its collateral."
    tolerance = slack(initial) + exact * (slack(balance) / balance.value + slack(value) / value.value)
    if abs(initial.value - exact) <= tolerance:
        return "rounding", line, "It fits within the rounding of the stated amounts."
    return "differs", line, "The printed loan to value is not the loan over the stated collateral."
