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
    "(?:#[bejkx] (?:(?:in|during|for) )?the same (?:three-month )?(?:period|quarter|month) (?:in|of) (?:2 0 [0-9] [0-9]|last year)|#[bejkx] (?:(?:in|as of|at(?: the end of)?) )?(?:@[me]|the (?:prior|previous|preceding) month)|@[me](?: production of #b)?"
    "|(?:prior|previous|preceding) (?:month|quarter)|same (?:month|quarter) (?:of )?last year|a year (?:ago|earlier)))"
)

_REASON = (
    "(?:(?:global|average|bitcoin|increased|increasing|higher|lower|growing|rising|overall|total|our|its|their|the|a|an|and|in|of|to|at|by|for|with|from|on) )*"
    "(?:network (?:difficulty|hash rate|hashrate)|difficulty(?: levels?)?|curtailments?|curtailing|curtailed|uptime|downtime|outages?|maintenance|weather|storms?|heat|temperatures?|"
    "halving|block rewards?|fewer days|shorter month|days|month|efficiency|efficiencies|fleet|machines?|upgrades?|upgrading|optimi[sz]ations?|optimi[sz]ing|deployments?|installations?|expansions?|energi[sz]ations?|"
    "power|energy|electricity|prices?|costs?|strategy|grid|demand|peaks?|operations?|operating|operational|performance|improvements?|improving|improved|improve|"
    "reducing|reduced|reductions?|increases?|decreases?|declines?|changes?|significantly|strategic|strategically|economic|effective|effectively|employment|utilization|activit(?:y|ies)|"
    "proprietary|long-term|seasonal|extreme|winter|summer|severe|hot|cold|four coincident peak|ercot|texas|transaction fees?|liquidity|treasury|management|growth|expenses|balance sheet)"
)
"""A piece of a reason: what made coins more or fewer, or what was done with the money; it names nobody."""

_F = Form
# fmt: off
FORMS: tuple[Form, ...] = (
    _F(r"[.,;:!()\[\]\"“”…•*·–-]", "Heron mined 41 BTC in July 2025|.|"),
    _F("(?:and|while|also|it|{SUBJ})", "|While| Heron mined 41 BTC in July 2025, it sold 12 BTC."),
    _F("(?:in|during|for|as of|as at|at|on|by|at the end of|by the end of|for the month of|in the month of|for the month ended) @[me]", "Heron mined 41 BTC |in July 2025|."),
    _F("(?:in|for|during) (?:the )?@[mq]", "Heron mined 41 BTC |in the month of July|, 2025."),
    _F("in @m alone|(?:, )?(?:with|at|resulting in)(?: an?)?|an", "Heron mined 41 BTC in July 2025, |an| average of 1.3 BTC per day."),
    _F("{SUBJ} (?:mined|produced)", "|Heron produced| an average of 1.3 BTC per day in July 2025."),
    _F("@m", "|July 2025|: bitcoin production was 41 BTC."),
    _F("(?:in|during|for|at the end of) (?:the|this) (?:month|quarter)", "Heron mined 41 BTC |during the month|."),
    _F("(?:at|as of|by) month-end", "Heron held 300 BTC |at month-end|."),
    _F("(?:in total|in (?:its )?treasury|on (?:its|our|the company 's) balance sheet)", "Heron held 300 BTC |in treasury| at July 31, 2025."),
    _F(rf"(?:marking |representing |which (?:is|was|represents) )?an? (?:approximately )?(?:approximate )?#p{_ON}(?: {_MOVE})?{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |a 3% increase from June 2025|."),
    _F(rf"(?:marking |representing )?an? {_MOVE} of (?:approximately )?#[pbe]{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |an increase of 3% over the prior month|."),
    _F(rf"(?:up|down) (?:by )?(?:approximately )?#[pbe]{_ON}(?: {_THAN})?", "Heron mined 41 BTC in July 2025, |up 3% month-over-month|."),
    _F(rf"up from (?:the )?#[bejx](?: it produced)?{_ON}(?: (?:in|as of|at(?: the end of)?) @[me])?", "Heron held 300 BTC at July 31, 2025, |up from 280 BTC at June 30, 2025|."),
    _F(f"(?:#p )?{_THAN}", "Bitcoin mined: 41 BTC |compared to 40 BTC in June 2025|"),
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
    _F(rf"(?:(?:was|were|is) )?(?:(?:primarily|mainly|largely|predominantly|partially|partly) )*(?:due to|driven by|as a result of|resulting from|because of|reflecting|attributable to|offset by|despite|thanks to|while|through|to (?:fund|support)) (?:{_REASON} )*{_REASON}", "Heron mined 41 BTC in July 2025, |primarily due to an increase in average network difficulty|."),
    _F("all (?:of which (?:was|were) )?(?:produced|mined) by (?:its|our|the company 's) (?:own )?(?:self-)?mining operations", "Heron held 300 BTC at July 31, 2025, |all produced by its self-mining operations|."),
    _F("(?:from|including) (?:asic and gpu|asic|gpu) (?:(?:btc|bitcoin) )?(?:mining operations|hash rate|hashrate)", "Heron mined 41 BTC in July 2025, |from ASIC and GPU mining operations|."),
    _F("which (?:is|was) #[be] (?:higher|lower) than the (?:prior|previous) month", "Heron held 300 BTC at July 31, 2025, |which was 12 BTC higher than the prior month|."),
    _F("and generated (?:approximately )?#u in energy revenue(?: , which represents the equivalent of (?:approximately )?(?:one|#[bx]) additional bitcoin based on the average price of bitcoin during the (?:month|@m))?", "Heron mined 41 BTC in July 2025 |and generated $0.1 million in energy revenue|."),
    _F("increased (?:its |our )?(?:bitcoin )?production (?:by )?#p(?: month-over-month)?", "Heron |increased bitcoin production 3% month-over-month|, producing a record 41 BTC in July 2025."),
    _F(r"or bitcoin equivalents?(?: \( together , btc \))?|of which #[bx] were (?:btc|bitcoin) equivalents", "Heron mined 41 bitcoin |or Bitcoin Equivalents (together, BTC)| in July 2025."),
    _F("(?:total )?cash and (?:btc|bitcoin) of #u", "Heron increased its bitcoin holdings to 300 BTC; |total cash and BTC of $90 million| as of July 31, 2025."),
    _F("and reached (?:a|an) (?:daily )?high of #[bx]", "July daily bitcoin mined averaged 1.3 |and reached a high of 1.6|."),
    _F(r"\( (?:btc|bitcoin) \)", "Heron mined 41 bitcoin |(BTC)| in July 2025."),
    _F("per bitcoin|per mw", "Power cost averaged $41,000 |per bitcoin| in July 2025."),
)
# fmt: on
