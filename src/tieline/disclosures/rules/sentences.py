"""Rows of the closed grammar: what a sentence says of one number, each row with what it reads and must not read.

A pattern is matched on a template (`sentences.template`); `<b>` is the number that the row reads, in bitcoin. Words in
braces are macros below. `kind` says how the figure stands in time: a `flow` is of a month and wants `in July`, a
`stock` is at its end and wants `as of July 31`, a `mean` is over it, `ytd` runs from January to its end, an `event` is of a day, stated in its sentence or in one before it. `reads` and `never` are whole sentences of a
release on July 2025; the tests read them all.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

Kind = Literal["flow", "stock", "mean", "ytd", "event"]


class SentenceRule(NamedTuple):
    """One row."""

    field: str
    kind: Kind
    pattern: str
    reads: str
    never: str


MACROS: dict[str, str] = {
    "ABOUT": r"(?:(?:approximately|about|roughly|around|a total of|total of|an aggregate of|a record|a new record of|record|~|a|an|the|some|just|only) )*",
    "SUBJ": r"(?:~own(?: (?:inc|corp|ltd|limited|plc|group|holdings|mining|digital|technologies))*(?: \.)?(?: ,? ?\( (?:nasdaq|nyse|tsx|tsxv|tsx-v|lse|aim|asx|otc|otcqx|otcqb|cboe|nyse american)[^()]*\))?(?: ,)?|we|it|the (?:company|group|miner|firm|bitcoin miner)|(?:our|its|the company 's) (?:self-mining |mining )?operations)",
    "OPENER": r"(?:(?:in|during|for|throughout|as of|as at|at|on|by|at the end of|by the end of|as of the end of|at the close of|(?:for|in|during) the month of|in the month ended|for the month ended) (?:the )?@[mdeq]|(?:in|during|for|over|throughout) the month(?: of @m)?|at month-end|this month)(?: ,)?",
    "HEAD": r"(?:^|[;:,] |and |while |but )(?:[-*•·] )?(?:{OPENER} )?(?:{SUBJ} )?(?:(?:has|have|had|also|successfully|as of @[mde]|at @e) )*",
    "MINED": r"(?:self-mined|mined|produced|earned|generated|minted)",
    "OWN": r"(?:(?:~own(?: 's)?|its|our|the company 's|the group 's|total|monthly|overall|net|company|corporate|self-mined|month-end|aggregate|combined treasury) )*",
    "WHEN": r"(?:(?:in|during|for|as of|as at|at|on|by|at the end of|by the end of|for the month of|in the month of|in the month ended|throughout) (?:(?:the )?@[mdeq]|the month(?: of @m)?|month-end|the end of the month)(?: ,)? |in its treasury |in treasury |for the month |this month |month-end |at month-end |at month end |(?:the|this) month |@m )?",
    "PCT": r"(?:(?:by )?(?:approximately |about |roughly |nearly |a )?#p (?:month-over-month |year-over-year |m/m |y/y )?)?",
    "MOVED": r"(?:(?:(?:has )?(?:increased|increases|rose|rises|risen|grew|grows|grown|climbed|improved|improves|expanded|decreased|decreases|fell|declined|dropped|increasing|rising|growing) {PCT}|(?:up|down) (?:by )?(?:approximately |about )?#p )(?:(?:month-over-month|year-over-year) )?(?:from {ABOUT}#[a-z]+ (?:(?:in|as of|at) (?:the end of )?@[mde] )?)?to)",
    "BE": r"(?:was|were|of|at|totaled|totalled|totaling|totalling|reached|reaching|stood at|came to|came in at|amounted to|recorded at|remained at|remained steady at|remained stable at|remained unchanged at|is|:|=|{MOVED})",
    "AV": r"(?:{BE}|averaged|averaging)",
    "SOLD": r"(?:sold|monetized|converted|sale of|sales of|selling) {ABOUT}#b {WHEN}(?:, )?",
    "PRICED": r"(?:at |for |achieving |with )?(?:an )?(?:average|avg\.?) (?:net |sale |sales |selling |realized )*(?:price )?(?:of )?{ABOUT}",
    "EACH": r"(?: (?:per|a) (?:bitcoin|btc|coin)| each)?",
    "GAINED": r"(?:for|generating|generated|generates|netting|yielding|resulting in|with|realizing|equating to|receiving|raising) (?:(?:net|gross|total|aggregate|cash|sale|sales) )*(?:proceeds )?(?:of )?{ABOUT}",
    "HASH": r"(?:hash rate|hashrate|hash-rate|hashing power|computing power|mining capacity|hash power|hash rate capacity|hashrate capacity|capacity)",
    "RATED": r"(?:deployed|installed|energized|energised|nameplate|active)",
    "STASH": r"(?:holdings?|hodl position|hodl|treasury|treasury holdings?|treasury balance|balance|reserves?|position|inventory|treasury position)",
    "COIN": r"(?:bitcoins?|btc)",
}

_R = SentenceRule
# fmt: off
ROWS: tuple[SentenceRule, ...] = (
    # coins mined
    _R("btc_produced", "flow", "{HEAD}{MINED} {ABOUT}<b>(?! (?:per|a|/) ?day| daily| each)", "In July 2025, Heron mined 41 BTC.", "In July 2025 miners mined 41 BTC."),
    _R("btc_produced", "flow", "(?:{HEAD}(?:produces|mines|earns)|, producing(?: a record #b in @m and)?) {ABOUT}<b> (?=in @[mq])", "Heron produces 41 BTC in July 2025.", "Heron produces 41 BTC a month."),
    _R("btc_produced", "flow", "(?:^|[;:] |, |and )(?:[-*•·] )?(?:{OPENER} )?{ABOUT}<b> (?:were |was )?(?:self-)?(?:mined|produced|earned|generated)(?! per| daily| by| on average)", "- 41 BTC mined during July 2025.", "41 BTC mined by customers in July 2025."),
    _R("btc_produced", "flow", "{HEAD}(?:increased|grew|expanded|raised) {OWN}(?:{COIN} )?(?:production|output) {PCT}(?:to|to a record of) {ABOUT}<b>", "In July 2025 Heron increased production 3% to 41 BTC.", "In July 2025 Heron aims at production of 41 BTC."),
    _R("btc_per_avg_ehs", "mean", "(?:representing )?an average of <b> per (?:exahash|eh/s)", "Heron mined 41 BTC in July 2025, representing an average of 11 BTC per exahash.", "Heron mined up to 11 BTC per exahash in July 2025."),
    # the mean of a day
    _R("avg_btc_per_day", "mean", "(?:an average of|average of|averaging|averaged|average rate of|average production rate of|average daily production of|average daily production rate of) {ABOUT}<bx>(?: (?:mined|produced|earned))? (?:per day|a day|daily|/ day|each day|per calendar day)", "In July 2025 Heron mined an average of 1.3 BTC per day.", "Heron mined up to 1.3 BTC per day in July 2025."),
    _R("avg_btc_per_day", "mean", "(?:^|[;:,] |and |with |while )(?:[-*•·] )?(?:{OPENER} |@m )?{OWN}(?:an |the )?(?:average daily|daily average) (?:{COIN} )?(?:production|output|production rate|{COIN} (?:mined|produced|earned)|(?:mined|produced) {COIN}) ?{WHEN}{AV} {ABOUT}<bx>", "Average daily production in July 2025 was 1.3 BTC.", "Peak daily production in July 2025 was 1.3 BTC."),
    _R("avg_btc_per_day", "mean", r"#b (?:{WHEN})?(?:,|\(|, or|or) (?:approximately |about |roughly )?<b> (?:per day|a day|daily)", "In July 2025 Heron mined 41 BTC, or about 1.3 BTC per day.", "In July 2025 Heron mined 41 BTC, at best 3 BTC per day."),
    _R("avg_btc_per_day", "mean", "^(?:[-*•·] )?<b> (?:mined |produced |earned )(?:on average per day|per day on average)", "- 1.3 BTC earned on average per day in July 2025.", "- 3 BTC mined on the best day of July 2025."),
    _R("avg_btc_per_day", "mean", "(?:averaging|averaged|with|at) (?:a |an )?(?:average )?daily (?:output|production|rate|average) of {ABOUT}<b>", "In July 2025 Heron mined 41 BTC, averaging a daily output of 1.3 BTC.", "In July 2025 Heron mined 41 BTC, with a peak daily output of 3 BTC."),
    _R("avg_btc_per_day", "mean", "(?:^|[;:,] |and )(?:[-*•·] )?(?:{OPENER} )?on average ,? ?(?:{SUBJ} )?{MINED} {ABOUT}<bx>(?: (?:per day|a day|daily|each day))", "On average we mined 1.3 BTC per day in July 2025.", "On average we sold 1.3 BTC per day in July 2025."),
    # coins held
    _R("btc_held_end", "stock", "{HEAD}(?:held|holds|hold|owned|owns|had) {ABOUT}<b>(?! (?:pledged|as collateral|under|restricted|for|in collateral|on loan))", "As of July 31, 2025, Heron held 300 BTC.", "As of July 31, 2025, customers held 300 BTC."),
    _R("btc_held_end", "stock", "{HEAD}(?:ended|closed|finished) (?:the month|@m|the month of @m) with (?:a (?:treasury|treasury balance|balance|total) of )?{ABOUT}<b>", "Heron ended July 2025 with 300 BTC.", "Heron ended July 2025 with loans of 300 BTC."),
    _R("btc_held_end", "stock", "#b (?:{WHEN})?,? ?(?:resulting in|bringing|for) (?:a |{OWN})?(?:total )?(?:{COIN} )?(?:holdings?|balance) (?:of|to) {ABOUT}<b>", "In July 2025 Heron mined 41 BTC, resulting in total holdings of 300 BTC at the end of July.", "In July 2025 Heron mined 41 BTC, resulting in total sales of 300 BTC at the end of July."),
    _R("restricted_or_pledged_btc", "stock", "(?:includes|including|of which|out of which) {ABOUT}<b> (?:(?:was|were|is|are) )?(?:pledged|posted|allocated|held) as collateral", "Heron held 300 BTC on July 31, 2025, including 100 BTC pledged as collateral.", "Heron held 300 BTC on July 31, 2025, including 100 BTC of customers."),
    _R("btc_held_end", "stock", "{HEAD}(?:had|held|reported) (?:an? )?{OWN}(?:{COIN} )(?:{STASH}|hodl balance) of {ABOUT}<bx>(?! million)", "As of July 31, 2025, Heron had bitcoin holdings of 300.", "As of July 31, 2025, customers had bitcoin holdings of 300."),
    # coins sold
    _R("btc_sold", "flow", "{HEAD}(?:sold|monetized|monetised|liquidated) {ABOUT}<b>(?! (?:mined|produced)? ?and (?:its|our|the|another|#b))", "In July 2025 Heron sold 12 BTC.", "A bank sold 12 BTC in July 2025."),
    _R("btc_sold", "flow", "{HEAD}funded (?:(?:growth|operations|its|our|expansion|and) )+through the sale of {ABOUT}<b>", "Heron funded growth and operations through the sale of 12 BTC in July 2025.", "Heron will fund growth and operations through the sale of 12 BTC in July 2025."),
    _R("btc_purchased", "flow", "{HEAD}(?:purchased|bought|acquired) (?:an additional )?{ABOUT}<b>", "In July 2025 Heron purchased 12 BTC.", "In July 2025 a fund purchased 12 BTC."),
    # money
    _R("sale_proceeds_usd", "flow", "{SOLD}(?:{PRICED}#u{EACH} (?:, )?(?:and )?)?{GAINED}<u>(?! per| a coin| each| /)", "In July 2025 Heron sold 12 BTC for proceeds of $1.4 million.", "In July 2025 Heron sold 12 BTC at $1.4 million per bitcoin."),
    _R("sale_proceeds_usd", "flow", "^(?:[-*•·] )?(?:the )?sales? of (?:btc|bitcoin) (?:equated to|resulted in|generated) (?:net |gross |total )*proceeds of {ABOUT}<u>", "Sales of BTC equated to proceeds of $1.4 million.", "Sales of shares equated to proceeds of $1.4 million."),
    _R("avg_sale_price_usd", "flow", "{SOLD}(?:{GAINED}#u (?:, )?(?:and )?)?{PRICED}<u>{EACH}(?! million)", "In July 2025 Heron sold 12 BTC at an average price of $117,000 per BTC.", "In July 2025 Heron sold 12 BTC at a spot price of $117,000."),
    _R("sold_share_pct", "flow", "(?:sold|monetized) {ABOUT}<p> of (?:the |its |our )?(?:{COIN} (?:it |we )?(?:mined|produced)|(?:monthly )?(?:production|output))", "In July 2025 Heron sold 71% of the BTC it produced.", "In July 2025 Heron sold 71% of its shares."),
    # hashrate, machines, power
    _R("deployed_ehs", "stock", "(?:^|[;:,] |and |with |while |had |reached |increased |grew )(?:[-*•·] )?(?:{OPENER} )?(?:{SUBJ} (?:has |had |reached |increased |grew )?)?{OWN}(?:a |an |the )?(?:total |self-mining |mining )?{RATED} (?:self-mining |mining )?{HASH}(?: capacity)? {WHEN}{BE} {ABOUT}<e>", "Deployed hashrate at July 31, 2025 was 3.9 EH/s.", "Contracted hashrate at July 31, 2025 was 3.9 EH/s."),
    _R("deployed_ehs", "stock", "(?:^|[;:,] |and |with )(?:[-*•·] )?(?:{OPENER} )?{SUBJ} (?:has|had) {ABOUT}<e> of (?:total |self-mining )?{RATED} (?:{HASH}|capacity)", "As of July 31, 2025, Heron had 3.9 EH/s of installed hashrate.", "As of July 31, 2025, Heron had 3.9 EH/s of new machines."),
    _R("deployed_ehs", "stock", "(?:^|[;:,] |and |with )(?:[-*•·] )?(?:{OPENER} )?(?:{SUBJ} )?(?:has|had|ended the month with) {ABOUT}<e> (?:energized|deployed|installed|of mining capacity)(?= [.,;]|$| at | as | in )", "Heron ended the month with 3.9 EH/s of mining capacity.", "Heron ended the month with orders for 3.9 EH/s of mining capacity."),
    _R("operating_month_end_ehs", "stock", "^(?:[-*•·] )?{ABOUT}<e> operational (?:at|as of) @e", "- 3.6 EH/s operational at July 31, 2025.", "- 3.6 EH/s operational by the end of the project."),
    _R("operating_month_end_ehs", "stock", "(?:^|[;:,] |and |with |while )(?:[-*•·] )?(?:{OPENER} |@m )?{OWN}month-end (?:operating|operational) {HASH} {WHEN}{BE} {ABOUT}<e>", "Month-end operating hashrate was 3.6 EH/s in July 2025.", "Peak operating hashrate was 3.6 EH/s in July 2025."),
    _R("avg_operating_ehs", "mean", r"(?:^|[;:,] |and |with |while |at )(?:[-*•·] )?(?:{OPENER} |@m )?{OWN}(?:an |the )?(?:average|avg\.?) (?:monthly )?(?:operating |operational |realized |active |self-mining |mining )*{HASH} {WHEN}{AV} {ABOUT}<e>", "Average operating hashrate in July 2025 was 3.5 EH/s.", "Average network hashrate in July 2025 was 900 EH/s."),
    _R("avg_operating_ehs", "mean", "(?:^|[;:,] |and |with |while )(?:[-*•·] )?(?:{OPENER} |@m )?{OWN}(?:operating |operational |realized |self-mining )+{HASH} averaged {ABOUT}<e>", "Operating hashrate averaged 3.5 EH/s in July 2025.", "Installed hashrate averaged 3.5 EH/s in July 2025."),
    _R("avg_operating_ehs", "mean", "(?:ended the month with {ABOUT}#e of (?:installed|deployed|energized) (?:capacity|{HASH}) and )averaged {ABOUT}<e> (?:during|in|for|over) the month", "Heron ended the month with 3.9 EH/s of installed capacity and averaged 3.5 EH/s during the month.", "Heron ended the month with 3.9 EH/s of installed capacity and averaged 3.5 EH/s in tests."),
    _R("deployed_miners", "stock", "(?:^|[;:,] |and )(?:[-*•·] )?(?:{OPENER} )?{SUBJ} (?:has|had) a {RATED} fleet of {ABOUT}<m>", "At July 31, 2025, Heron had a deployed fleet of 12,000 miners.", "At July 31, 2025, Heron had an ordered fleet of 12,000 miners."),
    _R("deployed_miners", "stock", "(?:^|[;:,] |and )(?:[-*•·] )?(?:{OPENER} )?{SUBJ} operated {ABOUT}<m>(?= with| [.,;]|$)", "As of July 31, 2025, Heron operated 12,000 bitcoin miners.", "As of July 31, 2025, customers operated 12,000 bitcoin miners."),
    _R("deployed_ehs", "stock", "{SUBJ} operated {ABOUT}#m with an? (?:aggregate |total )?{HASH} of {ABOUT}<e>", "As of July 31, 2025, Heron operated 12,000 bitcoin miners with an aggregate hash rate capacity of 3.9 EH/s.", "As of July 31, 2025, Heron ordered 12,000 bitcoin miners with an aggregate hash rate capacity of 3.9 EH/s."),
    _R("deployed_ehs", "stock", "a {RATED} fleet of {ABOUT}#m , with a (?:total )?{HASH} of {ABOUT}<e>", "At July 31, 2025, Heron had a deployed fleet of 12,000 miners, with a hash rate capacity of 3.9 EH/s.", "At July 31, 2025, Heron had a fleet of 12,000 miners, with a hash rate capacity of 3.9 EH/s."),
    _R("deployed_miners", "stock", "(?:^|[;:,] |and |with )(?:[-*•·] )?(?:{OPENER} )?{SUBJ} (?:has|had) {ABOUT}<m> (?:were |was )?(?:deployed|installed|energized|online)(?! by)", "As of July 31, 2025, Heron had 12,000 miners deployed.", "As of July 31, 2025, Heron had 12,000 miners ordered."),
    _R("power_cost_usd_per_kwh", "mean", "(?:power|electricity|energy) costs? {WHEN}{AV} {ABOUT}#u per (?:bitcoin|btc|coin)(?: self-mined| mined)? ?,? or {ABOUT}<w>", "Power cost averaged $41,000 per bitcoin self-mined, or approximately $0.045/kWh in July 2025.", "Power sold averaged $41,000 per bitcoin self-mined, or approximately $0.045/kWh in July 2025."),
    # sales, loans and shares, each of its day
    _R("btc_held_after_sale", "event", "(?:^|[;,] |and )(?:following|after) (?:the|this|that|these|its) (?:sales?|transactions?|disposals?) ,? ?{SUBJ} (?:(?:now|still|currently|continues to) )?(?:holds?|held|retains?|retained|has|owns?|owned) {ABOUT}<b>", "On July 8, 2025, Heron sold 12 BTC. Following the sale, Heron holds 300 BTC.", "On July 8, 2025, Heron sold 12 BTC. Following the sale, Heron holds loans of 300 BTC."),
    _R("btc_held_after_sale", "event", "(?:sold|sale of) {ABOUT}#b (?:for (?:proceeds of )?{ABOUT}#u ,? ?)?,? ?leaving (?:it|us|the company|~own) with {ABOUT}<b>", "On July 8, 2025, Heron sold 12 BTC, leaving it with 300 BTC.", "On July 8, 2025, Heron sold 12 BTC, leaving its lender with 300 BTC."),
    _R("btc_held_before_sale", "event", "(?:^|[;,] )(?:before|prior to) (?:the|this|that) (?:sale|transaction|disposal) ,? ?{SUBJ} (?:held|had|owned) {ABOUT}<b>", "On July 8, 2025, Heron sold 12 BTC. Before the sale, Heron held 312 BTC.", "On July 8, 2025, Heron sold 12 BTC. Before the offer, Heron held 312 BTC."),
    _R("loan_facility_usd", "event", "{HEAD}(?:entered into|secured|closed|signed|executed|obtained|received) (?:a |an |the )?(?:new )?{ABOUT}<u> (?:[a-z-]+ ){0,4}?(?:credit facility|loan facility|loan|credit line|line of credit|facility|term loan)(?: agreement)?(?: with (?:[a-z&'’.-]+ ){1,4}?(?=secured|backed|collateralized|[,.]|$))?", "On July 8, 2025, Heron entered into a $60 million credit facility with Wren Capital.", "On July 8, 2025, Heron intends to enter into a $60 million credit facility."),
    _R("loan_collateral_btc", "event", "(?:facility|loan|credit line|line of credit|term loan)(?: agreement)?(?: with (?:[a-z&'’.-]+ ){1,4}?)? ?,? ?(?:(?:which|that) (?:is|was) )?(?:secured|backed|collateralized) by {ABOUT}<b>", "On July 8, 2025, Heron entered into a $60 million loan secured by 80 BTC.", "On July 8, 2025, Heron entered into a $60 million lease secured by 80 BTC."),
    _R("loan_collateral_btc", "event", "{HEAD}pledged {ABOUT}<b> (?:as collateral|as security)(?: (?:for|under) (?:a |an |the |its |our )(?:[a-z-]+ ){0,4}?(?:facility|loan|credit line|line of credit))?", "On July 8, 2025, Heron pledged 80 BTC as collateral for a loan.", "On July 8, 2025, Heron pledged 80 BTC to charity."),
    _R("loan_balance_usd", "event", "{HEAD}(?:drew|drew down|borrowed|has drawn|had drawn) {ABOUT}<u> (?:under|against|from|on) (?:a |an |the |its |our )(?:[a-z-]+ ){0,4}?(?:facility|loan|credit line|line of credit|{COIN} holdings)", "On July 8, 2025, Heron drew $40 million under its credit facility.", "On July 8, 2025, Heron can draw $40 million under its credit facility."),
    _R("loan_ltv_initial", "event", "^(?:the )?(?:facility|loan|credit facility|term loan|credit line) (?:has|had|carries|carried|bears) (?:a |an )?(?:initial )?(?:loan-to-value|ltv)(?: ratio)? of {ABOUT}<p>", "On July 8, 2025, Heron entered into a $60 million loan. The loan has a loan-to-value ratio of 65%.", "On July 8, 2025, Heron entered into a $60 million loan. The loan has a margin call at a loan-to-value ratio of 65%."),
    _R("equity_raised_usd", "event", "{HEAD}(?:raised|raises) {ABOUT}<u> (?:in|of|through|from|under|by selling|via) (?:(?:its|our|the|an|a|new|gross|net|common|ordinary) )*(?:equity|shares|common stock|at-the-market (?:program|programme|offering)|atm (?:program|programme)?|registered direct offering)", "On July 8, 2025, Heron raised $30 million in equity.", "On July 8, 2025, Heron raised $30 million in convertible notes."),
    # blocks
    _R("blocks_won", "flow", "(?:{HEAD}|(?:^|, )(?:{OPENER} )?(?:our|its|the company 's) pool )(?:won|mined|found|produced|captured|solved) {ABOUT}<k>", "In July 2025 Heron won 201 blocks.", "In July 2025 another pool won 201 blocks."),
    _R("fee_share_pct", "mean", "transaction fees (?:accounted for|represented|were|was|comprised|made up) {ABOUT}<p> of (?:(?:the |our )?total(?: {COIN})?|{COIN})(?: (?:earned|mined|produced))?", "In July 2025 transaction fees represented 0.8% of total bitcoin earned.", "In July 2025 hosting fees represented 0.8% of total revenue."),
)
# fmt: on

COMPARED = (
    r"^ ,? ?(?:an? )?(?:increase|decrease|up|down) from (?P<p>@m) 's (?:daily average|average daily (?:production|rate)|average|production|total|output) of {ABOUT}(?P<n>#[bxe])",
    r"^ (?:,? ?\(? ?(?:a |an )?(?:{PCT}(?:increase|decrease|improvement|decline|rise|drop|growth|gain)? ?)?(?:as )?(?:compared (?:to|with)|versus|vs\.?|up {PCT}from|down {PCT}from|from|against|an? (?:increase|decrease) (?:of {ABOUT}#p )?(?:from|over)|(?:increase|decrease) (?:from|over)) (?:the )?{ABOUT})(?P<n>#[bxejumw]) ?(?:(?:bitcoin|btc) )?(?:in|for|during|at|as of|at the end of|on|as at)? ?(?P<p>@[meq]|the (?:prior|previous|preceding) month|last month|a month earlier|the month before|the same month last year|the same month of last year|a year earlier|a year ago)",
    r"^ (?:,? ?(?:marking |representing )?(?:a |an )?(?:{PCT}(?:increase|decrease|rise|drop|growth)? |(?:increase|decrease) (?:of {ABOUT}#p )?))?,? ?(?:(?:as )?compared (?:to|with)|from|over|versus|vs) (?:the )?(?P<p>@m) (?:production|output|total) of {ABOUT}(?P<n>#[bx])",
)
"""What may follow a number that a row has read: the same figure of another month, which must be named."""

NO_SALE = (
    r"{HEAD}(?:did not|has not|have not|chose not to|opted not to) (?:sell|sold) any(?: of (?:its|our|the))? ?(?:{COIN})? ?(?:holdings |production )?(?:mined |produced )?(?=[.,;]|$|in |during |for )",
    r"(?:^|[;:,] |and )all (?:{COIN} |of the {COIN} )(?:mined|produced) (?:was|were) (?:hodl|held|retained)",
    r"(?:^|[;:,] |and )(?:no {COIN} (?:was|were) sold|sold (?:none|no {COIN}|zero {COIN}))",
)


def expand(pattern: str) -> str:
    """A row's pattern with its macros written out and its number named `n`."""
    while (m := re.search(r"\{([A-Z]+)\}", pattern)) is not None:
        pattern = pattern.replace(m[0], MACROS[m[1]])
    return re.sub(r"(?<!\?P)<([a-z]+)>", r"(?P<n>#[\1])(?= |$)", pattern)
