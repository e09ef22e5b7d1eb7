"""Amounts and entries: what they may say, how they read, and the chain over them."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tieline.ledger import (
    BTC,
    COMMODITIES,
    USD,
    Account,
    Amount,
    Commodity,
    Entry,
    EntryError,
    Posting,
    btc,
    btc_of_sats,
    chain,
    check,
    declare,
    digest,
    mirrored,
    money,
    usd,
)

DAY = datetime(2026, 11, 1, tzinfo=UTC)


def test_an_amount_reads_as_it_is_counted() -> None:
    assert str(usd(42_100)) == "42,100.00 USD"
    assert str(btc_of_sats(42_100_000)) == "0.42100000 BTC"
    assert str(money(1_000, "JPY")) == "1,000 JPY"
    assert -usd("1.50") == Amount(Decimal("-1.50"), USD)
    assert btc_of_sats(1) == btc("0.00000001") == Amount(Decimal("1E-8"), BTC)


def test_money_is_rounded_half_to_even_to_what_is_counted_in() -> None:
    assert [usd(text).number for text in ("0.005", "0.015", "0.0151")] == [Decimal(n) for n in ("0.00", "0.02", "0.02")]
    assert money("1.5", "JPY") == Amount(Decimal(2), "JPY")
    assert money("2.0000005", "USDT") == Amount(Decimal("2.000000"), "USDT")
    assert money("1.005") == usd("1.005")
    assert money(3).commodity == USD


def test_what_cannot_be_counted_is_refused_by_name() -> None:
    with pytest.raises(EntryError, match=r"^commodity 'X' is not known; known: BTC, USD, EUR, "):
        money(1, "X")
    with pytest.raises(EntryError, match=r"^commodity 'X' is not known; known: BTC, USD, EUR, "):
        Amount(Decimal(1), "X")
    with pytest.raises(EntryError, match=r"^amount Infinity USD is not a number$"):
        usd("Infinity")
    with pytest.raises(EntryError, match=r"^amount NaN EUR is not a number$"):
        money("NaN", "EUR")
    with pytest.raises(EntryError, match=r"^amount -Infinity BTC is not a number$"):
        btc("-Infinity")
    with pytest.raises(EntryError, match=r"^0.001 USD has more than 2 decimals; round it first$"):
        Amount(Decimal("0.001"), USD)
    with pytest.raises(EntryError, match=r"more than 0 decimals"):
        Amount(Decimal("0.1"), "JPY")
    assert Amount(Decimal("0.01"), USD).number == Decimal("0.01")
    assert Amount(Decimal(10), "JPY").number == 10
    assert Amount(Decimal("1E+3"), USD).number == 1000


def test_bitcoin_alone_must_lie_in_lots_and_is_counted_in_satoshis() -> None:
    assert {name for name, one in COMMODITIES.items() if one.lots} == {BTC}
    assert COMMODITIES[BTC] == Commodity(BTC, 8, lots=True)
    assert (COMMODITIES["USD"].places, COMMODITIES["JPY"].places, COMMODITIES["USDC"].places) == (2, 0, 6)


def entry(*postings: Posting, at: datetime = DAY) -> Entry:
    return Entry(at, "e1", "what it is", postings)


def line(account: Account, cents: int) -> Posting:
    return Posting(account, Amount(Decimal(cents).scaleb(-2), USD))


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (entry(), r"^entry e1: needs at least two postings, has 0$"),
        (entry(line("Assets:Cash", 0)), r"^entry e1: needs at least two postings, has 1$"),
        (
            entry(line("Assets:Cash", 1), line("Income:X", -1), at=DAY.replace(tzinfo=None)),
            r"^entry e1: its time 2026-11-01T00:00:00 has no zone; write it with its offset$",
        ),
        (
            entry(line("Cash", 1), line("Income:X", -1)),
            r"^entry e1: account 'Cash' must start with Assets, Liabilities, Equity, Income, Expenses, Trading$",
        ),
        (entry(line("Assets::Cash", 1), line("Income:X", -1)), r"account 'Assets::Cash' must"),
        (entry(line("Assets:Cash:", 1), line("Income:X", -1)), r"account 'Assets:Cash:' must"),
        (
            entry(Posting("Assets:Cash", usd(1), cost=usd(1)), line("Income:X", -100)),
            r"^entry e1: Assets:Cash has a cost but names no lot$",
        ),
        (
            entry(Posting("Assets:Bitcoin", btc("1")), Posting("Trading:Bitcoin", btc("-1"))),
            r"^entry e1: 1.00000000 BTC in Assets:Bitcoin names no lot; say which$",
        ),
        (
            entry(Posting("Assets:Bitcoin", btc("0"), lot="a"), Posting("Trading:Bitcoin", btc("0"))),
            r"^entry e1: lot a of Assets:Bitcoin moves by nothing$",
        ),
        (entry(line("Assets:Cash", 1), line("Income:X", -2)), r"^entry e1: USD sums to -0.01, not to zero$"),
        (
            entry(
                line("Assets:Cash", 1),
                line("Income:X", -1),
                Posting("Trading:A", btc("1")),
                Posting("Trading:B", btc("1")),
            ),
            r"^entry e1: BTC sums to 2, not to zero$",
        ),
    ],
)
def test_an_entry_that_breaks_a_rule_says_which(bad: Entry, says: str) -> None:
    with pytest.raises(EntryError, match=says):
        check(bad)


def test_an_amount_beyond_all_bounds_is_refused() -> None:
    most = Amount(Decimal("99999999999999.99"), USD)  # sixteen digits of cents
    check(entry(Posting("Assets:Cash", most), Posting("Income:X", -most)))
    beyond = Amount(Decimal("100000000000000.00"), USD)
    with pytest.raises(EntryError, match=r"^entry e1: 100,000,000,000,000.00 USD in Assets:Cash is out of all bounds$"):
        check(entry(Posting("Assets:Cash", beyond), Posting("Income:X", -beyond)))


def test_a_commodity_is_declared_once_by_a_name_and_decimals_that_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    known = dict(COMMODITIES)
    monkeypatch.setattr("tieline.ledger.entry.COMMODITIES", known)
    for fine in (Commodity("CH", 0), Commodity("A23456789012", 9), Commodity("USD", 2)):
        declare(fine)
        assert known[fine.name] == fine
    with pytest.raises(ValueError, match=r"^USD is known already, in 2 decimals; leave it out or name another$"):
        declare(Commodity("USD", 3))
    for name in ("C", "chf", "1CH", "CHF ", "A234567890123"):
        with pytest.raises(ValueError, match=f"^{name!r} is no commodity's name; write 2 to 12 capital letters"):
            declare(Commodity(name, 2))
    for places in (-1, 10):
        with pytest.raises(ValueError, match=f"^XAU in {places} decimals; give 0 to 9$"):
            declare(Commodity("XAU", places))
    assert "XAU" not in known


def test_what_keeps_the_rules_passes() -> None:
    check(entry(line("Assets:Cash", 1), line("Income:X", -1)))
    check(entry(Posting("Liabilities:Coins", btc("1")), Posting("Trading:Bitcoin", btc("-1"))))
    check(entry(line("Assets:Cash", 0), line("Income:X", 0)))
    check(entry(Posting("Assets:Cash", usd(1), lot="fx", cost=usd(1)), line("Equity", -100)))


def test_an_entry_taken_back_is_its_mirror_and_names_it() -> None:
    whole = Entry(
        DAY,
        "e1",
        "sold",
        (Posting("Assets:Bitcoin", btc("-1"), "a", usd(-9), DAY), Posting("Trading:Bitcoin", btc("1"))),
        ("Trade|t1",),
        True,
        DAY,
    )
    later = DAY + timedelta(days=2)
    assert mirrored(whole, "e2", "taken back", later, later + timedelta(hours=1)) == Entry(
        later,
        "e2",
        "taken back",
        (Posting("Assets:Bitcoin", btc("1"), "a", usd(9), DAY), Posting("Trading:Bitcoin", btc("-1"))),
        ("Trade|t1",),
        True,
        later + timedelta(hours=1),
        "e1",
    )


WHOLE = Entry(
    DAY,
    "k",
    "n",
    (Posting("Assets:Bitcoin", btc("1"), "lot", usd(9), DAY), Posting("Trading:Bitcoin", btc("-1"))),
    ("r1", "r2"),
    True,
    DAY,
    "old",
)


def test_a_digest_is_over_every_word_of_an_entry_and_the_one_before() -> None:
    """Written out: a book that was chained by one release is checked by the next."""
    at = "2026-11-01T00:00:00+00:00"
    head = ("before", at, at, "k", "n", "r1", "r2", "True", "old")
    lines = (f"Assets:Bitcoin\0{btc('1')}\0lot\0{usd(9)}\0{at}\0", f"Trading:Bitcoin\0{btc('-1')}\0\0\0\0")
    text = "".join(f"{part}\0" for part in head) + "".join(lines)
    assert digest(WHOLE, "before") == hashlib.sha256(text.encode()).hexdigest()
    bare = Entry(DAY, "k", "n", ())
    assert digest(bare) == hashlib.sha256(f"\0{at}\0\0k\0n\0False\0\0".encode()).hexdigest()


def test_no_entry_leaves_a_chain_unseen() -> None:
    first, second = Entry(DAY, "1", "", ()), Entry(DAY, "2", "", ())
    links = list(chain([first, second]))
    assert links == [digest(first), digest(second, digest(first))]
    assert list(chain([second])) != links[1:]
