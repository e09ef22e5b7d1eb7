"""What goes wrong in a fleet under test, drawn from a deck by a seed, one card or two at a time.

The deck holds every host with each way in which a host can fail, the processes that matter with the ways in which a
process can, and the store's primary lost and followed by a promotion: what a person does then, done here. It is gone
through to its end before anything comes again. After each fault all that was touched has to be well again in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from fleet_clients import Seen
from fleet_machines import CONTROL, FleetUnderTest, signal_of
from fleet_store import NAMES as STORE_HOSTS

HOST_WAYS: Final = ("kill", "freeze", "cut", "slow", "loss", "delay", "clock")
PARTS: Final = ("core", "standby", "budgets", "link", "gateway", "console")
# How the primary is lost before a standby is promoted; "lives": it is cut off, and back while the other leads.
PRIMARY_LOST: Final = ("kill", "freeze", "cut", "lives")
WAYS: Final = (*HOST_WAYS, "roll", "promote")
CLOCKS_S: Final = (-3600.0, -90.0, -7.0, 20.0, 90.0, 3600.0)
PAIRS: Final = 0.2
# Until all is well again; a host that begins anew shares two cores with all others.
WELL_S: Final = 90.0
# For a process to be there and well, before something is done to it.
TARGET_S: Final = 10.0
# A person looks at both standbys before promoting one.
LOOKS_S: Final = 1.0


@dataclass(frozen=True)
class Card:
    """`on`: a host, a part, or "primary"."""

    way: str
    on: str


@dataclass
class Hit:
    """One thing that is wrong. `hosts` are those that are touched; "the store" where nothing can be acknowledged."""

    how: str
    way: str
    hosts: list[str]
    mend: Callable[[], None]


def deck(fleet: FleetUnderTest, only: tuple[str, ...] = ()) -> list[Card]:
    """All that can go wrong on this machine, or of that some ways alone."""
    hosts = fleet.hosts_named()
    cards = [Card(way, host) for way in HOST_WAYS for host in hosts]
    cards += [Card(way, part) for way in ("kill", "freeze") for part in PARTS]
    cards += [Card("roll", "gateway")] * 3 + [Card("promote", how) for how in PRIMARY_LOST]
    if fleet.hosts is None:
        networks = ("cut", "slow", "loss", "delay")
        whole = {Card(way, host) for way in HOST_WAYS for host in hosts if way != "clock"}
        cards = [c for c in cards if c not in whole and not (c.way == "promote" and c.on in ("cut", "lives"))]
        assert not any(card.way in networks for card in cards)
    if not fleet.faketime:
        cards = [card for card in cards if card.way != "clock"]
    return [card for card in cards if not only or card.way in only]


async def trouble(
    fleet: FleetUnderTest, seen: Seen, faults: int, dice: random.Random, only: tuple[str, ...], brisk: float
) -> None:
    """One fault after another. `brisk`: how much shorter the waits are."""
    cards: list[Card] = []
    for number in range(faults):
        drawn: list[Card] = []
        for _ in range(2 if dice.random() < PAIRS else 1):
            cards = cards or dice.sample(deck(fleet, only), len(deck(fleet, only)))
            drawn.append(cards.pop())
        if len(drawn) == 2 and drawn[0].on == drawn[1].on:
            cards.insert(0, drawn.pop())
        await _fault(fleet, seen, number, drawn, dice, brisk)
        await asyncio.sleep(dice.uniform(1, 6) / brisk)


async def _fault(
    fleet: FleetUnderTest, seen: Seen, number: int, drawn: list[Card], dice: random.Random, brisk: float
) -> None:
    lasts_s = dice.uniform(5, 12) / brisk
    hits: list[Hit] = []
    for card in drawn:
        with_it = {host for hit in hits for host in hit.hosts}
        hits += await asyncio.to_thread(_strike, fleet, card, dice, with_it)
    how = " and ".join(hit.how for hit in hits) or "nobody: not well yet"
    hosts = [host for hit in hits for host in hit.hosts]
    if fleet.store.primary not in hosts and all(name in hosts for name in STORE_HOSTS if name != fleet.store.primary):
        hosts.append("the store")  # nobody is left who follows
    ways = [next((hit.way for hit in hits if host in hit.hosts), "follows") for host in hosts]
    for host in hosts:
        fleet.troubled[host] = float("inf")
    one = seen.history.begin("trouble", "fault", hosts=hosts, ways=ways, how=how)
    await asyncio.sleep(lasts_s)
    for hit in hits:
        try:
            await asyncio.to_thread(hit.mend)
        except (OSError, ValueError) as error:  # this test's own trouble, or a server that does not come up
            seen.history.note("trouble", "not mended", "failed", why=f"{hit.how} was not mended: {error!r}")
            print(f"     {hit.how} was not mended: {error!r}", flush=True)
    well = await _until_well(fleet, [host for host in hosts if host != "the store"])
    for host in hosts:
        fleet.troubled[host] = time.monotonic()
    seen.history.end(one, "well" if well else "not well again")
    late = "" if well else f", not well again within {WELL_S:.0f} s"
    print(f"{number + 1:4} {how}: {lasts_s:.1f} s, all well after {one.took_s:.1f} s{late}", flush=True)


async def _until_well(fleet: FleetUnderTest, hosts: list[str]) -> bool:
    deadline = time.monotonic() + WELL_S
    while not all([await asyncio.to_thread(fleet.is_well, host) for host in hosts]):
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.3)
    return True


def _strike(fleet: FleetUnderTest, card: Card, dice: random.Random, with_it: set[str]) -> list[Hit]:
    if card.way == "promote":
        return [_lose_primary(fleet, card.on, with_it)]
    if card.on in PARTS:
        return _process(fleet, card, dice)
    return [_host(fleet, card.way, card.on, dice)]


def _process(fleet: FleetUnderTest, card: Card, dice: random.Random) -> list[Hit]:
    deadline = time.monotonic() + TARGET_S
    name, pid = fleet.target(card.on, dice)
    while pid is None and time.monotonic() < deadline:
        time.sleep(0.3)
        name, pid = fleet.target(card.on, dice)
    if pid is None:
        return []
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal_of(card.way))

    def mend() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    return [Hit(f"{card.way} {name}", card.way, [name[-1]], mend)]


def _host(fleet: FleetUnderTest, way: str, host: str, dice: random.Random) -> Hit:
    """A whole host."""
    touched = [host, *(["the store"] if host == fleet.store.primary else [])]
    if way == "clock":
        off_s = dice.choice(CLOCKS_S)
        fleet.set_clock(host, off_s)
        return Hit(f"clock of {_named(fleet, host)} {off_s:+.0f} s", way, touched, lambda: fleet.set_clock(host, 0.0))
    hosts = fleet.hosts
    assert hosts is not None
    if way in ("kill", "freeze"):
        hosts.signal(host, signal_of(way))
        heal = {"kill": lambda: fleet.boot(host), "freeze": lambda: hosts.signal(host, signal.SIGCONT)}[way]
        return Hit(f"{way} host {_named(fleet, host)}", way, touched, heal)
    getattr(hosts, way)(host)
    return Hit(f"{way} host {_named(fleet, host)}", way, touched, lambda: hosts.mend(host))


def _named(fleet: FleetUnderTest, host: str) -> str:
    if host not in STORE_HOSTS:
        return host if host in CONTROL else fleet.sites[host]
    return f"{host} ({'primary' if host == fleet.store.primary else 'standby'} of the store)"


def _lose_primary(fleet: FleetUnderTest, how: str, with_it: set[str]) -> Hit:
    """The primary is gone for good, and a person promotes a standby; not before both can be asked how far they are: an
    acknowledged record may be at one alone. The old one is ended before it is made a copy, and where it `lives` it is
    there again for a while beside the new one."""
    store, old = fleet.store, fleet.store.primary
    way = "cut" if how == "lives" else how
    if way == "cut":
        assert fleet.hosts is not None
        fleet.hosts.cut(old)
    else:
        store.kill(old, signal_of(way))
    later = bool(with_it & set(STORE_HOSTS))

    def promote() -> None:
        time.sleep(LOOKS_S)
        store.promote()

    if not later:
        promote()

    def mend() -> None:
        if later:
            store.until(lambda: all(store.asked(name, "SELECT 1") for name in STORE_HOSTS if name != old), 30.0)
            promote()
        if how == "lives" and fleet.hosts is not None:
            fleet.hosts.mend(old)
            time.sleep(5.0)
        store.kill(old)
        if fleet.hosts is not None:
            fleet.hosts.mend(old)
        store.until(store.primary_takes, 30.0)
        store.copy(old)

    return Hit(f"{way} primary {old}, {'later ' if later else ''}promote a standby", way, [old, "the store"], mend)
