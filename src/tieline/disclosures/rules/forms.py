"""What may stand beside the figures of a sentence that are read, form by form.

A sentence is closed where all that no row of `rules.sentences` reads is made of these, in any order; whatever else stands
there leaves every figure a candidate. Patterns are over templates (`sentences.template`), with the macros of
`rules.sentences`. Each form has an example: the words between bars are what it accounts for.
"""

from __future__ import annotations

from typing import NamedTuple


class Form(NamedTuple):
    """One form."""

    pattern: str
    example: str


_MOVE = "(?:increase|decrease|improvement|decline|rise|drop|growth|gain|reduction)"
_ON = "(?: (?:month-over-month|year-over-year|month-on-month|year-on-year|m/m|y/y))?"
_THAN = (
    "(?:(?:from|over|compared (?:to|with)|as compared (?:to|with)|versus|vs) (?:the )?"
    "(?:#[bejkx] (?:(?:in|as of|at(?: the end of)?) )?(?:@[me]|the (?:prior|previous|preceding) month)|@[me](?: production of #b)?"
    "|(?:prior|previous|preceding) month|same month (?:of )?last year))"
)

_F = Form
# fmt: off
FORMS: tuple[Form, ...] = (
    _F(r"[.,;:!()\[\]\"“”…•*·–-]", "Heron mined 41 BTC in July 2025|.|"),
    _F("(?:and|while|also|it|{SUBJ})", "|While| Heron mined 41 BTC in July 2025, it sold 12 BTC."),
    _F("(?:in|during|for|as of|as at|at|on|by|at the end of|for the month of|in the month of|for the month ended) @[me]", "Heron mined 41 BTC |in July 2025|."),
    _F("(?:in|for|during) the @m", "Heron mined 41 BTC |in the month of July|, 2025."),
    _F("in @m alone|(?:, )?(?:with|at)(?: an?)?|an", "Heron mined 41 BTC in July 2025, |an| average of 1.3 BTC per day."),
    _F("{SUBJ} (?:mined|produced)", "|Heron produced| an average of 1.3 BTC per day in July 2025."),
    _F("@m", "|July 2025|: bitcoin production was 41 BTC."),
    _F("(?:in|during|for|at the end of) (?:the|this) month", "Heron mined 41 BTC |during the month|."),
    _F("(?:at|as of|by) month-end", "Heron held 300 BTC |at month-end|."),
    _F("(?:in total|in (?:its )?treasury|on (?:its|our|the company 's) balance sheet)", "Heron held 300 BTC |in treasury| at July 31, 2025."),
    _F(rf"(?:marking |representing )?an? (?:approximately )?(?:approximate )?#p{_ON}(?: {_MOVE})?{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |a 3% increase from June 2025|."),
    _F(rf"an? {_MOVE} of (?:approximately )?#[pbe]{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |an increase of 3% over the prior month|."),
    _F(rf"(?:up|down) (?:by )?(?:approximately )?#[pbe]{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |up 3% month-over-month|."),
    _F(rf"up from (?:the )?#[bejx](?: it produced)?{_ON}(?: (?:in|as of|at(?: the end of)?) @[me])?", "Heron held 300 BTC at July 31, 2025, |up from 280 BTC at June 30, 2025|."),
    _F(_THAN, "Bitcoin mined: 41 BTC |compared to 40 BTC in June 2025|"),
    _F("(?:including|of which) #[bx] (?:(?:was|were|is|are) )?(?:pledged|restricted|posted|loaned|encumbered)(?: as collateral| and collateralized)?", "Bitcoin held: 300 BTC, |including 90 BTC pledged as collateral|"),
    _F("btc|bitcoin|as of|month-over-month|m/m", "Bitcoin held: 300 |BTC|"),
    _F(r"\( @[me] : #[bejkx] \)", "Heron mined 41 BTC |(June 2025: 40 BTC)|."),
    _F(r"\( (?:@m )?(?:approximately |~ )?#b per day \)", "Heron mined 41 BTC in July 2025 |(1.3 BTC per day)|."),
    _F("(?:representing )?an average of #b per (?:exahash|eh/s)", "Heron mined 41 BTC in July 2025, representing |an average of 11 BTC per exahash|."),
    _F("valued at (?:approximately )?#u(?: (?:based on a (?:btc|bitcoin) price of #u )?as of @e)?", "Heron held 300 BTC, |valued at $34.5 million|, at July 31, 2025."),
    _F("with a (?:fair )?market value of (?:approximately )?#u", "Heron held 300 BTC |with a market value of $34.5 million| at July 31, 2025."),
    _F("against an installed capacity of #e", "Average operating hashrate was 3.5 EH/s in July 2025 |against an installed capacity of 3.9 EH/s|."),
    _F("(?:for|netting|(?:with|for) (?:net |gross )?proceeds of) (?:approximately )?#u", "Heron sold 12 BTC in July 2025, |netting $1.4 million|."),
    _F("at an average (?:price )?of #u(?: per bitcoin)?", "Bitcoin sold: 12 BTC |at an average price of $117,000 per bitcoin|"),
    _F("with a month-end hashrate of #e", "Average hashrate in July 2025 was 3.5 EH/s, |with a month-end hashrate of 3.9 EH/s|."),
    _F("(?:in|on) the open market", "In July 2025 Heron bought 12 BTC |in the open market|."),
    _F("per bitcoin|per mw", "Power cost averaged $41,000 |per bitcoin| in July 2025."),
)
# fmt: on
