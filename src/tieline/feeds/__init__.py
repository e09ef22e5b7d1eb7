"""The outside world as records: power prices, the bitcoin network, weather, demand, pools.

Every feed has `async read(now) -> list[Record]` and says in each record where it came from. `choose` picks
between the live sources and the synthetic world and says which; `recorded` reads a folder of past days.
"""

from tieline.feeds.choose import Chosen, FeedChoice, choose

__all__ = ["Chosen", "FeedChoice", "choose"]
