"""The words that may stand in a sentence without changing what its figures say.

A closed list: a word that is not here, and that no rule accounts for, leaves every figure of its sentence a
candidate. Words that deny, plan, estimate, bound, accumulate or name somebody else are absent on purpose. Causes
(`due to`, `driven by`) may be told in any words that are not among `POISON`.
"""

from __future__ import annotations

import re

_WORDS = """
a an the this that these its our their it we us company company's and or with of in on at by to from for as during
which was were is are has have had been being while also both all per each respectively including includes included
month monthly month's month-end months-end end ended ending beginning start opening closing close date dated
bitcoin bitcoins btc coins coin mined mining self-mining self-mined produced production producing produce earned
sold sale sales selling held hold holds holding holdings hodl treasury reserve reserves balance balances inventory
position total totaled totalled totaling totalling average averaged averaging daily day net gross proceeds price
realized value valued operating operational deployed installed energized energised hash hashrate rate fleet
efficiency capacity miners machines rigs power electricity cost costs revenue revenues blocks block
increase increased increases increasing decrease decreased decreases decreasing growth grew rose rise risen up down
higher lower decline declined fell drop dropped improvement improved gain climbed compared versus vs against
year-over-year month-over-month year-on-year month-on-month yoy mom y/y m/m over prior previous preceding same last
approximately about roughly nearly almost around some
new record strong solid steady stable consistent unchanged remained remains stood reached reaching came achieved
currently current now today announced reported reports provided unaudited preliminary update updates results
highlights summary operations operation production-related performance continued continues successfully
inc corp ltd plc limited llc ag corporation group holdings company-owned owned own wholly-owned
u.s usd us dollars cash unrestricted restricted pledged collateral posted
days calendar level levels high all-time alltime unit units
representing represented marking asic asics gpu exahash exahashes key metric metrics figure figures share available miner
rewards alone output achieving achieved period recorded transaction fees accounted but than added adds adding raised
loaned lent collateralized additionally furthermore moreover meanwhile fair market based amounted stands still active hashrates data center
centers centre centres sheet purchased acquired bought energy electric credits all-in self-owned growing elevating
elevated lifting yielding netting netted generating generated realizing into each hashing computing maintained
maintaining demonstrated demonstrating per-day online uptime computing-power megawatts mw facility-level
funded through corporate treasury general working latest-generation latest generation we've it's month-to-month produces mines months' month-end's produced-and-held into them
nasdaq nyse tsx tsxv tsx-v lse aim asx otc
january february march april june july august september october november december
primarily mainly largely partly reflecting driven due result resulting
bringing brought leaving taking bring total-bitcoin
"""
KNOWN = frozenset(_WORDS.split())

CAUSE = re.compile(
    r"(?:^| )(?:,? ?(?:primarily |mainly |largely |partly |in part )?(?:due to|driven by|reflecting|as a result of|because of|owing to|"
    r"attributable to|attributed to|thanks to|supported by|reflected|impacted by|affected by|as we|as the company|as it|"
    r"to fund|to support|to finance|in line with its|consistent with its)) "
)
"""Where a cause or a purpose begins: what follows is told freely and holds no figure of the sentence."""

POISON = re.compile(
    r"\b(?:not|no|never|nor|neither|without|den(?:y|ies|ied|ial)|false(?:ly)?|untrue|rumou?r\w*|incorrect\w*|wrong\w*|mistak\w*|error|erroneous\w*"
    r"|alleg\w*|claim(?:s|ed)?|suppos\w*|purport\w*|reportedly|speculat\w*|disput\w*|refut\w*|retract\w*|withdr\w+"
    r"|estimat\w*|expect\w*|plan(?:s|ned|ning)?|target\w*|forecast\w*|guid(?:ance|ed)|project(?:ed|ion|ions|s)|anticipat\w*|intend\w*|aim\w*|propos\w*|potential\w*"
    r"|will|would|could|should|shall|may|might|can|if|unless|until|whether|once|assum\w*|suppose|imagin\w*|scenario"
    r"|pro ?forma|hypothe\w*|illustrat\w*|example|restat\w*|revis\w*|correct(?:ed|ion|ing)|adjusted"
    r"|customers?|clients?|hosted|third-part\w+|partners?|affiliat\w*|subsidiar\w*|joint|venture|pool|pools|foundation|fund|network|industry|sector|peers?|rivals?|competitors?"
    r"|combined|together|collectively|jointly|equivalents?|tokens?|worth|since|cumulative\w*|lifetime|inception|so far|to date|year-to-date|ytd"
    r"|annual\w*|quarter\w*|fiscal|half|weeks?|weekly|between|least|most|maximum|minimum|range|ranging|either|neither)\b"
)
"""Words that may not stand in a freely told cause either."""

