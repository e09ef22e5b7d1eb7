"""Checks of money against coins: proceeds, collateral, holdings in their parts, loans."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

from tieline.disclosures.comparison.prices import price_near
from tieline.disclosures.facts import periods
from tieline.disclosures.facts.book import ClaimBook
from tieline.disclosures.facts.claims import Claim, slack
from tieline.disclosures.facts.verdict import Outcome, Verdict, round_to, show, verdict

# A price this far from the nearest one printed is not a price of the same weeks.
_FAR = Decimal("0.35")
_ZERO = Decimal(0)


def proceeds(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Coins sold x printed price = printed proceeds; without a price, the implied one against the nearest."""
    sold = book.best(issuer, period, "btc_sold") or book.best(issuer, period, "btc_announced_sale")
    if sold is None or sold.value <= 0:
        return
    price = book.best(issuer, period, "avg_sale_price_usd")
    seen: set[Decimal] = set()
    for claim in book.claims(issuer, period, "sale_proceeds_usd"):
        if claim.value in seen:
            continue
        seen.add(claim.value)
        implied = claim.value / sold.value
        if price is None:
            yield from _implied_price(book, claim, sold, implied)
            continue
        product = sold.value * price.value
        residual = claim.value - product
        tolerance = slack(claim) + sold.value * slack(price) + price.value * slack(sold)
        line = (
            f"{show(sold.value)} x {show(price.value)} = US${show(product / 1_000_000, 2)}m; "
            f"printed US${show(claim.value / 1_000_000)}m = US${show(implied, 0)} per BTC"
        )
        used = [claim, sold, price]
        outcome: Outcome
        if abs(residual) <= slack(claim):
            outcome, says = "holds", "The proceeds are coins times price."
        elif abs(residual) <= tolerance:
            outcome, says = "rounding", "The proceeds are coins times price within the rounding of both."
        else:
            outcome, says = "differs", "The proceeds are not coins times price."
        yield verdict("proceeds", used, outcome, line, says, residual, apart=claim.mark)


def _implied_price(book: ClaimBook, claim: Claim, sold: Claim, implied: Decimal) -> Iterator[Verdict]:
    issuer, period = claim.fact.issuer or "unknown", claim.fact.period
    line = f"US${show(claim.value / 1_000_000)}m / {show(sold.value)} BTC = US${show(implied, 0)} per BTC"
    near = price_near(book, period)
    used = [claim, sold]
    if near is None or set(near.claims) & set(used):
        says = "No price was printed for the month: this is what the proceeds imply."
        yield verdict("proceeds", used, "open", line, says, apart=claim.mark)
        return
    used.extend(near.claims)
    expected = sold.value * near.usd_per_btc
    line += (
        f"; at US${show(near.usd_per_btc, 0)} ({near.how}) the coins are worth "
        f"about US${show(expected / 1_000_000, 0)}m"
    )
    if abs(implied / near.usd_per_btc - 1) <= _FAR:
        says = "The implied price is near the one printed around that time."
        yield verdict("proceeds", used, "holds", line, says, claim.value - expected, apart=claim.mark)
        return
    raised = book.scopes(issuer, periods.quarter_of(period[:7]), "equity_raised_usd")
    total = sum((part.value for part in raised.values()), _ZERO)
    if raised and abs(total - claim.value) <= slack(claim):
        used.extend(raised.values())
        parts = " + ".join(f"{show(part.value / 1_000_000)}m" for part in raised.values())
        line += f"; equity {parts} = US${show(total / 1_000_000)}m"
        says = "The amount is the equity raised in the same quarter, not the proceeds of the sale."
        yield verdict("proceeds", used, "explained", line, says, claim.value - expected, apart=claim.mark)
        return
    says = "The amount cannot be the proceeds of these coins at the prices of the time."
    yield verdict("proceeds", used, "differs", line, says, claim.value - expected, apart=claim.mark)


