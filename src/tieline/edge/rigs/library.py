"""The long tail of makers and firmwares, through the libraries asic-rs and pyasic.

Ten times the CPU of our own drivers, and their word is taken through the same bounds. asic-rs says `is_mining` of a rig
that never answered, so that field is no evidence and is not read. Both are imported when first needed.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import Sequence
from typing import Any

from tieline.edge.rigs.driver import Capabilities, Raw, RigOrder
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.wire import RefusalError, SilentError

CALL_TIMEOUT_S = 10.0


class LibraryRig:
    """A rig that asic-rs knows; its methods raise whatever they like, and here only ours."""

    def __init__(self, miner: Any, firmware: str) -> None:
        self._miner, self.firmware = miner, firmware
        self.normal: str | None = None
        self.capabilities = Capabilities(
            pause=bool(miner.supports_pause and miner.supports_resume),
            watts=bool(miner.supports_set_power_limit),
            reboot=bool(miner.supports_restart),
            light=bool(miner.supports_set_fault_light),
            pools=bool(miner.supports_pools_config),
            polled="library",
            up_s=180.0,
        )

    async def poll(self) -> Raw:
        data = await _called(self._miner.get_data())
        pool = next((pool for group in data.pools for pool in group.pools), None)
        rate = data.hashrate
        info = data.device_info
        return Raw(
            watts=data.wattage,
            hashrate_hs=None if rate is None else float(rate.as_unit(_terahash())) * 1e12,
            chip_c=data.average_temperature,
            mac=data.mac,
            serial=data.serial_number,
            model=None if info is None else info.model,
            pool=None if pool is None or pool.url is None else str(pool.url),
            worker=None if pool is None else pool.user,
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await _done(self._miner.pause(), "pause")
            return
        if order.watts is not None and self.capabilities.watts:
            await _done(self._miner.set_power_limit(float(order.watts)), "set_power_limit")
        await _done(self._miner.resume(), "resume")

    async def reboot(self) -> None:
        await _done(self._miner.restart(), "restart")

    async def light(self, on: bool) -> None:
        await _done(self._miner.set_fault_light(on), "set_fault_light")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        asic_rs = await asyncio.to_thread(importlib.import_module, "pyasic_rs")
        listed = [asic_rs.PoolConfig(url=one.url, username=one.worker, password=one.password) for one in pools]
        await _done(
            self._miner.set_pools_config([asic_rs.PoolGroupConfig(name="default", quota=1, pools=listed)]),
            "set_pools_config",
        )


class PyasicRig:
    """A rig that only pyasic knows."""

    def __init__(self, miner: Any) -> None:
        self._miner = miner
        self.normal: str | None = None
        self.firmware = str(getattr(miner, "firmware", None) or "pyasic").lower()
        self.capabilities = Capabilities(
            pause=bool(miner.supports_shutdown),
            watts=bool(miner.supports_autotuning),
            light=True,
            polled="library",
            up_s=180.0,
        )

    async def poll(self) -> Raw:
        wanted = ["wattage", "hashboards", "mac", "serial_number", "pools"]
        data = await _called(self._miner.get_data(include=wanted))
        rates = [float(board.hashrate) for board in data.hashboards if board.hashrate is not None]
        pool = next(iter(data.pools or []), None)
        return Raw(
            watts=data.wattage,
            hashrate_hs=sum(rates) * 1e12 if rates else None,  # its rates of SHA-256 are TH/s
            mac=data.mac,
            serial=data.serial_number,
            model=getattr(self._miner, "raw_model", None),
            pool=None if pool is None or pool.url is None else str(pool.url),
            worker=None if pool is None else pool.user,
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await _done(self._miner.stop_mining(), "stop_mining")
            return
        if order.watts is not None and self.capabilities.watts:
            await _done(self._miner.set_power_limit(round(order.watts)), "set_power_limit")
        await _done(self._miner.resume_mining(), "resume_mining")

    async def reboot(self) -> None:
        await _done(self._miner.reboot(), "reboot")

    async def light(self, on: bool) -> None:
        await _done(self._miner.fault_light_on() if on else self._miner.fault_light_off(), "fault_light")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        raise RefusalError("pools are not set through pyasic here; set them on the rig's own page")


async def find(address: str) -> LibraryRig | PyasicRig:
    """Raises SilentError where neither library knows who answers there."""
    newer = await asyncio.to_thread(importlib.import_module, "pyasic_rs")
    miner = await _called(newer.MinerFactory().get_miner(address))
    if miner is not None:
        return LibraryRig(miner, str(miner.firmware).lower())
    logging.getLogger().addFilter(_quiet)
    older = await asyncio.to_thread(importlib.import_module, "pyasic")
    miner = await _called(older.get_miner(address))
    if miner is None:
        raise SilentError(f"no miner that is known answers at {address}")
    return PyasicRig(miner)


def _quiet(record: logging.LogRecord) -> bool:
    """pyasic warns on the root logger of each reset connection; a reading already says who was silent."""
    return "pyasic" not in record.pathname


async def _called(call: Any) -> Any:
    try:
        async with asyncio.timeout(CALL_TIMEOUT_S):
            return await call
    except TimeoutError:
        raise SilentError(f"no answer within {CALL_TIMEOUT_S:.0f} s") from None
    except Exception as error:  # the library's own, on whatever a rig answered
        raise SilentError(f"{type(error).__name__}: {error}"[:200]) from None


async def _done(call: Any, name: str) -> None:
    if not await _called(call):
        raise RefusalError(f"{name}: the rig said no")


def _terahash() -> Any:
    return importlib.import_module("pyasic_rs.data").HashRateUnit.TeraHash
