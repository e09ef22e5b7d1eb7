"""Words that a label may end in without naming a site: measures, units, periods, states of the fleet.

Knows nothing of rules: `Deployed Hash Rate - Total` has no scope, `Deployed Hash Rate - Rockdale` has one.
"""

from __future__ import annotations

_WORDS = """
total bitcoin bitcoins btc day month months period sold balance net end ended ending customers customer rate hash
hashrate capacity proceeds value price held holdings holding treasury equivalent equivalents per deployed installed
energized energised miners miner fleet operations mined produced production restricted unrestricted pledged
collateral collateralized eh ph th self self-mined self-mining target efficiency monthly daily average avg averages
mining sales income revenue usd unaudited earned earnings beginning opening closing operating operational cost costs
power electricity energy credits credit response fee fees paid received purchased acquired bought won blocks block
share rewards reward network growth change current active online peak nameplate month-end year-end ytd year quarter
at of in and for the on by with from to approximate approximately estimated number amount sheet machines rigs
servers asics units all-in all cash basis excluding including depreciation wallet cold storage own owned proprietary
company group corporate consolidated overall portfolio percentage percent sale sell selling realized spot market
fair coins coin exahash petahash terahash joules watts watt j/th w/th eh/s ph/s ths hodl kwh mwh potential transit
in-transit hosting hosted colocation management managed third-party site sites facility facilities january february
march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct nov
dec gross output generated mine metrics us north american america position inventory date to-date liquidated
converted monetized spent used yield digital assets asset
"""


def words_of(text: str) -> frozenset[str]:
    """The words of a list that is written as prose."""
    return frozenset(text.split())


COMMON = words_of(_WORDS)