def held(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Held = on the balance sheet + posted as collateral, or free + restricted + lent; parts never above it."""
    if not (periods.is_month(period) or period == periods.last_day(period)):
        return
    # A month's own holding first: the parts at its last day are parts of it.
    whole = book.best(issuer, period[:7], "btc_held_end") or book.best(issuer, period, "btc_held_end")
    if whole is None:
        return
    on_books = ("btc_on_balance", "btc_receivable_from_collateral")
    split = ("free_btc", "restricted_or_pledged_btc", "lent_btc")
    printed = {name: book.best(issuer, period, name) for name in (*on_books, *split)}
    names = on_books if printed["btc_on_balance"] is not None else split
    parts = [claim for name in names if (claim := printed[name]) is not None]
    complete = len(parts) == len(on_books) if names is on_books else printed["free_btc"] is not None
    stated = None
    if parts:
        stated = _whole(whole, parts, period) if complete else _free(whole, parts, period, names is split)
    if stated is not None:
        yield stated


def _whole(whole: Claim, parts: list[Claim], period: str) -> Verdict:
    """All parts are printed: they are the whole, or they are not."""
    summed = sum((claim.value for claim in parts), _ZERO)
    residual = whole.value - summed
    sums = " + ".join(show(claim.value) for claim in parts)
    line = f"{sums} = {show(summed)}; held printed {show(whole.value)}; residual {show(residual)}"
    if abs(residual) <= slack(whole) + sum((slack(claim) for claim in parts), _ZERO):
        says = "The figure called held includes the coins posted as collateral."
        return verdict("held", [whole, *parts], "holds", line, says, residual, period=period)
    says = "The parts are not the whole: a part is missing, or the figure called held counts otherwise."
    return verdict("held", [whole, *parts], "differs", line, says, residual, period=period)


def _free(whole: Claim, parts: list[Claim], period: str, pledged: bool) -> Verdict | None:
    """Some parts are printed: what they leave is free, and cannot be negative."""
    summed = sum((claim.value for claim in parts), _ZERO)
    residual = whole.value - summed
    line = f"{show(whole.value)} held - {' + '.join(show(claim.value) for claim in parts)} = {show(residual)} free"
    if residual < 0:
        says = "More coins are pledged or restricted than are held."
        return verdict("held", [whole, *parts], "differs", line, says, residual, period=period)
    says = f"{show(summed / whole.value * 100, 1)} % of the holding is restricted, pledged or lent."
    return verdict("held", [whole, *parts], "holds", line, says, residual, period=period) if pledged else None


def collateral(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """A receivable for coins posted, turned into coins at the price of the day, against coins held."""
    if not periods.is_date(period):
        return
    whole = book.best(issuer, period[:7], "btc_held_end") or book.best(issuer, period, "btc_held_end")
    near = price_near(book, period)
    if whole is None or near is None or whole.value <= 0:
        return
    price = f"US${show(near.usd_per_btc, 0)} ({near.how})"
    receivable = book.best(issuer, period, "receivable_usd")
    if receivable is not None:
        coins = receivable.value / near.usd_per_btc
        share = coins / whole.value * 100
        line = (
            f"US${show(receivable.value / 1_000_000, 1)}m / {price} = {show(coins, 0)} BTC "
            f"= {show(share, 1)} % of {show(whole.value)} held"
        )
        used = [receivable, whole, *near.claims]
        if share > 110:
            says = "More is posted than is held, or the price is too far from the day's."
            yield verdict("collateral", used, "differs", line, says, period=period)
        else:
            says = (
                "Nearly every coin called held was posted with a lender."
                if share >= 95
                else f"About {show(share, 0)} % of the coins called held was posted with a lender."
            )
            yield verdict("collateral", used, "holds", line, says, period=period)
    line_item = book.best(issuer, period, "cryptocurrencies_usd")
    if line_item is not None:
        worth = whole.value * near.usd_per_btc
        share = line_item.value / worth * 100
        line = (
            f"{show(whole.value)} BTC x {price} = about US${show(worth / 1_000_000, 0)}m; the line cryptocurrencies "
            f"prints US${show(line_item.value / 1_000_000)}m = {show(share, 0)} %"
        )
        used = [line_item, whole, *near.claims]
        if share >= 90:
            yield verdict("collateral", used, "holds", line, "The coins are on the line.", period=period, apart="line")
        else:
            says = (
                "Most coins sit on another balance-sheet line, the receivable for collateral: "
                "two lines make one holding."
            )
            yield verdict("collateral", used, "explained", line, says, period=period, apart="line")


def loan(book: ClaimBook, issuer: str, period: str) -> Iterator[Verdict]:
    """Loan to value from balance, coins and the disclosed price or value."""
    for lender, balance in book.scopes(issuer, period, "loan_balance_usd").items():
        coins = book.best(issuer, period, "loan_collateral_btc", lender)
        value = book.best(issuer, period, "loan_collateral_usd", lender)
        initial = book.best(issuer, period, "loan_ltv_initial", lender)
        trigger = book.best(issuer, period, "loan_trigger_price_usd", lender)
        amount = f"US${show(balance.value / 1_000_000)}m"
        apart = balance.figure.rsplit(".", 1)[-1]
        if value is not None and initial is not None and value.value > 0:
            exact = balance.value / value.value
            line = f"{amount} / US${show(value.value / 1_000_000)}m = {show(exact, 3)}; printed {show(initial.value)}"
            off = initial.value - exact
            tolerance = slack(initial) + exact * (slack(balance) / balance.value + slack(value) / value.value)
            outcome: Outcome = "holds"
            says = "The printed loan to value is the loan over its collateral."
            if round_to(exact, 2) != round_to(initial.value, 2):
                outcome, says = "differs", "The printed loan to value is not the loan over the stated collateral."
                if abs(off) <= tolerance:
                    outcome, says = "rounding", "It fits within the rounding of the stated amounts."
            yield verdict("loan", [balance, value, initial], outcome, line, says, off, apart=apart)
        if coins is not None and trigger is not None and coins.value > 0:
            exact = balance.value / (coins.value * trigger.value)
            line = (
                f"{amount} / ({show(coins.value)} BTC x US${show(trigger.value)}) = {show(exact * 100, 1)} % "
                "loan to value at the disclosed trigger price"
            )
            says = "What the loan to value is when the disclosed price is reached."
            yield verdict("loan", [balance, coins, trigger], "holds", line, says, apart=f"{apart}.trigger")
