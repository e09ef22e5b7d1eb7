"""Braiins OS from 23.03: its public REST API on port 80, with a token; power targets in watts.

Identity is read again each minute, readings and pools with every poll. Source: the firmware's published API; no
hardware was at hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tieline.edge.rigs.cgminer import row, scaled
from tieline.edge.rigs.driver import Capabilities, Raw, RigOrder
from tieline.edge.rigs.http import PORT, RigPage
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.wire import RefusalError

USER, PASSWORD = "root", "root"
IDENTITY_EVERY_S = 60.0
# Of BosMinerStatus: not started, paused, suspended.
ASLEEP = (1, 3, 4)


class BraiinsRig:
    firmware = "braiins"
    capabilities = Capabilities(watts=True, reboot=True, light=True, pools=True, down_s=10.0, up_s=120.0, polled="http")

    def __init__(self, address: str, port: int = PORT, password: str = PASSWORD) -> None:
        self._page, self._password = RigPage(address, port), password
        self._token: str | None = None
        self._details: dict[str, Any] = {}
        self._identified_at = float("-inf")
        self.normal: str | None = None
        self._target_w: float | None = None

    async def poll(self) -> Raw:
        now = asyncio.get_running_loop().time()
        if now - self._identified_at >= IDENTITY_EVERY_S:
            self._details = await self._ask("GET", "miner/details")
            self._identified_at = now
        stats = await self._ask("GET", "miner/stats")
        groups = (await self._ask("GET", "pools/")).get("items", [])
        pools = row(row({"group": groups}, "group"), "pools")
        rate = row(row(row(stats, "miner_stats"), "real_hashrate"), "last_5s").get("gigahash_per_second")
        status = self._details.get("status")
        return Raw(
            watts=row(row(stats, "power_stats"), "approximated_consumption").get("watt"),
            hashrate_hs=scaled(rate, 1e9),
            asleep=status in ASLEEP if isinstance(status, int) else None,
            mac=self._details.get("mac_address"),
            serial=self._details.get("serial_number"),
            model=row(self._details, "miner_identity").get("miner_model"),
            pool=pools.get("url"),
            worker=pools.get("user"),
        )

    async def tell(self, order: RigOrder) -> None:
        self._identified_at = float("-inf")  # its status is read with the next poll
        if order.mode == "sleep":
            await self._ask("PUT", "actions/pause")
            return
        if order.watts is not None:
            await self._remember_target()
            await self._set_target(order.watts)
        elif self.normal is not None and self._target_w != float(self.normal):
            await self._set_target(float(self.normal))
        await self._ask("PUT", "actions/resume")

    async def reboot(self) -> None:
        await self._ask("PUT", "actions/reboot")

    async def light(self, on: bool) -> None:
        if (await self._ask("PUT", "actions/locate", on)).get("enabled", on) is not on:
            raise RefusalError("locate: the light did not change")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        listed = [{"url": one.url, "user": one.worker, "password": one.password, "enabled": True} for one in pools]
        group = {"name": "tieline", "pools": listed, "load_balance_strategy": {"quota": {"value": 1}}}
        await self._ask("PUT", "pools/batch", [group])

    async def _remember_target(self) -> None:
        if self.normal is not None:
            return
        state = row(await self._ask("GET", "performance/tuner-state"), "mode_state")
        target = row(row(state, "powertargetmodestate"), "current_target").get("watt")
        if isinstance(target, int | float):
            self.normal = str(float(target))

    async def _set_target(self, watts: float) -> None:
        await self._ask("PUT", "performance/power-target", {"watt": round(watts)})
        self._target_w = watts

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        for again in (True, False):
            if self._token is None:
                login = {"username": USER, "password": self._password}
                token = (await self._page.json("POST", "/api/v1/auth/login", login)).get("token")
                if not isinstance(token, str):
                    raise RefusalError("login gave no token")
                self._token = token
            body = {} if method == "PUT" and body is None else body
            try:
                return await self._page.json(method, f"/api/v1/{path}", body, {"Authorization": self._token})
            except RefusalError:
                self._token = None
                if not again:
                    raise
        raise RefusalError(path)
