"""A rig group on real sockets: real rigs, or fakes that speak the same protocols.

Knows addresses, not plans. Healthy rigs are polled in sweeps that no silent rig holds up; rigs that did not answer
are asked again in a lane of their own. Commands have theirs too, so that an order never waits for a poll. A rig is
told by its own task, and judged only by samples that were asked for after it was told. Auxiliary load is added by the
same rule as everywhere (`fleet.physics`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Literal

from tieline.edge.device import Answer, Applied, Reading, Refused, Unreachable
from tieline.edge.rigs.breakers import BreakerPace
from tieline.edge.rigs.choose import RigChoice, choose
from tieline.edge.rigs.driver import RigSample, said
from tieline.edge.rigs.history import ASLEEP, DISOBEYS, ESTIMATED, HEARD, RawHistory, RawRow
from tieline.edge.rigs.identify import identify
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.pooling.repool import Repooled, repool
from tieline.edge.rigs.register import Register
from tieline.edge.rigs.state import TELL_AGAIN_S, RigState
from tieline.edge.rigs.wire import Lane, RefusalError, SilentError
from tieline.edge.rigs.workers.rows import RackPage, RigPreview, Tending, page_of, preview_of
from tieline.fleet.models import Cooling
from tieline.fleet.physics import RIG_MODES, aux_share
from tieline.fleet.sites import RigGroup, Site
from tieline.records import Setpoint

log = logging.getLogger("tieline.edge")

# A caller waits this long for a sweep or for commands under way; the work goes on without it.
WAIT_S = 0.2
# A sweep is over when all healthy rigs have answered, and at the latest after this long.
SWEEP_S = 2.0
# Questions that begin at once: a site's switch is not flooded, and 7,500 rigs are read in seconds.
POLLS_AT_ONCE, SICK_AT_ONCE, COMMANDS_AT_ONCE = 256, 32, 256
# Reading a rig costs 0.2 ms of CPU; every 10 s is often enough while nothing changes, each second after an order, and
# in a world that runs faster than the rigs.
POLL_S, POLL_SOON_S, AFTER_ORDER_S, POLL_WORLD = 10.0, 0.9, 30.0, timedelta(seconds=30)
# Sweeps wait for an order's commands, no longer than this: rigs that fell silent with it are found by asking.
ORDER_FIRST_S = 4.0
# A rig that did not answer is asked again this often; an address where no rig was ever heard, less often.
ASK_AGAIN_S, IDENTIFY_AGAIN_S = 5.0, 30.0
# Rigs that start at once draw an inrush: this share of a group in each wave, at least so many, waves this far apart.
WAVE_SHARE, WAVE_LEAST, WAVE_EVERY_S = 0.1, 20, 2.0
# Starts that an order made necessary are excepted from the limits on wear, and counted.
ORDER_RULES = ("instruction", "restore", "override")

TempOf = Callable[[datetime], float | None]


class AsicGroup:
    """One rig group. `read` and `apply` return within `WAIT_S`, whatever the rigs do."""

    def __init__(
        self,
        site: Site,
        group: RigGroup,
        temp_of: TempOf | None = None,
        register: Register | None = None,
        ports: Mapping[int, int] | None = None,
        raw: RawHistory | None = None,
        passwords: Mapping[str, str] | None = None,
    ) -> None:
        self.unit_id = group.id
        self.kind: Literal["measured", "simulated"] = "measured" if group.hardware == "real" else "simulated"
        self.group, self._cooling = group, site.cooling_of(group)
        self._temp_of: TempOf = temp_of if temp_of is not None else _unknown
        self.register = register if register is not None else Register()
        self._raw, self._passwords = raw, passwords
        self._ports = dict(ports or {})  # a protocol's own port -> where it is here
        self.rigs = [RigState(address) for address in group.addresses]
        self._polls, self._sick, self._commands = Lane(POLLS_AT_ONCE), Lane(SICK_AT_ONCE), Lane(COMMANDS_AT_ONCE)
        self._last: Reading | None = None
        self._sweep: asyncio.Task[None] | None = None
        self._waves: asyncio.Task[None] | None = None
        self._swept_at = self._ordered_at = float("-inf")
        self._waiting: tuple[str, ...] = ()
        self._by_order = False
        self._now: datetime | None = None
        self.poll_s = POLL_S
        self.pace = BreakerPace()  # the site's, where it names breakers

    @property
    def highest_w(self) -> float:
        return highest_w(self.group, self._cooling)

    @property
    def lowest_w(self) -> float:
        return lowest_w(self.group, self._cooling)

    async def read(self, now: datetime) -> Reading | Unreachable:
        """The newest reading, after starting a sweep where one is due. `at` is when its sweep began."""
        self._now = now
        clock = asyncio.get_running_loop().time()
        soon = clock - self._ordered_at < AFTER_ORDER_S or self._last is None or now - self._last.at >= POLL_WORLD
        due = clock - self._swept_at >= (min(POLL_SOON_S, self.poll_s) if soon else self.poll_s)
        if due and (self._sweep is None or self._sweep.done()) and not self._commanding(clock):
            self._swept_at = clock
            self._sweep = asyncio.create_task(self._sweep_all(now))
        if self._sweep is not None and not self._sweep.done():
            await asyncio.wait({self._sweep}, timeout=WAIT_S)
        if self._last is not None:
            return self._last
        if self._sweep is not None and not self._sweep.done():
            return Unreachable("the first poll is under way")
        return Unreachable(f"none of {len(self.rigs)} rigs answered: {self.rigs[0].why_silent if self.rigs else ''}")

    def _commanding(self, clock: float) -> bool:
        """An order goes before questions: they cost as much as the commands, and what they hear is soon old."""
        if clock - self._ordered_at >= ORDER_FIRST_S:
            return False
        return any(rig.telling is not None and not rig.telling.done() for rig in self.rigs if rig.heard)

    async def apply(self, setpoint: Setpoint, now: datetime) -> Answer:
        """Give each rig its order; only rigs that differ are told, starts go in waves."""
        self._now = now
        self._ordered_at = asyncio.get_running_loop().time()
        self._by_order = setpoint.reason.rule in ORDER_RULES
        choice = self.choice(setpoint, now)
        self._waiting = choice.waiting
        starts, tasks = [], []
        for rig in self.rigs:
            rig.wanted = choice.orders[rig.address]
            if not self._must_tell(rig):
                continue
            if rig.wanted.mode != "sleep" and rig.asleep(self.group.rig):
                starts.append(rig)
            elif (task := self._tell_soon(rig)) is not None and rig.heard:
                tasks.append(task)
        self._start_in_waves(starts)
        if self._waves is not None and not self._waves.done():
            tasks.append(self._waves)
        if tasks:
            await asyncio.wait(tasks, timeout=WAIT_S)
        return self._answer()

    async def tend(self, address: str, what: Tending) -> None:
        """What a person has one rig do. Raises RefusalError, SilentError, in one line."""
        rig = next((one for one in self.rigs if one.address == address), None)
        if rig is None:
            raise RefusalError(f"{self.unit_id} has no rig at {address}")
        if rig.driver is None:
            raise SilentError(f"{address} was never heard")
        can = rig.driver.capabilities
        if not (can.reboot if what == "reboot" else can.light):
            raise RefusalError(f"{address}: its firmware ({rig.driver.firmware}) does not do that")
        if rig.stranger is not None:
            raise RefusalError(f"{address} is not ours: {rig.stranger}")
        if what == "reboot" and rig.wanted is not None and rig.wanted.mode == "sleep":
            raise RefusalError(f"{address} is held down, and would start by itself after a reboot; resume it first")
        async with self._commands.place():
            await (rig.driver.reboot() if what == "reboot" else rig.driver.light(what == "light on"))

    async def set_pools(self, pools: tuple[PoolSetting, ...]) -> Repooled:
        """Have all rigs mine there, one first. Takes as long as the slowest rig that is waited for."""
        results = await repool(self.rigs, pools, self.register, self._commands)
        self.register.save()
        return results

    async def page(self, first: int, most: int) -> RackPage:
        """Some of the rigs as a page shows them."""
        return page_of(self.rigs, self.group.rig, asyncio.get_running_loop().time(), first, most)

    async def preview(self, setpoint: Setpoint, now: datetime) -> RigPreview:
        """Which rigs would sleep under `setpoint`; nothing is sent."""
        orders = self.choice(setpoint, now).orders
        sleep = [rig.address for rig in self.rigs if orders[rig.address].mode == "sleep"]
        return preview_of(self.rigs, self.group.rig, asyncio.get_running_loop().time(), sleep)

    def choice(self, setpoint: Setpoint, now: datetime) -> RigChoice:
        """What each rig is to do under `setpoint`; nothing is sent."""
        budget_w = setpoint.target_w / (1 + aux_share(self._cooling, self._temp_of(now)))
        model = self.group.rig
        by_order = setpoint.reason.rule in ORDER_RULES
        clock = asyncio.get_running_loop().time()
        views = [rig.view(model, clock, self.register.at(rig.address).may_start(now)) for rig in self.rigs]
        return choose(views, model, budget_w, setpoint.shares, by_order)

    async def close(self) -> None:
        tasks = [t for t in (self._sweep, self._waves) if t is not None]
        tasks += [t for rig in self.rigs for t in (rig.polling, rig.telling) if t is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.register.save()
        if self._raw is not None:
            await self._raw.close()

    # --- reading ------------------------------------------------------------

    async def _sweep_all(self, now: datetime) -> None:
        """Ask every healthy rig, give each a moment, fold. Rigs that were silent are asked beside the sweep."""
        for address in self.register.take_accepted():
            log.info("%s: the rig at %s was accepted", self.unit_id, address)
        asked = self._ask_all()
        if asked:
            await asyncio.wait(asked.values(), timeout=SWEEP_S)
        for rig in self.rigs:
            if rig.address in asked and not asked[rig.address].done():
                rig.heard, rig.why_silent = False, f"no answer within {SWEEP_S:.0f} s"
        # None: nobody answered, and the last figure is not shown as if it were new.
        self._last = self._reading(now)
        self.register.save()
        if self._raw is not None:
            self._raw.write(now, (self._raw_row(rig) for rig in self.rigs if rig.driver is not None))

    def _ask_all(self) -> dict[str, asyncio.Task[None]]:
        """Begin to ask; the tasks of healthy rigs by address. Silent ones are asked too, now and then, and not
        waited for."""
        clock = asyncio.get_running_loop().time()
        asked = {}
        for rig in self.rigs:
            if rig.polling is not None and not rig.polling.done():
                continue
            if rig.heard or rig.asked_at == float("-inf"):
                rig.polling = asked[rig.address] = asyncio.create_task(self._poll(rig, self._polls))
            elif clock - rig.asked_at >= (IDENTIFY_AGAIN_S if rig.driver is None else ASK_AGAIN_S):
                rig.polling = asyncio.create_task(self._poll(rig, self._sick))
        return asked

    def _raw_row(self, rig: RigState) -> RawRow:
        sample, model = rig.sample, self.group.rig
        key = self.register.at(rig.address).mac or rig.address
        if sample is None or not rig.heard:
            return RawRow(key, rig.drawn_w(model), None, None, 0)
        flags = HEARD | ESTIMATED * sample.estimated | ASLEEP * rig.asleep(model)
        flags |= DISOBEYS * rig.disobeys(model, asyncio.get_running_loop().time())
        rate = sample.hashrate_hs
        return RawRow(key, sample.watts, None if rate is None else rate / 1e12, sample.chip_c, flags)

    async def _poll(self, rig: RigState, lane: Lane) -> None:
        """One rig. Whatever its answer makes a driver raise is this rig's silence and nobody else's."""
        loop = asyncio.get_running_loop()
        rig.asked_at = loop.time()
        try:
            async with lane.place():
                if rig.driver is None:
                    rig.driver = await identify(rig.address, self.group.firmware, self._ports, self._passwords)
                    rig.driver.normal = self.register.at(rig.address).normal
                asked_at = loop.time()
                raw = await rig.driver.poll()
            mode = rig.told.mode if rig.told is not None else None
            sample = said(raw, self.group.rig, asked_at, mode)
        except (SilentError, RefusalError) as error:
            rig.heard, rig.why_silent = False, str(error)
            return
        except Exception as error:  # a library of its own, or an answer no driver foresaw
            rig.heard, rig.why_silent = False, f"{type(error).__name__}: {error}"
            log.debug("rig %s: %s", rig.address, rig.why_silent)
            return
        rig.sample, rig.heard = sample, True
        self._judge(rig, sample)

    def _judge(self, rig: RigState, sample: RigSample) -> None:
        """Whose sample it is, what it says beyond power, and whether the rig has to be told again."""
        if not rig.asleep(self.group.rig):
            rig.awake_w = sample.watts
        rig.stranger = self.register.check(rig.address, sample, self.group.model)
        rig.drift = None if rig.stranger is not None else self.register.drift(rig.address, sample)
        if rig.driver is not None and rig.stranger is None:
            self.register.remember_normal(rig.address, rig.driver.normal)
        if rig.wanted is not None and rig.wanted.mode == "sleep" and self._must_tell(rig):
            self._tell_soon(rig)  # off holds for late joiners too

    def _reading(self, now: datetime) -> Reading | None:
        answering = [rig for rig in self.rigs if rig.heard and rig.sample is not None]
        if not answering:
            return None
        meter = 1 + aux_share(self._cooling, self._temp_of(now))
        samples = [rig.sample for rig in answering if rig.sample is not None]
        rates = _told(s.hashrate_hs for s in samples)
        chips = _told(s.chip_c for s in samples)
        return Reading(
            at=now,
            power_w=sum(s.watts for s in samples) * meter,
            hashrate_hs=sum(rates) if rates else None,
            temp_c=max(chips) if chips else None,
            devices=len(self.rigs),
            devices_heard=len(answering),
            silent_w=self._silent_w() * meter,
            estimated_w=sum(s.watts for s in samples if s.estimated) * meter,
            disobeying=self._disobeying(answering),
            waiting=len(self._waiting),
            complaints=self._complaints(answering),
        )

    def _silent_w(self) -> float:
        return sum(rig.drawn_w(self.group.rig) for rig in self.rigs if not rig.heard)

    def _disobeying(self, answering: list[RigState]) -> tuple[str, ...]:
        clock = asyncio.get_running_loop().time()
        return tuple(rig.address for rig in answering if rig.disobeys(self.group.rig, clock))

    def _complaints(self, answering: list[RigState]) -> tuple[tuple[str, str], ...]:
        """What is wrong here beyond power, by kind: one line each, the first few by name."""
        complaints = []
        doubts = [f"{r.address} says {', '.join(r.sample.doubts)}" for r in answering if r.sample and r.sample.doubts]
        for what, lines in (
            ("identity", [rig.stranger for rig in answering if rig.stranger is not None]),
            ("pool", [rig.drift for rig in answering if rig.drift is not None]),
            ("telemetry", doubts),
        ):
            if lines:
                more = f"; and {len(lines) - 5} more" if len(lines) > 5 else ""
                complaints.append((what, "; ".join(lines[:5]) + more))
        return tuple(complaints)

    # --- setting ------------------------------------------------------------

    def _must_tell(self, rig: RigState) -> bool:
        if rig.wanted is None or rig.stranger is not None or (rig.telling is not None and not rig.telling.done()):
            return False
        if rig.told != rig.wanted and not (rig.told is None and rig.heard and self._is_as(rig)):
            return True
        if rig.heard and rig.does_as_wanted(self.group.rig):
            return False
        # Told already: a sample that was asked for since must show that it did not do it.
        late = asyncio.get_running_loop().time() - rig.told_at >= TELL_AGAIN_S
        return late and (rig.answered_since_told() or not rig.heard)

    def _is_as(self, rig: RigState) -> bool:
        """Whether a rig that was never told does what is wanted by itself. One that draws far less than it may when
        it runs was perhaps lowered by whoever was here before, and is told once."""
        assert rig.wanted is not None
        if rig.wanted.mode == "low" or not rig.does_as_wanted(self.group.rig):
            return False
        takes_low = rig.driver is not None and rig.driver.capabilities.low
        return rig.wanted.mode == "sleep" or not (takes_low and rig.looks_lowered(self.group.rig))

    def _tell_soon(self, rig: RigState) -> asyncio.Task[None] | None:
        if rig.telling is None or rig.telling.done():
            rig.telling = asyncio.create_task(self._tell(rig))
        return rig.telling

    async def _tell(self, rig: RigState) -> None:
        """Until the rig has taken what is wanted of it now: an order that came meanwhile replaces this one."""
        lane = self._commands if rig.heard else self._sick
        loop = asyncio.get_running_loop()
        for _ in range(3):
            order = rig.wanted
            if order is None or rig.driver is None:
                return
            again = rig.told is not None and rig.told.mode != "sleep"
            starts = order.mode != "sleep" and rig.asleep(self.group.rig) and not again
            try:
                async with lane.place():
                    await rig.driver.tell(order)
            except RefusalError as error:
                rig.refusal, rig.told_at = str(error), loop.time()
                return
            except SilentError as error:
                rig.told_at, rig.why_silent = loop.time(), str(error)
                return
            except Exception as error:
                rig.refusal, rig.told_at = f"{type(error).__name__}: {error}", loop.time()
                return
            rig.told, rig.told_at, rig.refusal = order, loop.time(), None
            if starts and self._now is not None:
                self.register.started(rig.address, self._now, self._by_order)
            if rig.wanted == order:
                return

    def _start_in_waves(self, rigs: list[RigState]) -> None:
        """Replace the waves under way. The first goes at once."""
        if self._waves is not None:
            self._waves.cancel()
        self._waves = asyncio.create_task(self._wave(rigs)) if rigs else None

    async def _wave(self, rigs: list[RigState]) -> None:
        size = max(WAVE_LEAST, int(WAVE_SHARE * len(self.rigs)))
        left = rigs
        while left:
            now_s = asyncio.get_running_loop().time()
            wave: list[RigState] = []
            later: list[RigState] = []
            for rig in left:
                if rig.wanted is None or rig.wanted.mode == "sleep":
                    continue  # another word came since
                goes = len(wave) < size and self.pace.start(rig.address, now_s)
                (wave if goes else later).append(rig)
            tasks = [task for rig in wave if (task := self._tell_soon(rig)) is not None]
            left = later
            if left:
                await asyncio.sleep(WAVE_EVERY_S)
            elif tasks:
                await asyncio.wait(tasks)

    def _answer(self) -> Answer:
        answering = [rig for rig in self.rigs if rig.heard]
        if not answering:
            return Unreachable(f"none of {len(self.rigs)} rigs answered")
        refusals = [rig for rig in answering if rig.refusal is not None]
        if refusals and len(refusals) == len([rig for rig in answering if rig.stranger is None]):
            return Refused(f"{len(refusals)} rigs said no: {refusals[0].refusal}")
        open_ = sum(rig.wanted is not None and rig.told != rig.wanted and not self._is_as(rig) for rig in answering)
        words = "all rigs are told" if not open_ else f"{open_} of {len(answering)} rigs are still being told"
        if self._waiting:
            words += f"; {len(self._waiting)} wait, they were started too lately or too often"
        return Applied(words)


def _told(figures: Iterable[float | None]) -> list[float]:
    """Those that were told at all."""
    return [figure for figure in figures if figure is not None]


def highest_w(group: RigGroup, cooling: Cooling) -> float:
    """The most a group can draw at the meter."""
    return group.rated_w * (1 + aux_share(cooling, None))


def lowest_w(group: RigGroup, cooling: Cooling) -> float:
    """What it draws there with all of its rigs down."""
    return len(group.addresses) * RIG_MODES["sleep"].fixed_w * (1 + aux_share(cooling, None))


def _unknown(_now: datetime) -> float | None:
    return None
