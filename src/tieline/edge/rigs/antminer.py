"""The maker's own firmware on Antminers: cgminer's protocol on port 4028, the page on port 80 with digest login.

It tells no watts, so they are estimated. It is put to sleep by writing its configuration back with another work mode,
as a number on newer firmware and as text on older. Identity stands on the page; it is read again each minute and
whenever the machine has started anew. Source: the firmware's own page and pyasic's account of it; no hardware was at
hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from tieline.edge.rigs.cgminer import PORT, first_pool, row, scaled, several
from tieline.edge.rigs.driver import Capabilities, Raw, RigOrder
from tieline.edge.rigs.http import PORT as WEB_PORT
from tieline.edge.rigs.http import RigPage
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.wire import RefusalError, SilentError

IDENTITY_EVERY_S = 60.0
# bitmain-work-mode
MODES = {"normal": 0, "sleep": 1, "low": 3}


class AntminerStock:
    firmware = "antminer"
    capabilities = Capabilities(tells_watts=False, reboot=True, light=True, pools=True, down_s=20.0, up_s=180.0)

    def __init__(self, address: str, port: int = PORT, web_port: int = WEB_PORT, password: str = "root") -> None:
        self._address, self._port = address, port
        self._page = RigPage(address, web_port, password=password)
        self._system: dict[str, Any] = {}
        self._asleep: bool | None = None
        self.normal: str | None = None
        self._identified_at = float("-inf")
        self._elapsed = float("inf")

    async def poll(self) -> Raw:
        await self._identify()
        try:
            answers = await several(self._address, self._port, "summary+pools")
        except SilentError:
            if not self._asleep:
                raise
            answers = {"summary": {}, "pools": {}}  # asleep, its miner process may be gone; its page has answered
            await self._read_mode()
        summary = row(answers["summary"], "SUMMARY")
        elapsed = summary.get("Elapsed")
        if isinstance(elapsed, int | float):
            if elapsed < self._elapsed:
                self._identified_at = float("-inf")  # it started anew, and may be another machine
            self._elapsed = elapsed
        pool, worker = first_pool(answers["pools"])
        rate = summary.get("GHS 5s")
        return Raw(
            hashrate_hs=0.0 if self._asleep and rate is None else scaled(rate, 1e9),
            asleep=self._asleep,
            mac=self._system.get("macaddr"),
            serial=self._system.get("serinum"),
            model=self._system.get("minertype"),
            pool=pool,
            worker=worker,
        )

    async def tell(self, order: RigOrder) -> None:
        config = await self._page.json("GET", "/cgi-bin/get_miner_conf.cgi")
        mode: object = MODES[order.mode]
        if isinstance(config.get("bitmain-work-mode"), str):
            mode = str(mode)  # the form that it was read in
        await self._configure(config, mode)

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        config = await self._page.json("GET", "/cgi-bin/get_miner_conf.cgi")
        config["pools"] = [{"url": one.url, "user": one.worker, "pass": one.password} for one in pools]
        await self._configure(config, config.get("bitmain-work-mode", MODES["normal"]))

    async def _configure(self, config: dict[str, Any], mode: object) -> None:
        """Write back what was read, with another name for the mode, as its own page does."""
        config.pop("bitmain-work-mode", None)
        answer = await self._page.json("POST", "/cgi-bin/set_miner_conf.cgi", config | {"miner-mode": mode})
        if answer.get("stats") != "success":
            raise RefusalError(f"set_miner_conf: {str(answer.get('msg'))[:120]}")
        self._identified_at = float("-inf")

    async def reboot(self) -> None:
        await self._page.json("GET", "/cgi-bin/reboot.cgi")

    async def light(self, on: bool) -> None:
        await self._page.json("POST", "/cgi-bin/blink.cgi", {"blink": on})
        if (await self._page.json("GET", "/cgi-bin/get_blink_status.cgi")).get("blink") is not on:
            raise RefusalError("blink: the light did not change")

    async def _identify(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._identified_at < IDENTITY_EVERY_S:
            return
        self._system = await self._page.json("GET", "/cgi-bin/get_system_info.cgi")
        await self._read_mode()
        self._identified_at = now

    async def _read_mode(self) -> None:
        config = await self._page.json("GET", "/cgi-bin/get_miner_conf.cgi")
        self._asleep = str(config.get("bitmain-work-mode")) == "1"
