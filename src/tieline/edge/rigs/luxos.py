"""LuxOS: read with one joined command on port 4028, paused by its curtail command, set by profile.

A command wants a session. A rig has one at a time and forgets it when it restarts, so a refused one is asked for
anew, once. It is had before it is needed, from the first poll on: an order to many rigs then costs a question each, not
two; whoever else works on the rig meanwhile asks it for the `session` that stands, as we do. Source: LuxOS' API
documentation; no hardware was at hand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from tieline.edge.rigs.cgminer import PORT, command, first_pool, row, scaled, several
from tieline.edge.rigs.driver import FITS, Capabilities, Raw, RigOrder
from tieline.edge.rigs.pooling.pools import PoolSetting
from tieline.edge.rigs.wire import RefusalError, SilentError

POLL = "summary+power+config+pools+temps"
# A rig that gives no session is asked again so much later.
SESSION_AGAIN_S = 60.0


class LuxosRig:
    firmware = "luxos"
    capabilities = Capabilities(presets=True, reboot=True, light=True, pools=True, down_s=5.0, up_s=60.0)

    def __init__(self, address: str, port: int = PORT) -> None:
        self._address, self._port = address, port
        self._session = ""
        self._session_asked = float("-inf")
        self._profiles: list[tuple[float, str]] = []  # watts, name
        self._profile: str | None = None  # in use, as last told or read
        self.normal: str | None = None

    async def poll(self) -> Raw:
        answers = await several(self._address, self._port, POLL)
        summary, config = row(answers["summary"], "SUMMARY"), row(answers["config"], "CONFIG")
        mode, profile = config.get("CurtailMode"), config.get("Profile")
        if isinstance(profile, str):
            self._profile = profile
            self.normal = self.normal or profile
        pool, worker = first_pool(answers["pools"])
        await self._hold_session()
        return Raw(
            watts=row(answers["power"], "POWER").get("Watts"),
            hashrate_hs=scaled(summary.get("GHS 5s"), 1e9),
            chip_c=_hottest(answers["temps"]),
            asleep=mode.lower() == "sleep" if isinstance(mode, str) else None,
            mac=config.get("MACAddr"),
            serial=config.get("SerialNumber"),
            model=config.get("Model"),
            pool=pool,
            worker=worker,
        )

    async def tell(self, order: RigOrder) -> None:
        if order.mode == "sleep":
            await self._with_session("curtail", "sleep")
            return
        name = self.normal
        if order.mode == "low" and order.watts is not None:
            name = await self._profile_for(order.watts)
        if name is not None and name != self._profile:
            await self._with_session("profileset", name)
            self._profile = name
        await self._with_session("curtail", "wakeup")

    async def reboot(self) -> None:
        await self._with_session("rebootdevice", "")

    async def light(self, on: bool) -> None:
        await self._with_session("ledset", f"red,{'blink' if on else 'off'}")

    async def set_pools(self, pools: Sequence[PoolSetting]) -> None:
        before = len(await self._pool_rows())
        for one in pools:
            await self._pool_command("addpool", f"{one.url},{one.worker},{one.password}")
        if len(await self._pool_rows()) < before + len(pools):
            return  # it said yes and did not: what it mines at stays, and is read back so
        await self._pool_command("switchpool", str(before))
        for number in reversed(range(before)):
            await self._pool_command("removepool", str(number))

    async def _pool_command(self, name: str, parameter: str) -> None:
        """Those of pools take no session."""
        await command(self._address, self._port, name, parameter)

    async def _pool_rows(self) -> list[Any]:
        rows = (await command(self._address, self._port, "pools")).get("POOLS")
        return rows if isinstance(rows, list) else []

    async def _profile_for(self, watts: float) -> str:
        """The strongest profile within `watts`. Raises RefusalError where none is."""
        if not self._profiles:
            answer = await command(self._address, self._port, "profiles")
            rows = answer.get("PROFILES")
            for entry in rows if isinstance(rows, list) else []:
                drawn, name = entry.get("Watts"), entry.get("Profile Name")
                if isinstance(drawn, int | float) and isinstance(name, str):
                    self._profiles.append((float(drawn), name))
        fit = [pair for pair in self._profiles if pair[0] <= FITS * watts]
        if not fit:
            raise RefusalError(f"no profile within {watts:.0f} W")
        return max(fit)[1]

    async def _with_session(self, name: str, parameter: str) -> None:
        for again in (True, False):
            if not self._session:
                self._session = await self._logon()
            try:
                joined = f"{self._session},{parameter}" if parameter else self._session
                await command(self._address, self._port, name, joined)
                return
            except RefusalError:
                self._session = ""
                if not again:
                    raise

    async def _hold_session(self) -> None:
        """Have a session. A rig that gives none was heard all the same."""
        now = asyncio.get_running_loop().time()
        if self._session or now < self._session_asked + SESSION_AGAIN_S:
            return
        self._session_asked = now
        with contextlib.suppress(RefusalError, SilentError):
            self._session = await self._logon()

    async def _logon(self) -> str:
        try:
            answer = await command(self._address, self._port, "logon")
        except RefusalError:  # somebody is logged on, perhaps we ourselves before a restart
            answer = await command(self._address, self._port, "session")
        session = row(answer, "SESSION").get("SessionID")
        if not isinstance(session, str) or not session:
            raise RefusalError("logon gave no session")
        return session


def _hottest(answer: dict[str, Any]) -> object:
    """The highest chip temperature among the boards; what is no number is left to the others."""
    rows = answer.get("TEMPS")
    chips = [
        value
        for board in (rows if isinstance(rows, list) else [])
        if isinstance(board, dict)
        for name, value in board.items()
        if name not in ("ID", "TEMP") and isinstance(value, int | float) and not isinstance(value, bool)
    ]
    return max(chips) if chips else None
