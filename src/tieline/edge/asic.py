"""A group of ASICs on the network, polled and paused through pyasic.

Knows addresses, not plans. Hashrate is the sum of the boards', because pyasic's LuxOS total is always None;
its own timeouts are 100 s, so each call here has a shorter one. A rig pauses by LuxOS' curtail sleep: its
control board stays on and draws on. Auxiliary load is added by the same rule as everywhere (`fleet.physics`).
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from tieline.edge.device import Answer, Applied, Reading, Refused, Unreachable
from tieline.fleet.physics import RIG_MODES, aux_share
from tieline.fleet.sites import RigGroup, Site
from tieline.records import Setpoint

log = logging.getLogger("tieline.edge")

# One rig's answer on a local network takes milliseconds; a rig that takes longer is counted as silent.
CALL_TIMEOUT_S = 3.0
# A step of the agent waits this long for a poll; with silent rigs the poll goes on without it.
WAIT_S = 1.0
# Connections at once: 1,000 rigs were read in 2 s this way, and a site's switch is not flooded.
AT_ONCE = 64
# Reading 36 rigs costs 40 ms of CPU; every 10 s is often enough while nothing changes, each step after an
# order, and in a world that runs faster than the rigs.
POLL_S, POLL_SOON_S, AFTER_ORDER_S, POLL_WORLD = 10.0, 0.9, 30.0, timedelta(seconds=30)
# An address where no miner answered is asked again this often.
IDENTIFY_AGAIN_S = 30.0
# Below this share of rated power a rig is paused, above it runs: sleep draws 1 %, the lowest mode 70 %.
ASLEEP_BELOW = 0.2
# A paused rig is down well before; one that still draws after this is named.
OBEY_S = 20.0

Find = Callable[[str], Awaitable[Any]]
TempOf = Callable[[datetime], float | None]


@dataclass(slots=True)
class _Rig:
    """One address. `watts` is what it last said it draws, None until it has said so."""

    address: str
    miner: Any = None
    asked_at: float = -IDENTIFY_AGAIN_S
    watts: float | None = None
    awake_w: float | None = None
    hashes: float | None = None
    chip_c: float | None = None
    heard: bool = False
    told_awake: bool | None = None
    told_at: float = 0.0
    telling: asyncio.Task[bool | None] | None = None


class AsicGroup:
    """A rig group on real sockets: real rigs, or fakes that speak the same protocol."""

    def __init__(self, site: Site, group: RigGroup, temp_of: TempOf | None = None, find: Find | None = None) -> None:
        self.unit_id = group.id
        self.kind: Literal["measured", "simulated"] = "measured" if group.hardware == "real" else "simulated"
        self._group, self._cooling = group, site.cooling
        self._temp_of: TempOf = temp_of if temp_of is not None else _unknown
        self._find: Find = find if find is not None else _find
        self._rigs = [_Rig(address) for address in group.addresses]
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._last: Reading | None = None
        self._polling: asyncio.Task[None] | None = None
        self._polled_at = self._ordered_at = float("-inf")

    @property
    def highest_w(self) -> float:
        return self._group.rated_w * (1 + aux_share(self._cooling, None))

    @property
    def lowest_w(self) -> float:
        return len(self._rigs) * RIG_MODES["sleep"].fixed_w * (1 + aux_share(self._cooling, None))

    async def read(self, now: datetime) -> Reading | Unreachable:
        """Poll every rig, or give the last reading again where it is young enough."""
        clock = asyncio.get_running_loop().time()
        soon = clock - self._ordered_at < AFTER_ORDER_S or self._last is None or now - self._last.at >= POLL_WORLD
        if self._last is not None and clock - self._polled_at < (POLL_SOON_S if soon else POLL_S):
            return self._last
        if self._polling is None or self._polling.done():
            self._polled_at = clock
            self._polling = asyncio.create_task(self._poll_all(now))
        await asyncio.wait({self._polling}, timeout=WAIT_S)
        if self._last is not None:
            return self._last
        if not self._polling.done():
            return Unreachable("the first poll is under way")
        return Unreachable(f"none of {len(self._rigs)} rigs answered")

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        """Wake and pause rigs so that the group stays within the target; only rigs that differ are told."""
        awake = self._chosen(setpoint, now)
        self._ordered_at = asyncio.get_running_loop().time()
        heard = [rig for rig in self._rigs if rig.heard]
        for rig in self._rigs:  # a silent rig is told too, it may hear; nobody waits for it
            if not rig.heard and (rig.telling is None or rig.telling.done()):
                rig.telling = asyncio.create_task(self._tell(rig, rig.address in awake))
        told = await asyncio.gather(*(self._tell(rig, rig.address in awake) for rig in heard))
        tried = [answer for answer in told if answer is not None]
        if not heard:
            return Unreachable(f"none of {len(self._rigs)} rigs answered")
        if tried and not any(tried):
            return Refused(f"{len(tried)} rigs said no")
        return Applied(f"{sum(tried)} of {len(tried)} rigs took the order" if tried else "all rigs are as asked")

    async def close(self) -> None:
        tasks = [task for task in (self._polling, *(rig.telling for rig in self._rigs)) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- reading ------------------------------------------------------------

    async def _load(self) -> None:
        """pyasic takes seconds to import on a busy machine: in a thread, and outside any rig's own time."""
        if self._find is _find and "pyasic" not in sys.modules:
            await asyncio.to_thread(importlib.import_module, "pyasic")

    async def _poll_all(self, now: datetime) -> None:
        await self._load()
        await asyncio.gather(*(self._poll(rig) for rig in self._rigs))
        self._last = self._reading(now)

    async def _poll(self, rig: _Rig) -> None:
        miner = await self._identified(rig)
        data: Any = None
        if miner is not None:
            data = await self._call(miner.get_data(include=["wattage", "hashboards"]))
        watts = getattr(data, "wattage", None)
        if watts is None:
            rig.heard = False
            return
        rig.heard, rig.watts = True, float(watts)
        if rig.watts >= ASLEEP_BELOW * self._group.rig.power_w:
            rig.awake_w = rig.watts
        rates = [float(b.hashrate) for b in data.hashboards if b.hashrate is not None]
        rig.hashes = sum(rates) * 1e12 if rates else None  # pyasic gives SHA-256 rates in TH/s
        chips = [float(b.chip_temp) for b in data.hashboards if b.chip_temp is not None]
        rig.chip_c = max(chips) if chips else None

    async def _identified(self, rig: _Rig) -> Any:
        if rig.miner is None:
            clock = asyncio.get_running_loop().time()
            if clock - rig.asked_at < IDENTIFY_AGAIN_S:
                return None
            rig.asked_at = clock
            rig.miner = await self._call(self._find(rig.address), 2 * CALL_TIMEOUT_S)
        return rig.miner

    async def _call(self, call: Awaitable[Any], timeout_s: float = CALL_TIMEOUT_S) -> Any:
        """One bounded call; None for silence, and for whatever a rig's answer made the library raise: it
        raises KeyError, TypeError and its own errors on odd answers, and one rig must not stop the others."""
        async with self._gate:
            try:
                async with asyncio.timeout(timeout_s):
                    return await call
            except Exception as error:
                log.debug("rig: %s", error)
                return None

    def _reading(self, now: datetime) -> Reading | None:
        heard = [rig for rig in self._rigs if rig.heard and rig.watts is not None]
        if not heard:
            return None
        meter = 1 + aux_share(self._cooling, self._temp_of(now))
        rated = self._group.rig.power_w
        silent_w = sum(rated if r.watts is None else r.watts for r in self._rigs if not r.heard)
        rates = [rig.hashes for rig in heard if rig.hashes is not None]
        chips = [rig.chip_c for rig in heard if rig.chip_c is not None]
        return Reading(
            at=now,
            power_w=sum(rig.watts or 0.0 for rig in heard) * meter,
            hashrate_hs=sum(rates) if rates else None,
            temp_c=max(chips) if chips else None,
            devices=len(self._rigs),
            devices_heard=len(heard),
            silent_w=silent_w * meter,
            disobeying=tuple(rig.address for rig in heard if self._disobeys(rig)),
        )

    def _disobeys(self, rig: _Rig) -> bool:
        """Told to pause, has had its time, and still draws."""
        if rig.told_awake is not False or rig.watts is None:
            return False
        late = asyncio.get_running_loop().time() - rig.told_at > OBEY_S
        return late and not self._asleep(rig)

    def _asleep(self, rig: _Rig) -> bool:
        return rig.watts is not None and rig.watts < ASLEEP_BELOW * self._group.rig.power_w

    # --- setting ------------------------------------------------------------

    def _chosen(self, setpoint: Setpoint, now: datetime) -> set[str]:
        """Addresses that may run: as many as the shares of modes say and the target has room for, silent rigs
        counted at their last power, those that run already kept running."""
        room, slack = len(self._rigs), 1.01  # a rig's own reading wanders by about 1 %
        if setpoint.shares:
            paused = setpoint.shares.get("sleep", 0.0) + setpoint.shares.get("off", 0.0)
            room = int(len(self._rigs) * (1 - paused) + 1e-6)
            slack = 1.05  # dispatch may have reckoned with another temperature's auxiliary load
        budget_w = setpoint.target_w / (1 + aux_share(self._cooling, self._temp_of(now)))
        sleep_w, rated = RIG_MODES["sleep"].fixed_w, self._group.rig.power_w
        drawn_w = 0.0
        for rig in self._rigs:
            if rig.heard:
                drawn_w += sleep_w
            else:
                drawn_w += rated if rig.watts is None else rig.watts
        chosen: set[str] = set()
        for rig in self._preferred():
            extra_w = (rig.awake_w or rated) - sleep_w if rig.heard else 0.0
            if len(chosen) < room and drawn_w + extra_w <= budget_w * slack + 1.0:
                chosen.add(rig.address)
                drawn_w += extra_w
        return chosen

    def _preferred(self) -> list[_Rig]:
        return sorted(self._rigs, key=lambda rig: (not rig.heard, self._asleep(rig)))

    async def _tell(self, rig: _Rig, awake: bool) -> bool | None:
        """True: took it; False: did not; None: nothing to tell."""
        clock = asyncio.get_running_loop().time()
        if rig.told_awake is not awake:
            rig.told_awake, rig.told_at = awake, clock
        if rig.heard and self._asleep(rig) is not awake:
            return None
        miner = await self._identified(rig)
        if miner is None:
            return False
        if await self._call(_order(miner, awake)):
            return True
        # A rig that restarted has forgotten the session that pyasic keeps for ever.
        if hasattr(miner.rpc, "session_token"):
            miner.rpc.session_token = None
            return bool(await self._call(_order(miner, awake)))
        return False


def _order(miner: Any, awake: bool) -> Coroutine[Any, Any, Any]:
    return miner.resume_mining() if awake else miner.stop_mining()  # type: ignore[no-any-return]


async def _find(address: str) -> Any:
    """Imported here: most sites have no rigs on sockets."""
    import pyasic

    logging.getLogger().addFilter(_quiet)
    return await pyasic.get_miner(address)


def _quiet(record: logging.LogRecord) -> bool:
    """pyasic warns on the root logger of each reset connection; the reading already says who was silent."""
    return "pyasic" not in record.pathname


def _unknown(_now: datetime) -> float | None:
    return None
