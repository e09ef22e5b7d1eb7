"""VNish (AnthillOS): read and commanded over its page's JSON API on port 80; presets in watts.

A summary needs no login, a command a token. Source: the firmware's published API; no hardware was at hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tieline.edge.rigs.cgminer import row, scaled
from tieline.edge.rigs.driver import FITS, Capabilities, Raw, RigOrder
from tieline.edge.rigs.http import PORT, RigPage
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.wire import RefusalError

PASSWORD = "admin"
# It writes pools without this scheme, others with theirs.
PLAIN = "stratum+tcp://"
ASLEEP = ("stopped", "paused", "shutting-down")


class VnishRig:
    firmware = "vnish"
    capabilities = Capabilities(
        presets=True, reboot=True, light=True, pools=True, down_s=10.0, up_s=120.0, polled="http"
    )

    def __init__(self, address: str, port: int = PORT, password: str = PASSWORD) -> None:
        self._page, self._password = RigPage(address, port), password
        self._token: str | None = None
        self._info: dict[str, Any] = {}
        self._preset: str | None = None
        self._asleep = False
        self.normal: str | None = None

    async def poll(self) -> Raw:
        summary = row(await self._page.json("GET", "/api/v1/summary"), "miner")
        self._info = await self._page.json("GET", "/api/v1/info")
        state = row(summary, "miner_status").get("miner_state")
        self._asleep = state in ASLEEP
        pools = summary.get("pools")
        pool = pools[0] if isinstance(pools, list) and pools and isinstance(pools[0], dict) else {}
        network = row(row(self._info, "system"), "network_status")
        return Raw(
            watts=summary.get("power_usage"),
            hashrate_hs=scaled(summary.get("hr_realtime"), 1e9),
            chip_c=row(summary, "chip_temp").get("max"),
            asleep=state in ASLEEP if isinstance(state, str) else None,
            mac=network.get("mac"),
            serial=self._info.get("serial"),
            model=_model(self._info.get("miner")),
            pool=pool.get("url"),
            worker=pool.get("user"),
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await self._command("/api/v1/mining/pause")
            return
        await self._set_preset(order)
        await self._command("/api/v1/mining/resume")

    async def reboot(self) -> None:
        await self._command("/api/v1/system/reboot")

    async def light(self, on: bool) -> None:
        for _ in range(2):  # each call turns it over and says what it is then
            if (await self._command("/api/v1/find-miner")).get("on") is on:
                return
        raise RefusalError("find-miner: the light did not change")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        listed = [
            {"url": one.url.removeprefix(PLAIN), "user": one.worker, "pass": one.password, "order": n}
            for n, one in enumerate(pools)
        ]
        answer = await self._command("/api/v1/settings", {"miner": {"pools": listed}})
        if answer.get("restart_required") is True and not self._asleep:  # a restart would wake it
            await self._command("/api/v1/mining/restart")

    async def _set_preset(self, order: RigOrder) -> None:
        """The strongest preset within the watts; in normal mode the one that was found."""
        if order.watts is None and self._preset == self.normal:
            return
        settings = row(await self._command("/api/v1/settings", method="GET"), "miner")
        current = row(settings, "overclock").get("preset")
        self.normal = self.normal or (str(current) if current is not None else None)
        name = self.normal
        if order.watts is not None:
            answer = await self._command("/api/v1/autotune/presets", method="GET")
            listed = answer.get("items", answer.get("presets"))
            names = [str(p.get("name")) for p in (listed if isinstance(listed, list) else []) if isinstance(p, dict)]
            fit = [name for name in names if name.isdigit() and int(name) <= FITS * order.watts]
            if not fit:
                raise RefusalError(f"no preset within {order.watts:.0f} W")
            name = max(fit, key=int)
        if name is not None and name != current:
            await self._command("/api/v1/settings", {"miner": {"overclock": {"preset": name}}})
        self._preset = name

    async def _command(self, path: str, body: object = None, method: str = "POST") -> dict[str, Any]:
        for again in (True, False):
            if self._token is None:
                token = (await self._page.json("POST", "/api/v1/unlock", {"pw": self._password})).get("token")
                if not isinstance(token, str):
                    raise RefusalError("unlock gave no token")
                self._token = token
            bearer = "Bearer " if path.startswith("/api/v1/system") else ""
            try:
                body = {} if method == "POST" and body is None else body
                answer = await self._page.json(method, path, body, {"Authorization": bearer + self._token})
            except RefusalError:
                self._token = None
                if not again:
                    raise
                continue
            if answer.get("success") is False:
                raise RefusalError(f"{path}: {str(answer.get('err') or answer.get('message'))[:120]}")
            return answer
        raise RefusalError(path)


def _model(name: object) -> object:
    return name.split(" (")[0] if isinstance(name, str) else None
