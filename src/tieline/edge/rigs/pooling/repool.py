"""Have the rigs of a group mine elsewhere: one first, and the rest only when it says that it does.

Who stands for the change is asked elsewhere. A rig counts when a question that began after it was told says the new
pool and worker; a rig that was never heard, a stranger, and one whose firmware does not do it are named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tieline.edge.rigs.driver import RigDriver
from tieline.edge.rigs.pooling.pools import PoolSetting, for_rig, read_back
from tieline.edge.rigs.register import Register
from tieline.edge.rigs.state import RigState
from tieline.edge.rigs.wire import Lane, RefusalError, SilentError

# A firmware writes its configuration and starts its miner anew; asked this often until it says so.
READ_BACK_S, LOOK_S = 120.0, 1.0
NAMED: Final = 5


@dataclass(frozen=True, slots=True)
class Repooled:
    """What came of it: how many say the new pool, and each that does not, by address with why."""

    done: int
    not_done: tuple[tuple[str, str], ...]

    @property
    def line(self) -> str:
        words = f"{self.done} of {self.done + len(self.not_done)} rigs read back"
        for address, why in self.not_done[:NAMED]:
            words += f"; {address}: {why}"
        return words + (f"; and {len(self.not_done) - NAMED} more" if len(self.not_done) > NAMED else "")


async def repool(rigs: Sequence[RigState], pools: tuple[PoolSetting, ...], register: Register, lane: Lane) -> Repooled:
    """Raises nothing a rig does."""
    results: dict[str, str | None] = {rig.address: why for rig in rigs if (why := _cannot(rig)) is not None}
    able = [rig for rig in rigs if rig.address not in results]

    async def one(rig: RigState) -> None:
        results[rig.address] = await _one(rig, pools, register, lane)

    if able:
        await one(able[0])
        why = results[able[0].address]
        if why is None:
            await asyncio.gather(*(one(rig) for rig in able[1:]))
        else:
            first = f"not tried: the first, {able[0].address}, failed"
            results |= {rig.address: first for rig in able[1:]}
    done = sum(why is None for why in results.values())
    return Repooled(done, tuple((address, why) for address, why in results.items() if why is not None))


def _cannot(rig: RigState) -> str | None:
    if rig.driver is None or not rig.heard:
        return f"not heard: {rig.why_silent}"
    if rig.stranger is not None:
        return f"not ours: {rig.stranger}"
    if not rig.driver.capabilities.pools:
        return f"its firmware ({rig.driver.firmware}) does not do that"
    return None


async def _one(rig: RigState, pools: tuple[PoolSetting, ...], register: Register, lane: Lane) -> str | None:
    """None where it was read back, else why not."""
    own = for_rig(pools, rig.address)
    driver = rig.driver
    assert driver is not None
    try:
        async with lane.place():
            await driver.set_pools(own)
    except (RefusalError, SilentError) as error:
        return str(error)
    except Exception as error:  # a library's own
        return f"{type(error).__name__}: {error}"[:200]
    return await _said(rig.address, driver, own, register, lane)


async def _said(
    address: str, driver: RigDriver, own: tuple[PoolSetting, ...], register: Register, lane: Lane
) -> str | None:
    loop = asyncio.get_running_loop()
    until, last = loop.time() + READ_BACK_S, "no answer since"
    while loop.time() < until:
        try:
            async with lane.place():
                raw = await driver.poll()
        except Exception as error:  # silence, a refusal, whatever a library raises: asked again
            last = str(error)[:120]
        else:
            pool, worker = _text(raw.pool), _text(raw.worker)
            if pool is not None and worker is not None and read_back(own, pool, worker):
                register.mines_at(address, pool, worker)
                return None
            last = f"says {pool} as {worker}"
        await asyncio.sleep(LOOK_S)
    return f"told, and not read back within {READ_BACK_S:.0f} s: {last}"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
