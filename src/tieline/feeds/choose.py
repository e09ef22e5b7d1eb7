"""Live or synthetic: decided once at the start, feed by feed, and said out loud.

`auto` asks each public source once, briefly. What answers is live from then on, and stays so: a live source
that fails later leaves a gap and a Fault, never a made-up value. In an invented fleet, and where the configuration
says `invent`, what does not answer is synthetic, and so are markets without a live source, named. In any other fleet
nothing is made up: what has no source is missing, and said to be. Demand has no public source anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from tieline.config import Feeds
from tieline.feeds.bitcoin import BitcoinFeed
from tieline.feeds.grid import GridFeed
from tieline.feeds.gridstatus import EXTRA, installed
from tieline.feeds.loads import LoadFeed, paid_for
from tieline.feeds.rates import RatesFeed, needed
from tieline.feeds.synthetic import Synthetic, SyntheticFeed, What
from tieline.feeds.weather import WeatherFeed
from tieline.fleet import Fleet
from tieline.records import AnyRecord, Fault

# All sources are probed at once; a start waits no longer than this for the internet.
PROBE_S = 3.0
# A grid operator's file of the day takes longer; nobody waits for it who has not installed the library.
GRID_PROBE_S = 12.0


class Feed(Protocol):
    """One piece of the outside world. `source` is what its records say."""

    source: str

    async def read(self, now: datetime) -> list[AnyRecord]: ...


@dataclass(frozen=True, slots=True)
class FeedChoice:
    """What was decided about one piece, and why."""

    what: str
    live: bool
    source: str
    why: str

    def __str__(self) -> str:
        return f"{self.what}: {self.source}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True, slots=True)
class Chosen:
    feeds: tuple[Feed, ...]
    choices: tuple[FeedChoice, ...]

    @property
    def note(self) -> str:
        """One line for the log and the screen."""
        return "; ".join(str(choice) for choice in self.choices)


class Probed:
    """A feed that was read once already: its first read gives that answer."""

    def __init__(self, feed: Feed, first: Sequence[AnyRecord]) -> None:
        self._feed, self._first = feed, list(first)
        self.source = feed.source

    async def read(self, now: datetime) -> list[AnyRecord]:
        first, self._first = self._first, []
        return [*first, *await self._feed.read(now)]


async def choose(
    settings: Feeds, fleet: Fleet, now: datetime, *, probe_s: float = PROBE_S, library: Any | None = None
) -> Chosen:
    """The feeds of this start. `library`: gridstatus, or what stands in for it in tests."""
    world = Synthetic(fleet, settings.seed)
    if settings.source == "synthetic":
        everything = SyntheticFeed(world)
        return Chosen((everything,), (FeedChoice("all feeds", False, everything.source, "as configured"),))
    made_up = settings.invent or _is_invented(fleet)
    must = settings.source == "live" or not made_up
    asked = _sources(settings, fleet, library)
    feeds: list[Feed] = []
    choices: list[FeedChoice] = []
    made: list[What] = ["demand"] if made_up else []
    probes = await asyncio.gather(
        *(_probe(one.feed, now, GRID_PROBE_S if one.what == "prices" else probe_s) for one in asked)
    )
    for one, (records, why) in zip(asked, probes, strict=True):
        choice = one.judged(records, why, must=must)
        choices.append(choice)
        if choice.live and one.feed is not None:
            feeds.append(Probed(one.feed, records))
            if one.what == "prices":
                _other_markets(fleet, world, must, feeds, choices)
        elif choice.source == "synthetic":
            made.append(one.what)
    _unprobed(settings, fleet, library, feeds, choices)
    nowhere = "it has no public source"
    choices.append(FeedChoice(_WORDS["demand"], False, "synthetic" if made_up else "none", nowhere))
    if made:
        feeds.append(SyntheticFeed(world, made))
    return Chosen(tuple(feeds), tuple(choices))


def _unprobed(settings: Feeds, fleet: Fleet, library: Any | None, feeds: list[Feed], choices: list[FeedChoice]) -> None:
    """What only some fleets need, and nothing is made up for: loads of systems whose peaks are paid, exchange rates."""
    library = library if library is not None else installed()
    if library is not None and (operators := paid_for(fleet)) and not _is_invented(fleet):
        loads = LoadFeed(operators, library)
        feeds.append(loads)
        choices.append(FeedChoice(f"system load of {', '.join(operators)}", True, loads.source, ""))
    if units := needed(fleet):
        rates = RatesFeed(units, settings.rates_api)
        feeds.append(rates)
        choices.append(FeedChoice(f"exchange rates of {', '.join(units)}", True, rates.source, ""))


@dataclass(frozen=True, slots=True)
class _LiveSource:
    """What may be asked of one piece; without a feed, `why_none` says why."""

    what: What
    feed: Feed | None
    why_none: str = ""

    def judged(self, records: Sequence[AnyRecord], why: str, *, must: bool) -> FeedChoice:
        """`heard` by the probe, or `why` it heard nothing; `must`: nothing may be made up."""
        word = _WORDS[self.what]
        if self.feed is not None and (must or records):
            return FeedChoice(word, True, self.feed.source, "" if records else why)
        return FeedChoice(word, False, "none" if must else "synthetic", self.why_none or why)


def _is_invented(fleet: Fleet) -> bool:
    return bool(fleet.sites) and all(site.invented for site in fleet.sites)


def _sources(settings: Feeds, fleet: Fleet, library: Any | None) -> tuple[_LiveSource, ...]:
    library = library if library is not None else installed()
    grid = GridFeed(GridFeed.supported(fleet.markets), library) if library is not None else None
    return (
        _LiveSource("network", BitcoinFeed(settings.bitcoin_api)),
        _LiveSource("weather", WeatherFeed.of(fleet, settings.weather_api)),
        _LiveSource("prices", grid if grid is not None and grid.markets else None, _no_grid(grid)),
    )


_WORDS: dict[What, str] = {
    "network": "bitcoin",
    "weather": "weather",
    "prices": "power prices",
    "demand": "inference demand",
}


def _no_grid(grid: GridFeed | None) -> str:
    if grid is None:
        return f"gridstatus is not installed; {EXTRA}"
    return "no market of this fleet has a live source here" if not grid.markets else ""


def _other_markets(fleet: Fleet, world: Synthetic, must: bool, feeds: list[Feed], choices: list[FeedChoice]) -> None:
    others = tuple(m for m in fleet.markets if m not in GridFeed.supported(fleet.markets))
    if not others:
        return
    names = ", ".join(others)
    if must:
        choices.append(FeedChoice(f"power prices of {names}", False, "none", "no live source here"))
    else:
        feeds.append(SyntheticFeed(world, ("prices",), others))
        choices.append(FeedChoice(f"power prices of {names}", False, "synthetic", "no live source here"))


async def _probe(feed: Feed | None, now: datetime, probe_s: float) -> tuple[list[AnyRecord], str]:
    """What one read gives in the time there is: records besides faults, or why there are none."""
    if feed is None:
        return [], ""
    try:
        async with asyncio.timeout(probe_s):
            records = await feed.read(now)
    except TimeoutError:
        return [], f"no answer within {probe_s:g} s"
    if any(not isinstance(record, Fault) for record in records):
        return records, ""
    return [], next((r.detail for r in records if isinstance(r, Fault)), "nothing was told")
