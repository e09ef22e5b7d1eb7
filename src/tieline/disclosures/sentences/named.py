"""Figures that a sentence names as a table's row does: `month-end operating hash rate was 3.6 EH/s`, `3.9 EH/s installed`.

Knows nothing of how a sentence is made: a name stands right before or behind its number, and proves a field by the
same words as a row's label.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from tieline.disclosures.facts.fields import unit_of
from tieline.disclosures.lexicon.words import words_of
from tieline.disclosures.rules.grammar import Kind, SentenceRule, expand
from tieline.disclosures.rules.naming import proven_field
from tieline.disclosures.sentences.template import Template

_OPENS = (
    r"(?:^|[;:,(] |and |with |while |but )(?:[-*•·] )?(?:(?:with|on) )?(?:an? |the )?(?:{OPENER} |@m )?"
    "(?:{SUBJ} (?:had|has|achieved|recorded|reported|posted|delivered|maintained) (?:an? )?(?:new )?(?:record )?(?:@m )?)?"
)
_WORD = r"(?:[a-z][a-z'/.-]*|[()])"
_COIN_OR_DAY = "(?: (?:per|a|/|each) (?:bitcoin|btc|coin|day|calendar day)| daily)"
_BEFORE = (
    rf"{_OPENS}{{OWN}}(?P<name>(?:{_WORD} ){{1,9}}?){{WHEN}}{{AV}} {{ABOUT}}(?:#o \[ (?=#u \*? ?\]))?<bxeujwmpk>"
    rf"(?P<each>(?: mined| produced| earned)?{_COIN_OR_DAY})?"
)
_MOVES = (
    "(?:increased|grew|expanded|raised|improved|lifted|boosted|reduced|lowered|decreased|brought|"
    "bringing|increasing|growing|raising|taking)"
)
_TO = (
    rf"{_OPENS}(?:{{SUBJ}} (?:has |have |also )*)?{_MOVES} {{OWN}}(?P<name>(?:{_WORD} ){{1,6}}?)(?:by )?"
    "(?:{ABOUT}#[bpe] (?:month-over-month |year-over-year |m/m |y/y |mom |yoy )?)?"
    "(?:(?:in|during) @[mq] )?(?:from {ABOUT}#[bxe] )?to {ABOUT}<bxe>"
)
_BARE = rf"(?:^|[;:] |, )(?:[-*•·] )?(?:{{OPENER}} |@m )?{{OWN}}(?P<name>(?:{_WORD} ){{1,7}}?)<bejm>(?= (?:[;.,(]|and |at |in |$)|$)"
"""Without a verb, between stops: `average hashrate 12.4 EH/s; installed hashrate 13.5 EH/s`."""
_BEHIND = (
    rf"{_OPENS}{{ABOUT}}<beujmwk> (?P<name>(?:{_WORD} ){{0,5}}?{_WORD})"
    r"(?= {WHEN}(?:[.,;:)]|and |$)| (?:in|during|for|as of|at) @|[.,;:)]|$)"
)
_DAILY = re.compile(r"\baverag")
_STOCKS = words_of("btc_held_end restricted_or_pledged_btc free_btc")
_STOCK_UNITS, _MEAN_UNITS = ("EH/s", "miners", "J/TH"), ("USD/BTC", "USD/kWh", "BTC/day", "BTC/(EH/s)")
_MEANS, _FLOWS = words_of("avg_operating_ehs fee_share_pct"), words_of("avg_sale_price_usd")
_OTHER = words_of(
    "btc_open lent_btc hosted_btc_customers jv_share_btc service_fee_btc share_of_rewards_pct btc_on_balance btc_receivable_from_collateral potential_phs"
)
"""Fields that a label names and a sentence's words do not."""


def named(tpl: Template) -> Iterator[tuple[int, SentenceRule, int, int]]:
    """Each number that words beside it name: its token, the rule, and the stretch of the template that is read."""
    for pattern in _patterns():
        for m in pattern.finditer(tpl.shapes):
            i = tpl.at[m.start("n")]
            number = tpl.tokens[i].number
            each = m.groupdict().get("each") or ""
            field = proven_field(m["name"].strip() + each, number.unit) if number is not None else None
            if field == "avg_btc_per_day" and not _DAILY.search(m[0]):
                continue  # `production was 41 a day` may be of one day
            if field is not None and (kind := _kind(field)) is not None:
                yield i, SentenceRule(field, kind), m.start(), m.end()


def _kind(field: str) -> Kind | None:
    """How a field stands in time, by its name or its unit."""
    unit = unit_of(field)
    if field in _OTHER or unit == "kUSD":
        return None
    if field == "ytd_btc":
        return "ytd"
    if field in _MEANS or (unit in _MEAN_UNITS and field not in _FLOWS):
        return "mean"
    return "stock" if field in _STOCKS or unit in _STOCK_UNITS else "flow"


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(expand(pattern)) for pattern in (_BEFORE, _TO, _BARE, _BEHIND))
