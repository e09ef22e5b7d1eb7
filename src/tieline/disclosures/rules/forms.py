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


_MOVE = "(?:increase|decrease|improvement|decline|rise|drop|growth|gain|reduction)s?"
_COMPARES = (
    rf"(?:{_MOVE}|an?|the|approximately|about|nearly|roughly|over|from|to|with|as|of|by|in|for|during|at|on|and|or|both|than|compared|comparable|versus|vs|"
    "up|down|flat|unchanged|higher|lower|more|less|fewer|sequential|respectively|basis|level|levels|its|our|their|month|month-end|quarter|year|period|same|"
    "prior|previous|preceding|corresponding|price|prices|rate|rates|last|ago|earlier|end|month-over-month|year-over-year|month-on-month|year-on-year|quarter-over-quarter|"
    "month-to-month|m/m|y/y|q/q|mom|yoy|qoq|x|production|output|holdings|average|operating|deployed|installed|energized|hash|rate|hashrate|capacity|"
    "efficiency|which|was|were|is|bitcoin|btc|#[bejkxmup]|@[mqey])"
)
"""A word of a comparison with another time; none of them says whose a figure is, or that it is not so."""
_CHANGES = (
    rf"(?:(?:marking|representing|reflecting|showing|which (?:is|was|were|represents?|represented|marks?)|(?:an?|the) (?:approximately |approximate |about )*(?:#[bpejxk]|{_MOVE})|"
    rf"(?:up|down)(?! to)|flat|unchanged|(?:as )?compared(?: to| with)?|versus|vs|(?:from|over|by)(?= (?:the )?[#@])|#p|increasing|decreasing|(?:an? )?{_MOVE}|month-over-month|year-over-year|m/m|y/y|yoy|mom))(?: {_COMPARES})*"
)
_WHY = (
    "(?:(?:(?:was|were|is|are|as) )?(?:(?:primarily|mainly|largely|predominantly|partially|partly|mostly|also) )*(?:due to|driven by|as a result of|the result of|resulting from|resulted from|because of|"
    "reflecting|reflects|which reflects|attributable to|attributed to|offset by|affected by|impacted by|supported by|helped by|aided by|despite|even with|thanks to|amid|following|while|through|"
    "demonstrating|highlighting|underscoring|underlining|showcasing|to (?:fund|support|cover|finance)|as (?:{SUBJ} )?(?:continues?|continued|expanded|increased|upgraded|optimi[sz]ed|installed|energized|deployed|brought|maintained|ramped)|"
    "and (?:continues?|continued|maintained)|in line with|consistent with))"
)
_REASON = (
    "(?:(?:{SUBJ}|~own|'s|global|average|bitcoin|increased|increasing|increase|higher|lower|growing|rising|rise|overall|total|our|its|their|this|these|the|a|an|and|or|in|of|to|at|by|for|with|from|on|as|per|across|throughout|"
    "during|under|over|into|all|both|some|most|more|less|fewer|new|newer|old|older|latest|latest-generation|next-generation|additional|further|continued|continuing|ongoing|successful|successfully|strong|stronger|robust|solid|record|"
    "steady|slight|slightly|significant|significantly|substantial|substantially|brief|temporary|short-term|long-term|minor|major|(?:planned|scheduled)(?= (?:maintenance|outages?|downtime|curtailments?|upgrades?|repairs?))|unplanned|unexpected|recent|previously|announced|general|various|several|"
    "network (?:difficulty|hash rate|hashrate)|difficulty(?: levels?| adjustments?)?|hash ?rate|hashprice|curtailments?|curtailing|curtailed|uptime|downtime|outages?|interruptions?|disruptions?|delays?|maintenance|repairs?|weather|storms?|heat|heatwaves?|temperatures?|"
    "cold|hot|warm|warmer|cooler|extreme|severe|seasonal|summer|winter|halving|block rewards?|block subsidy|luck|days|day|month|quarter|period|calendar|efficiency|efficient|efficiencies|efficiently|fleet|machines?|miners|rigs|equipment|transformers?|containers?|"
    "immersion|cooling|firmware|software|hardware|systems?|upgrades?|upgrading|upgraded|replacements?|replacing|relocations?|relocating|redeployments?|optimi[sz]ations?|optimi[sz]ing|optimi[sz]ed|deployments?|deploying|deployed|deliver(?:y|ies)|installations?|installing|installed|"
    "commissioning|expansions?|expanding|expanded|expand|construction|energi[sz]ations?|energi[sz]ing|energi[sz]ed|ramping|ramp-up|ramp|infrastructure|electrical|power|energy|electricity|prices?|pricing|costs?|rates?|low-cost|strategy|strategies|strategic|strategically|grid|stability|"
    "demand|demand response|response|programs?|programmes?|participation|participating|peaks?|operations?|operating|operational|operationally|performance|production|output|improvements?|improving|improved|improve|reducing|reduced|reduce|reductions?|increases?|decreases?|declines?|changes?|growth|growing|grow|"
    "maximizing|maximize|minimizing|minimize|maintaining|maintained|maintain|balancing|managing|leveraging|economic|effective|effectively|employment|utilization|activit(?:y|ies)|proprietary|four coincident peak|ercot|texas|transaction fees?|"
    "liquidity|treasury|management|expenses?|expenditures?|capital|working|corporate|purposes?|debt|repayments?|balance sheet|margins?|profitability|cash|flow|flows|momentum|execution|executing|discipline|disciplined|focus|focused|commitment|approach|teams?|market|markets|conditions|environment|"
    "value|shareholders?|investments?|lease|payments?|organic|,(?! (?:of|by|at|from|for|in|to) )))"
)
"""A piece of a reason: what made coins more or fewer, or what was done with the money; it names nobody."""
_OFFICE = "(?:ceo|cfo|coo|cto|chief|executive|officer|chairman|chairwoman|chair|president|vice|senior|founder|co-founder|interim|head|director|financial|operating|technology|mining|growth|strategy|and|of|the|at|our|,|&|'s|company|group|co-ceo)"
_SPEAKS = rf"(?:[a-z.]+ ){{1,4}}, (?:{{SUBJ}}|~own|{_OFFICE})(?: (?:~own|{_OFFICE}))* ?"
"""One of the issuer's own who is quoted, with his office."""


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
    _F(_CHANGES, "Heron mined 41 BTC in July 2025, |a 3% increase from June 2025|."),
    _F(rf"{_WHY}(?: {_REASON})+", "Heron mined 41 BTC in July 2025, |primarily due to an increase in average network difficulty|."),
    _F(rf'" ?,? (?:said|stated|added|commented|noted) {_SPEAKS}(?=[.]|$)', '"In July 2025 we mined 41 BTC,|" said Ann Lee, CEO of Heron|.'),
    _F(rf'^{_SPEAKS}(?:, )?(?:said|stated|added|commented|noted)', '|Ann Lee, CEO of Heron, said|: "In July 2025 we mined 41 BTC."'),
    _F("(?:including|of which) #[bx] (?:(?:was|were|is|are) )?(?:pledged|restricted|posted|loaned|encumbered)(?: as collateral| and collateralized)?", "Bitcoin held: 300 BTC, |including 90 BTC pledged as collateral|"),
    _F("btc|bitcoin|as of|month-over-month|m/m", "Bitcoin held: 300 |BTC|"),
    _F(r"\( @[me] : #[bejkx] \)", "Heron mined 41 BTC |(June 2025: 40 BTC)|."),
    _F(r"\( (?:@m )?(?:approximately |~ )?#b per day \)", "Heron mined 41 BTC in July 2025 |(1.3 BTC per day)|."),
    _F("(?:representing )?an average of #b per (?:exahash|eh/s)", "Heron mined 41 BTC in July 2025, representing |an average of 11 BTC per exahash|."),
    _F("valued at (?:approximately )?#u(?: as of @e)?(?: ,? ?based on a (?:btc|bitcoin) price of #u(?: as of @e)?)?", "Heron held 300 BTC, |valued at $34.5 million|, at July 31, 2025."),
    _F("with a (?:fair )?market value of (?:approximately )?#u", "Heron held 300 BTC |with a market value of $34.5 million| at July 31, 2025."),
    _F("against an installed capacity of #e", "Average operating hashrate was 3.5 EH/s in July 2025 |against an installed capacity of 3.9 EH/s|."),
    _F("(?:for|netting|(?:with|for) (?:net |gross )?proceeds of) (?:approximately )?#u", "Heron sold 12 BTC in July 2025, |netting $1.4 million|."),
    _F("at an average (?:(?:bitcoin |btc )?price )?of (?:approximately |about )?#u(?: per bitcoin)?", "Bitcoin sold: 12 BTC |at an average price of $117,000 per bitcoin|"),
    _F("with a month-end hashrate of #e", "Average hashrate in July 2025 was 3.5 EH/s, |with a month-end hashrate of 3.9 EH/s|."),
    _F("(?:through|from|by) (?:its|our|the company 's) (?:own )?self-mining (?:business|operations?|segment)", "Heron mined 41 BTC in July 2025 |through its self-mining business|."),
    _F("and (?:achieved|generated|recorded|recognized|earned) (?:a |an |mining |bitcoin |total )*revenues? of (?:approximately )?#u", "Heron mined 41 BTC |and achieved a revenue of $4.8 million| in July 2025."),
    _F("(?:in|on) the open market", "In July 2025 Heron bought 12 BTC |in the open market|."),
    _F("all (?:of which (?:was|were) )?(?:produced|mined) by (?:its|our|the company 's) (?:own )?(?:self-)?mining operations", "Heron held 300 BTC at July 31, 2025, |all produced by its self-mining operations|."),
    _F("(?:from|including) (?:asic and gpu|asic|gpu) (?:(?:btc|bitcoin) )?(?:mining operations|hash rate|hashrate)", "Heron mined 41 BTC in July 2025, |from ASIC and GPU mining operations|."),
    _F("and generated (?:approximately )?#u in energy revenue(?: , which represents the equivalent of (?:approximately )?(?:one|#[bx]) additional bitcoin based on the average price of bitcoin during the (?:month|@m))?", "Heron mined 41 BTC in July 2025 |and generated $0.1 million in energy revenue|."),
    _F("increased (?:its |our )?(?:bitcoin )?production (?:by )?#p(?: month-over-month)?", "Heron |increased bitcoin production 3% month-over-month|, producing a record 41 BTC in July 2025."),
    _F(r"or bitcoin equivalents?(?: \( together , btc \))?|of which #[bx] were (?:btc|bitcoin) equivalents", "Heron mined 41 bitcoin |or Bitcoin Equivalents (together, BTC)| in July 2025."),
    _F("(?:total )?cash and (?:btc|bitcoin) of #u", "Heron increased its bitcoin holdings to 300 BTC; |total cash and BTC of $90 million| as of July 31, 2025."),
    _F("and reached (?:a|an) (?:daily )?high of #[bx]", "July daily bitcoin mined averaged 1.3 |and reached a high of 1.6|."),
    _F(r'\( "? ?(?:btc|bitcoin|eh/s|ph/s|j/th|w/th) "? ?\)', "Heron mined 41 bitcoin |(BTC)| in July 2025."),
    _F("per bitcoin|per mw", "Power cost averaged $41,000 |per bitcoin| in July 2025."),
)
# fmt: on