NOT_DONE = re.compile(
    r"\b(?:outlook|guidance|forecasts?|targets?|budget\w*|plan(?:s|ned)?|projected|expected|pro ?forma|preview|scenarios?|sensitivit\w+|hypothe\w*|illustrat\w*|estimates?|projections?|goals?|milestones?"
    r"|roadmap|pipeline|example|sample|template|rumou?rs?|corrections?|corrects|errat\w*|withdraw\w*|retract\w*|clarif\w*|speculation|denies|denied)\b",
    re.IGNORECASE,
)
"""Words in a heading under which nothing is told as done."""
NOT_OWN = re.compile(
    r"\b(?:industry|sector|network|peers?|competitors?|customers?|hosting|hosted|\w*pool|foundation|trust|dao|etf|token|tokens|fund|funds|market|joint venture|subsequent|potential|planned|expected|proposed)\b",
    re.IGNORECASE,
)
"""Words in a heading under which what is told may not be the issuer's own."""
DISOWNED = re.compile(
    r"\b(?:none of (?:this|these|it|them)|not (?:ours|from us|our (?:own )?(?:figures|numbers|data))|do(?:es)? not (?:come from|endorse|confirm)|"
    r"(?:not|no longer) be relied (?:up)?on(?! as representing)|test (?:string|data|values?)|fictitious|for illustration|placeholders?|dummy)\b",
    re.IGNORECASE,
)
"""Words of a sentence over rows, or under them, by which they are nobody's figures."""
UPDATE = re.compile(
    r"\b(?:update|updates|results|production|operations?|operational|report|reports|highlights|metrics|announces|provides|releases|kpis|indicators|figures)\b",
    re.IGNORECASE,
)


_ALWAYS = re.compile(
    r"\b(?:corrects|corrected|corrections?|errat\w*|withdraw\w*|retract\w*|clarif\w*|speculation|denies|denied|rumou?rs?|illustrat\w*|hypothe\w*|pro ?forma|scenarios?|template|sample|example)\b"
    r"|(?:outlook|guidance|forecast|targets?|preview|estimates?)\b[^.]{0,12}\b(?:for|of|on|in|january|february|march|april|may|june|july|august"
    r"|september|october|november|december)\b",
    re.IGNORECASE,
)
_HEADINGS = frozenset(
    [
        "highlight",
        "highlights",
        "summary",
        "overview",
        "commentary",
        "comments",
        "comment",
        "financial",
        "corporate",
        "recent",
        "developments",
        "infrastructure",
        "liquidity",
        "business",
        "strategy",
        "other",
        "information",
        "details",
        "table",
        "tables",
        "about",
        "growth",
        "and",
        "of",
        "for",
        "the",
        "our",
        "key",
        "month",
        "monthly",
        "selected",
        "additional",
        "supplemental",
        "statistics",
        "data",
        "non-gaap",
        "measures",
        "performance",
        "indicators",
        "kpis",
        "kpi",
        "review",
        "treasury",
        "ended",
        "unaudited",
        "roll-forward",
        "rollforward",
        "movement",
        "movements",
        "activity",
    ]
)


def bars(heading: str, names_month: bool) -> bool:
    """Does a heading leave what stands under it unproven? An update on the document's own month does not."""
    update = names_month and UPDATE.search(heading) is not None
    if NOT_DONE.search(heading) is not None:
        return not update or _ALWAYS.search(heading) is not None
    return _ALWAYS.search(heading) is not None or (NOT_OWN.search(heading) is not None and not update)


def strange(heading: str, names: dict[str, bool], known: frozenset[str]) -> str | None:
    """The first word of a heading that may name somebody or something else; None where all are known, or one's own."""
    if any(own and name in heading for name, own in names.items()):
        return None
    for word in re.findall(r"[^\W\d_]+(?:['’&-][^\W\d_]+)*", heading):
        low = word.lower()
        if low not in KNOWN and low not in known and low not in _HEADINGS and not UPDATE.fullmatch(low):
            return str(word)
    return None
